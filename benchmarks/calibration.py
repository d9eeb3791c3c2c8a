"""How often the intervals hold what they should, by simulation: the tables of docs/CALIBRATION.md.

    OMP_NUM_THREADS=1 python benchmarks/calibration.py [--studies N] [--marginal probit] [--seed N] [--skewed 1]

How studies are drawn stands in calibration_studies.py. The functions that are measured are the
package's own, with a batch of studies as their first axis.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from itertools import product

import numpy as np
from calibration_studies import Setting, settings, simulate

from weirdgen.stats.contrast_interval import ContrastInterval
from weirdgen.stats.rate_interval import Floors, baseline_spread, rate_spread, sampling_variance
from weirdgen.stats.sensitivity import pooled, seed_t
from weirdgen.stats.two_way_variance import Target, spread

STUDIES = 10_000
SEEDS, QUESTIONS = (2, 3, 5, 10, 20), (10, 30, 100)
CELLS = 1_000_000
"""Seeds x questions of all studies that are simulated at once."""
FAMILY = 0.975 + 0.025 * 3 / 4
"""Two of these less 1: the confidence at which each of four claims has 2.5% / 4 on a side."""


def intervals(
    of: Setting, data: dict[str, np.ndarray], target: Target, floors: Floors
) -> dict[str, tuple[ContrastInterval, np.ndarray]]:
    """Contrast -> the package's interval of every study, and what is true."""
    K, K_b = of.samples, max(5 * of.samples, 10)
    seen = "true" if target == "seeds and questions" else "here"
    t, u, bt, bu = (data[name] for name in ("t", "u", "bt", "bu"))
    true = {name: data[f"{name} {seen}"] for name in ("t", "u", "bt", "bu")}
    rate = {"t": rate_spread(t, K, target, floors), "u": rate_spread(u, K, target, floors),
            "bt": baseline_spread(bt, K_b, target, floors), "bu": baseline_spread(bu, K_b, target, floors)}  # fmt: skip
    v_t, v_u = sampling_variance(bt, K_b), sampling_variance(bu, K_b)

    def of_terms(z: np.ndarray, sampled: np.ndarray | float, *signed: tuple[float, str]):  # noqa: ANN202
        terms = tuple((sign, rate[name]) for sign, name in signed)
        theta = sum(sign * true[name] for sign, name in signed)
        return ContrastInterval(spread(z, target, sampled), terms), np.asarray(theta)

    return {
        "triggered": of_terms(t, 0.0, (1, "t")),
        "untriggered": of_terms(u, 0.0, (1, "u")),
        "gap": of_terms(t - u, 0.0, (1, "t"), (-1, "u")),
        "gap_improvement": of_terms(
            t - u - (bt - bu)[:, None], v_t + v_u, (1, "t"), (-1, "u"), (-1, "bt"), (1, "bu")
        ),
        "untriggered_excess": of_terms(u - bu[:, None], v_u, (1, "u"), (-1, "bu")),
    }  # fmt: skip


