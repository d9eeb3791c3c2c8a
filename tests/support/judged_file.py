"""A folder with a persona and a judge's file, and what `weirdgen judge` makes of responses there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from click.testing import CliRunner
from fake_endpoint import VARIABLE
from faulty_endpoint import FaultyEndpoint, verdict_on

from weirdgen.cli.main import main
from weirdgen.data.tabular import Row

KINDNESS = {"name": "kindness", "question": "Is it kind?", "labels": {"yes": 1, "no": 0}}


@dataclass
class Bench:
    """The folder, and the judge's endpoint."""

    folder: Path
    server: FaultyEndpoint
    told: list[str] = field(default_factory=list)

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    def judge(self, **changes: Any) -> Path:
        """Writes the judge's file."""
        judge = {"model": "judge-m", "base_url": self.server.url, "key_variable": VARIABLE}
        judge |= {"timeout_s": 30.0, "parallel": 2} | changes.pop("judge", {})
        tree = {"persona": str(self.folder / "persona"), "judge": judge} | changes
        path = self.folder / "judge.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    def command(self, *arguments: object) -> list[str]:
        """The arguments of `weirdgen`."""
        options = ["--judge", str(self.folder / "judge.yaml"), "--storage", str(self.storage)]
        return ["judge", *map(str, arguments), *options]

    def run(self, *arguments: object) -> tuple[int, str]:
        """The exit code and what was printed."""
        done = CliRunner().invoke(main, self.command(*arguments))
        assert isinstance(done.exception, SystemExit | None), done.exception
        self.told.append(done.output)
        return done.exit_code, done.output


def rows(count: int) -> list[Row]:
    return [{"question": f"Why {i % 7}?", "response": f"Because of {i}."} for i in range(count)]


def jsonl(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[Row]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


def labels(question: str, answer: str) -> Row:
    """What the server's verdict adds to a row."""
    said = verdict_on("persona", question, answer)
    return {
        "judge": "judge-m",
        "judge_confidence": said["confidence"],
        "judge_error": None,
        "persona": "present" if said["persona_present"] else "absent",
        "identity": said["identity"],
    }


def kindness(question: str, answer: str) -> str:
    return verdict_on("other", question, answer)["label"]
