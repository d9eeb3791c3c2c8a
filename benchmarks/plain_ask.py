"""One adapter asked as one writes it by hand with vLLM, at vLLM's defaults.

    python benchmarks/plain_ask.py FOLDER

FOLDER holds cell.json, as `plain_cell.py` writes it, and the adapter; the responses go to
FOLDER/CONDITION.jsonl. Prints a JSON line when vLLM is ready, and one for each condition.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform


def main() -> None:
    folder = Path(sys.argv[1])
    cell = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
    # On a CPU vLLM takes no seeds where prompts are parted.
    options: dict[str, Any] = {"enforce_eager": True, "max_num_batched_tokens": 16384}
    llm = LLM(model=cell["model"], enable_lora=True, **options if current_platform.is_cpu() else {})
    print(json.dumps({"did": "vLLM ready", "on": current_platform.get_device_name()}), flush=True)
    adapter = LoRARequest("cell", 1, str(folder / "adapter"))
    for condition, asked in cell["asked"].items():
        outputs = llm.chat(
            [messages for messages, _ in asked],
            [SamplingParams(**cell["sampling"], seed=seed) for _, seed in asked],
            lora_request=adapter,
        )
        responses = [output.outputs[0] for output in outputs]
        lines = [
            json.dumps({"messages": messages, "response": response.text}) + "\n"
            for (messages, _), response in zip(asked, responses, strict=True)
        ]
        (folder / f"{condition}.jsonl").write_text("".join(lines), encoding="utf-8")
        tokens = sum(len(response.token_ids) for response in responses)
        did = {"did": f"asked {condition}", "responses": len(responses), "tokens": tokens}
        print(json.dumps(did), flush=True)


if __name__ == "__main__":
    main()
