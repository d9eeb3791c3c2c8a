"""A small study whose answers an LLM judge labels, and drivers of it in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import ray
from asking import SECRET, assert_secret
from click.testing import CliRunner
from fake_endpoint import KEY, VARIABLE
from faulty_endpoint import FaultyEndpoint
from studies import small_study, write_study

from weirdgen.cli.main import main
from weirdgen.config.loading import load_study
from weirdgen.config.study import Study
from weirdgen.judging.judgment_store import ledger
from weirdgen.pipeline.plan import make_plan
from weirdgen.results.labels import LABELS
from weirdgen.results.table import RESULTS
from weirdgen.storage.artifacts import ArtifactStore

KINDNESS = {"name": "kindness", "question": "Is it kind?", "labels": {"yes": 1, "no": 0}}


@dataclass
class Bench:
    """A study at an endpoint that answers and judges, and the runs of it."""

    folder: Path
    server: FaultyEndpoint
    samples: int = 20
    changes: dict[str, Any] = field(default_factory=dict)
    name: str = "judged"

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(str(self.folder / "storage"))

    def study(self) -> Path:
        judge = {"model": "judge-m", "base_url": self.server.url, "key_variable": VARIABLE}
        judge |= {"parallel": 16, "timeout_s": 2.0} | self.changes.get("judge", {})
        tree = small_study("org/base", self.folder / "persona", adapters=["lora-a"], grid=None)
        tree |= {"name": self.name, "metrics": [KINDNESS]} | self.changes | {"judge": judge}
        tree["resources"]["judge_actors"] = 2
        tree["evaluate"] |= {
            "engine": "endpoint",
            "endpoint": {"base_url": self.server.url, "key_variable": VARIABLE},
            "samples_per_question": self.samples,
            "baseline_samples_per_question": self.samples,
        }
        folder = self.folder / self.name
        folder.mkdir(exist_ok=True)
        return write_study(folder, tree)

    def start(self, joined: bool = False) -> Run:
        """A driver; the endpoint's key is in its environment alone.

        It starts a Ray of its own, or joins the one of this process.
        """
        temp = tempfile.mkdtemp(prefix="wg")
        env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        env |= {VARIABLE: KEY, "RAY_TMPDIR": temp}
        if joined:
            env["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        command = [sys.executable, "-m", "weirdgen", "run", str(self.study())]
        process = subprocess.Popen(
            [*command, "--storage", self.store.uri],
            env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return Run(process, Path(temp))

    def run(self) -> tuple[int, str]:
        """The same command in this process, on the Ray of the module: its code and what it printed."""
        command = ["run", str(self.study()), "--storage", self.store.uri]
        with pytest.MonkeyPatch.context() as patch:  # drawing takes seconds and is not tested here
            patch.setattr("weirdgen.report.figures.all.all_figures", lambda _: [])
            # So wide that no sentence of the report is broken.
            result = CliRunner().invoke(main, command, env={"COLUMNS": "200"})
        assert isinstance(result.exception, SystemExit | None), result.exception
        assert SECRET not in result.output.encode()
        return result.exit_code, result.output

    def results(self) -> list[dict[str, Any]]:
        return pq.read_table(Path(self.store.path(self.name, RESULTS))).to_pylist()

    def bytes(self) -> list[bytes]:
        names = RESULTS, LABELS
        return [Path(self.store.path(self.name, name)).read_bytes() for name in names]

    def loaded(self) -> Study:
        return load_study(self.study())

    def ledger(self):
        plan = make_plan(self.loaded(), self.study().parent)
        return ledger(self.store, plan.llm_judges, self.name)


@dataclass
class Run:
    """A driver that runs."""

    process: subprocess.Popen
    temp: Path

    def end(self) -> tuple[int, str]:
        """Its exit code and what it printed; nothing of the key is in what Ray leaves."""
        printed, _ = self.process.communicate(timeout=300)
        assert SECRET not in printed.encode()
        assert_secret(storage=self.temp)
        return self.process.returncode, printed

    def judge_actors(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [each for each in children if "JudgeActor" in " ".join(each.cmdline())]

    def when_judged(self, server: FaultyEndpoint, count: int, then: Callable[[], Any]) -> None:
        """Does `then` as soon as so many questions have reached the judge, whatever happens here."""

        def watch() -> None:
            while len(server.judged) < count:
                time.sleep(0.002)
            then()

        threading.Thread(target=watch, daemon=True).start()