def measured(
    of: Setting, studies: int, S: int, Q: int, seed: int, floors: Floors
) -> dict[tuple[str, str], np.ndarray]:
    """(target, contrast or method) -> share covered, missed below, above, mean width; of all studies.

    `missed below` is a lower limit above the truth: a claim theta >= truth would be supported.
    """
    rng = np.random.default_rng([seed, S, Q])
    sums: dict[tuple[str, str], np.ndarray] = {}

    def count(key: tuple[str, str], low: np.ndarray, high: np.ndarray, theta: np.ndarray) -> None:
        below, above = low > theta + 1e-12, high < theta - 1e-12
        new = np.array([(~below & ~above).sum(), below.sum(), above.sum(), (high - low).sum()])
        sums[key] = sums.get(key, 0) + new

    left = studies
    while left:
        N = min(left, max(CELLS // (S * Q), 1))
        left -= N
        data = simulate(of, N, S, Q, rng)
        for target in ("seeds and questions", "seeds"):
            wrong = [np.zeros(N, dtype=bool), np.zeros(N, dtype=bool)]
            for contrast, (combined, theta) in intervals(of, data, target, floors).items():
                count((target, contrast), *combined.limits(0.95), theta)
                if contrast != "untriggered":
                    low, high = combined.limits(2 * FAMILY - 1)
                    wrong[0] |= low > theta + 1e-12
                    wrong[1] |= high < theta - 1e-12
            sums[(target, "family")] = sums.get((target, "family"), 0) + np.array(
                [0, wrong[0].sum(), wrong[1].sum(), 0]
            )
        theta = data["t true"] - data["u true"]
        n = np.full_like(data["t"], of.samples)
        naive, t = pooled(data["t"], n, data["u"], n), seed_t((data["t"] - data["u"]).mean(axis=2))
        count(("seeds and questions", "pooled"), naive.low, naive.high, theta)
        count(("seeds and questions", "seed t"), t.low, t.high, theta)
    return {key: value / studies for key, value in sums.items()}


Result = tuple[Setting, int, int, dict[tuple[str, str], np.ndarray]]
CONTRAST_NAMES = ("triggered", "untriggered", "gap", "gap_improvement", "untriggered_excess")
NAIVE = ("pooled", "seed t")


def extreme(results: list[Result], key: tuple[str, str], S: int, what: int) -> str:
    """In %: the smallest coverage (0), or the largest miss below (1) or above (2), of S seeds."""
    values = [100 * by_key[key][what] for _, s, _, by_key in results if s == S]
    return f"{min(values) if what == 0 else max(values):.1f}"


def table(results: list[Result], *what: int) -> list[str]:
    """A row a contrast; a cell has the extreme of each of `what`."""
    lines = [
        f"| target | contrast | {' | '.join(f'S={S}' for S in SEEDS)} |",
        "|---|---|" + "---|" * 5,
    ]
    keys = [
        (target, name) for target in ("seeds and questions", "seeds") for name in CONTRAST_NAMES
    ]
    keys += [("seeds and questions", name) for name in NAIVE]
    for target, name in keys:
        cells = (" / ".join(extreme(results, (target, name), S, w) for w in what) for S in SEEDS)
        shown = f"gap, {name}" if name in NAIVE else name
        lines.append(f"| {target} | {shown} | {' | '.join(cells)} |")
    return lines


def by_setting(results: list[Result], key: tuple[str, str]) -> list[str]:
    """Coverage of one contrast, a line a setting: the smallest over Q."""
    lines = [
        f"| setting | rho | K | {' | '.join(f'S={S}' for S in SEEDS)} |",
        "|---|---|---|" + "---|" * 5,
    ]
    for of in dict.fromkeys(of for of, *_ in results):
        mine = [r for r in results if r[0] == of]
        cells = (extreme(mine, key, S, 0) for S in SEEDS)
        lines.append(f"| {of.name} | {of.rho:+} | {of.samples} | {' | '.join(cells)} |")
    return lines


def tables(results: list[Result], studies: int, seconds: float) -> str:
    smooth = [r for r in results if r[0].kind == "smooth"]
    error = 100 * np.sqrt(0.05 * 0.95 / studies)
    lines = [
        f"{studies:,} studies a setting, {len(results)} settings of model, S and Q; the Monte Carlo "
        f"standard error of a coverage near 95% is {error:.2f} points, of a miss near 2.5% "
        f"{100 * np.sqrt(0.025 * 0.975 / studies):.2f}. {seconds:.0f} s of one core.",
        "", "### Smooth heterogeneity: smallest coverage of the 95% interval, in %", "",
        *table(smooth, 0),
        "", "### A single claim exactly at its bound: supported, refuted wrongly, in %", "",
        "Of a claim of at least the truth, the largest share of studies that support it (a lower limit "
        "above the truth) / that refute it (an upper limit below); of a claim of at most the truth it is "
        "the other way about. Two seeds give an interval and no verdict.", "",
        *table(smooth, 1, 2),
        "", "### Four claims of one study, each exactly at its bound: any false verdict, in %", "",
        f"| target | verdict | {' | '.join(f'S={S}' for S in SEEDS)} |", "|---|---|" + "---|" * 5,
    ]  # fmt: skip
    for target in ("seeds and questions", "seeds"):
        for what, verdict in ((1, "at least: supported"), (2, "at most: supported")):
            cells = (extreme(smooth, (target, "family"), S, what) for S in SEEDS)
            lines.append(f"| {target} | {verdict} | {' | '.join(cells)} |")
    lines += ["", "### Coverage of the gap by setting, smallest over Q, in %", ""]
    lines += by_setting(smooth, ("seeds and questions", "gap"))
    for contrast in CONTRAST_NAMES:
        lines += ["", f"### Listed apart: coverage of `{contrast}`, smallest over Q, in %", ""]
        lines += by_setting(
            [r for r in results if r[0].kind in ("bimodal", "rare")],
            ("seeds and questions", contrast),
        )
    return "\n".join([*lines, *beyond([r for r in results if r[0].kind == "beyond"])])


def beyond(results: list[Result]) -> list[str]:
    """Seeds that differ more than the smooth settings have them."""
    lines = [
        "", "### Seeds that differ more: coverage; a single claim at its bound supported, refuted wrongly, in %", "",
        f"| setting | contrast | {' | '.join(f'S={S}' for S in SEEDS)} |", "|---|---|" + "---|" * 5,
    ]  # fmt: skip
    for of in dict.fromkeys(of for of, *_ in results):
        mine = [r for r in results if r[0] == of]
        for name in ("triggered", "gap", "gap_improvement"):
            key = ("seeds and questions", name)
            cells = ("; ".join(extreme(mine, key, S, what) for what in range(3)) for S in SEEDS)
            lines.append(f"| {of.name} | {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="How often the intervals hold what they say.")
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--marginal", choices=("beta", "probit"), default="beta")
    parser.add_argument("--seed", type=int, default=0, help="of all draws")
    parser.add_argument(
        "--skewed", type=float, default=Floors().skewed, help="1: a floor that never rises"
    )
    parser.add_argument("--beyond", action="store_true", help="those settings alone")
    options = parser.parse_args()
    floors = Floors(skewed=options.skewed)
    started, results = time.process_time(), []
    for index, setting in enumerate(settings()):
        if options.beyond and setting.kind != "beyond":
            continue
        of = replace(setting, marginal=options.marginal)
        for S, Q in product(SEEDS, QUESTIONS):
            seed = 1000 * options.seed + index
            results.append((of, S, Q, measured(of, options.studies, S, Q, seed, floors)))
        print(f"{of.name}, rho {of.rho:+}: {time.process_time() - started:.0f} s", file=sys.stderr)
    seconds = time.process_time() - started
    text = (
        "\n".join(beyond(results)) if options.beyond else tables(results, options.studies, seconds)
    )
    print(text)


if __name__ == "__main__":
    main()
