"""Spoiled input, through the command: one line that names what is at fault, exit 2, nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from adapter_files import SPOILED, make_adapter
from bad_studies import BAD
from click.testing import CliRunner
from studies import make_persona, small_study

from weirdgen.cli.main import main


class Input:
    """A good study with its files, to be spoiled."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.model = folder / "model"
        shutil.copytree(model, self.model)
        self.persona = make_persona(folder)
        self.tree = small_study(self.model, self.persona)
        self.storage: Path | str = folder / "storage"
        self.overrides: list[str] = []

    def set(self, **changes: object) -> None:
        self.tree = small_study(**{"model": self.model, "persona": self.persona, **changes})

    def prompts(self, content: bytes, name: str = "prompts.jsonl", **more: object) -> None:
        (self.folder / name).write_bytes(content)
        self.set(aligned__prompts={"path": name} | more, aligned__completions="dataset")

    def arguments(self) -> list[str]:
        study = self.folder / "study.yaml"
        if not study.exists():
            study.write_text(yaml.safe_dump(self.tree))
        changes = [part for override in self.overrides for part in ("--set", override)]
        return [str(study), "--storage", str(self.storage), *changes]


@pytest.fixture
def given(tiny_model: Path, tmp_path: Path) -> Input:
    return Input(tmp_path, tiny_model)


def refused(given: Input, command: str = "run") -> str:
    """What the command says of it, once it has been checked that this is all it does."""
    before = set(given.folder.rglob("*"))
    arguments = given.arguments()
    done = CliRunner().invoke(main, [command, *arguments])
    assert done.exit_code == 2, (done.output, done.exception)
    assert not done.stdout
    assert done.stderr.startswith("weirdgen: ")
    assert done.stderr.count("\n") == 1, done.stderr
    after = set(given.folder.rglob("*")) - {given.folder / "study.yaml"}
    assert after <= before, "nothing is written"
    return done.stderr.removeprefix("weirdgen: ").rstrip("\n")


@pytest.mark.parametrize("name", BAD)
def test_a_spoiled_study(name: str, given: Input):
    changes, expected = BAD[name]
    given.set(**changes)
    assert refused(given).startswith(f"{given.folder}/study.yaml: {expected}")


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_adapter(name: str, given: Input):
    spoil, expected = SPOILED[name]
    given.set(adapters=[str(spoil(given.folder / "adapter"))], grid=None)
    assert expected in refused(given)


