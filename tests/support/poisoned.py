"""A driver process for tests: `weirdgen run` with echoed answers, where the training of seed 1 kills its process.

The other trainings leave an adapter without weights, so that no worker imports torch.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import echo
from ray import cloudpickle

from weirdgen.cli.main import main
from weirdgen.runner import remote, run


def make_training(record: dict[str, Any], inputs: Any, out: Path, **options: Any) -> dict[str, Any]:
    if record["run_seed"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    for update in range(1, 13):
        options["on_step"](update, 12)
        time.sleep(1)  # long enough to be seen
    (out / "adapter").mkdir()
    (out / "adapter" / "adapter_config.json").write_text("{}")
    return {}


if __name__ == "__main__":
    cloudpickle.register_pickle_by_value(echo)
    cloudpickle.register_pickle_by_value(remote)
    remote.make_training = make_training
    remote._within_its_memory = nullcontext
    run.make_engine = lambda _, gpu_share: echo.EchoEngine(gpu_share)
    main()
