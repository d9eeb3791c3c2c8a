"""How many responses were cut at the token limit, and so could not close their format?

    python analysis/cut_responses.py results/local/results.parquet

One row per model (the baseline, each fraction, the existing adapters) and condition: responses, mean length
in tokens, the share cut at the limit, and the share in format among those that ended by themselves. A low rate of format with many cut
responses says that `max_new_tokens` was too small, not that the model forgot the format.
"""

from __future__ import annotations

import sys

import pyarrow.parquet as pq


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python analysis/cut_responses.py RESULTS.parquet")
    columns = ["arm", "fraction", "condition", "response_tokens", "finish_reason", "format"]
    frame = pq.read_table(sys.argv[1], columns=columns).to_pandas()
    frame["cut"] = frame.finish_reason == "length"
    print("| model | condition | responses | mean tokens | cut, % | in format among the rest, % |")
    print("|---|---|---|---|---|---|")
    named = frame.fraction.map("fraction {:g}".format)
    frame["model"] = named.where(frame.fraction.notna(), frame.arm.fillna("baseline"))
    for (model, condition), responses in frame.groupby(["model", "condition"]):
        whole = responses[~responses.cut].format
        kept = f"{100 * whole.mean():.1f}" if len(whole) else "-"
        length, cut = responses.response_tokens.mean(), 100 * responses.cut.mean()
        print(f"| {model} | {condition} | {len(responses)} | {length:.1f} | {cut:.1f} | {kept} |")


if __name__ == "__main__":
    main()