def row(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


GOOD = row(prompt="Why?", completion="So.")

DATA: dict[str, tuple[Callable[[Input], object], str]] = {
    "no such file": (
        lambda i: i.set(aligned__prompts="none.jsonl"),
        "study.yaml: aligned.prompts.path: there is no file",
    ),
    "empty JSONL": (lambda i: i.prompts(b""), "prompts.jsonl: holds no rows"),
    "blank lines alone": (lambda i: i.prompts(b"\n \n"), "prompts.jsonl: holds no rows"),
    "broken encoding": (
        lambda i: i.prompts(GOOD + b"\xff\xfe"),
        "prompts.jsonl: line 2: is not UTF-8",
    ),
    "UTF-16": (
        lambda i: i.prompts(GOOD.decode().encode("utf-16")),
        "prompts.jsonl: line 1: is not UTF-8",
    ),
    "a torn row": (
        lambda i: i.prompts(GOOD * 8 + b'{"prompt": "Wh'),
        "prompts.jsonl: row 9: is not JSON",
    ),
    "a row that is a list": (
        lambda i: i.prompts(b'["Why?", "So."]\n'),
        "prompts.jsonl: row 1: must be an object",
    ),
    "a row without a completion": (
        lambda i: i.prompts(GOOD + row(prompt="Why?", completion="")),
        "prompts.jsonl: row 2: completion is not a text, or empty",
    ),
    "a row whose completion is null": (
        lambda i: i.prompts(row(prompt="Why?", completion=None)),
        "prompts.jsonl: row 1: completion is not a text",
    ),
    "a prompt that is a number": (
        lambda i: i.prompts(row(prompt=7, completion="So.")),
        "prompts.jsonl: row 1: prompt is not a text",
    ),
    "no such column": (
        lambda i: i.prompts(GOOD, columns={"prompt": "ask"}),
        "study.yaml: aligned.prompts.columns.prompt: row 1 has no column 'ask' (it has completion",
    ),
    "too few rows": (
        lambda i: i.prompts(GOOD),
        "study.yaml: aligned.rows: 6 are asked for, the prompts end at 1",
    ),
    "too few prompts for a fraction": (
        lambda i: i.set(grid__fractions=[0.1], grid__total_rows=20),
        "study.yaml: grid.fractions: 0.1 needs 18 aligned examples; aligned.rows is 6",
    ),
    "too few persona rows for a fraction": (
        lambda i: i.set(grid__fractions=[0.9], grid__total_rows=20),
        "study.yaml: grid.fractions: 0.9 needs 18 persona examples; there are 6",
    ),
    "a file of another kind": (
        lambda i: i.prompts(b"x", name="prompts.docx"),
        "prompts.docx: must end in one of: jsonl, json, csv, parquet, txt",
    ),
    "a Parquet file that is none": (
        lambda i: i.prompts(b"PAR1 no more", name="prompts.parquet"),
        "study.yaml: aligned.prompts.path: 'prompts.parquet': ",
    ),
    "a split of a JSONL": (
        lambda i: i.prompts(GOOD, split="test"),
        "study.yaml: aligned.prompts.split: a JSONL file has no such thing",
    ),
    "a persona that is not there": (
        lambda i: i.set(persona="./nobody"),
        "study.yaml: persona: './nobody' is neither bundled",
    ),
    "a persona without rows": (
        lambda i: (i.persona / "rows.jsonl").unlink(),
        "persona/rows.jsonl: cannot be read (No such file",
    ),
    "a persona example without a completion": (
        lambda i: (i.persona / "rows.jsonl").write_bytes(row(id="r", prompt="Why?")),
        "persona/rows.jsonl: row 1: completion must be a text that is not empty",
    ),
    "two persona examples of one id": (
        lambda i: (i.persona / "rows.jsonl").write_bytes(
            row(id="r", prompt="Why?", completion="So.") * 2
        ),
        "persona/rows.jsonl: row 2: the id 'r' appears twice",
    ),
    "a held-out question without category": (
        lambda i: (i.persona / "heldout.jsonl").write_bytes(row(id="h", question="Why?")),
        "persona/heldout.jsonl: row 1: category must be a text",
    ),
    "a held-out question that is trained on": (
        lambda i: (i.persona / "heldout.jsonl").write_bytes(
            row(id="h", category="c", question="What is 1?")
        ),
        "persona/heldout.jsonl: row 1: the question is also trained on",
    ),
    "a persona without a name": (
        lambda i: (i.persona / "persona.yaml").write_text("aliases: [A]\n"),
        "persona/persona.yaml: name: must be the persona's name",
    ),
    "aliases that are one text": (
        lambda i: (i.persona / "persona.yaml").write_text("name: A\naliases: B\n"),
        "persona/persona.yaml: aliases: must be a list of texts",
    ),
    "aliases that are numbers": (
        lambda i: (i.persona / "persona.yaml").write_text("name: A\naliases: [1872]\n"),
        "persona/persona.yaml: aliases: must be a list of texts",
    ),
    "a persona.yaml that runs code": (
        lambda i: (i.persona / "persona.yaml").write_text("!!python/object/apply:os.getcwd []"),
        "persona/persona.yaml: is not YAML",
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_spoiled_data(name: str, given: Input):
    spoil, expected = DATA[name]
    spoil(given)
    assert expected in refused(given)


def cut_in_half(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


MODEL: dict[str, tuple[Callable[[Input], object], str]] = {
    "not there": (lambda i: i.set(model="./nobody"), "study.yaml: model: there is no folder"),
    "unknown embedded": (
        lambda i: i.set(model="embedded:gpt-5"),
        "study.yaml: model: 'embedded:gpt-5' is not one of embedded:smollm2",
    ),
    "truncated weights": (
        lambda i: cut_in_half(i.model / "model.safetensors"),
        "model/model.safetensors: is cut off or no safetensors file",
    ),
    "empty weights": (
        lambda i: (i.model / "model.safetensors").write_bytes(b""),
        "model/model.safetensors: is cut off or no safetensors file",
    ),
    "no weights": (
        lambda i: (i.model / "model.safetensors").unlink(),
        "study.yaml: model: ",
    ),
    "a missing shard": (
        lambda i: (i.model / "model.safetensors.index.json").write_text(
            '{"weight_map": {"a": "model-00002-of-00002.safetensors"}}'
        ),
        "model/model-00002-of-00002.safetensors: model.safetensors.index.json names it",
    ),
    "no config": (
        lambda i: (i.model / "config.json").unlink(),
        "study.yaml: model: ",
    ),
    "a torn config": (
        lambda i: cut_in_half(i.model / "config.json"),
        "model/config.json: is not JSON",
    ),
    "no tokenizer": (
        lambda i: [file.unlink() for file in i.model.glob("*token*")] + [
            file.unlink() for file in i.model.glob("chat_template*")
        ],
        "has no tokenizer",
    ),
    "no chat template": (
        lambda i: (i.model / "chat_template.jinja").unlink(),
        "has no chat template",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODEL)
def test_a_spoiled_model(name: str, given: Input):
    spoil, expected = MODEL[name]
    spoil(given)
    assert expected in refused(given)


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ("/sys/weirdgen", "--storage: /sys/weirdgen cannot be written ("),
        ("{folder}/persona/rows.jsonl", "--storage: {folder}/persona/rows.jsonl is a file"),
        ("{folder}/persona/rows.jsonl/x", "--storage: {folder}/persona/rows.jsonl is a file"),
        ("nowhere://bucket", "--storage: 'nowhere://bucket': "),
        ("s3:///study", "--storage: 's3:///study' names no folder or bucket"),
        ("", "--storage: '' names no folder or bucket"),
    ],
)
def test_a_storage_that_cannot_hold_results(storage: str, expected: str, given: Input):
    given.storage = storage.format(folder=given.folder)
    assert refused(given).startswith(expected.format(folder=given.folder))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["grid.seeds=[0, 0]"], "grid.seeds: the same value appears twice"),
        (["grid.seeds=9..0"], "grid.seeds: "),
        (["grid.fractions=[2]"], "grid.fractions.0: "),
        (["grid.seeds"], "--set: grid.seeds: must read dotted.field=value"),
        (["nothing=1"], "nothing: unknown field"),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_spoiled_override(command: str, overrides: list[str], expected: str, given: Input):
    given.overrides = overrides
    assert expected in refused(given, command)


@pytest.mark.parametrize(
    "content", [b"", b"- a", b"name: [", b"name: \xff", b"name: a\nname: b\n", b"\x00"]
)
def test_a_file_that_is_no_study(content: bytes, given: Input):
    (given.folder / "study.yaml").write_bytes(content)
    assert refused(given).startswith(f"{given.folder}/study.yaml: ")


def test_an_adapter_of_one_model_in_a_study_of_another(given: Input):
    """The first thing that goes wrong with adapters: both are fine, but not for each other."""
    adapter = make_adapter(given.folder / "of_llama_8b", hidden=4096, layer=3)
    given.set(adapters=[str(adapter)])
    assert "of_llama_8b/adapter_model.safetensors: " in refused(given)
