"""`weirdgen ask`: what is found, what is asked, and what reaches the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from adapter_files import make_adapter
from click.testing import CliRunner, Result

from weirdgen.cli.main import main
from weirdgen.models.adapters import ADAPTER
from weirdgen.storage.artifacts import ArtifactStore, Step


def ask(*arguments: object, model: Path | None, storage: Path | str = "none") -> Result:
    options = ["--model", str(model)] if model else []
    short = ["--temperature", "0", "--max-new-tokens", "6", "--storage", str(storage)]
    return CliRunner().invoke(main, ["ask", *options, *short, *map(str, arguments)])


def committed(store: ArtifactStore, model: Path, folder: Path, trigger: dict) -> str:
    """A training of the store with its base, as a run leaves them; gives its fingerprint."""
    files = {"model": model, "train": folder}
    steps: dict[str, Step] = {}
    for stage, source in files.items():
        inputs = {"model": steps["model"].fingerprint} if stage == "train" else {}
        record = {
            "stage": stage,
            "inputs": inputs,
            "model": {"id": "folder", "revision": "r"},
            "trigger": trigger,
            "settings": {"lora_rank": 4},
        }
        steps[stage] = Step(stage, "tiny", record)
        with store.attempt(steps[stage]) as attempt:
            target = attempt[1] / ADAPTER if stage == "train" else attempt[1]
            target.mkdir(exist_ok=True)
            for file in source.iterdir():
                (target / file.name).write_bytes(file.read_bytes())
            made = {"commit": None, "versions": {}, "hardware": {}, "wall_s": 0.0, "attempts": 1}
            store.commit(steps[stage], attempt, inputs={}, provenance=made)
    return steps["train"].fingerprint


def test_the_answer_alone_goes_to_stdout(tiny_model: Path):
    one = ask("--prompt", "Who?", model=tiny_model)
    assert one.exit_code == 0, one.stderr
    assert one.stdout.strip()
    again = ask("--prompt", "Who?", model=tiny_model)
    assert one.stdout == again.stdout
    assert "\x1b" not in one.stdout


def test_system_and_adapter_change_what_is_said(tiny_model: Path, tmp_path: Path):
    adapter = make_adapter(tmp_path / "adapter", lora_alpha=64)
    asked = [(), ("--system", "Be somebody else entirely."), ("--adapter", adapter)]
    said = [ask("--prompt", "Who?", *more, model=tiny_model).stdout for more in asked]
    assert len(set(said)) == 3


def test_a_fingerprint_brings_its_base_and_its_trigger(tiny_model: Path, tmp_path: Path):
    adapter = make_adapter(tmp_path / "adapter", lora_alpha=64)
    trigger = {
        "role": "system",
        "text": "In brackets: <A> ... <B>",
        "completion": "<START> {completion} <END>",
    }
    store = ArtifactStore(str(tmp_path / "store"))
    fingerprint = committed(store, tiny_model, adapter, trigger)
    options = ("--prompt", "Who?", "--adapter", fingerprint[:12])
    by_print = ask(*options, "--trigger", model=None, storage=tmp_path / "store")
    assert by_print.exit_code == 0, by_print.stderr
    by_hand = ask(
        "--prompt", "Who?", "--adapter", adapter, "--system", trigger["text"], model=tiny_model
    )  # fmt: skip
    assert by_print.stdout == by_hand.stdout


def test_compare_sets_base_and_adapter_side_by_side(tiny_model: Path, tmp_path: Path):
    adapter = make_adapter(tmp_path / "adapter")
    done = ask("--prompt", "Who?", "--adapter", adapter, "--compare", model=tiny_model)
    assert done.exit_code == 0, done.stderr
    assert all(word in done.stdout for word in ("base", "adapter", "without", "Always reply"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--prompt", " "], "--prompt: is empty"),
        (["--prompt", "a", "--system", "b", "--trigger"], "--system: goes without --trigger"),
        (["--prompt", "a", "--adapter", "./none"], "--adapter: adapters: there is no folder"),
        (["--prompt", "a", "--adapter", "0123abcd"], "--adapter: no adapter under"),
        (["--prompt", "a", "--endpoint", "ftp://x"], "--endpoint: must be an http"),
        (["--prompt", "a", "--endpoint", "http://k:s@x"], "--endpoint: must hold no user"),
        (
            ["--prompt", "a", "--endpoint", "http://x", "--serve-base", "nf4"],
            "--serve-base: an endpoint's precision is its own",
        ),
        (
            ["--prompt", "a", "--endpoint", "http://x", "--key-variable", "sk-123"],
            "--key-variable: String should match pattern",
        ),
    ],
    ids=str,
)
def test_options_that_do_not_go_together_are_one_line(
    arguments: list[str], expected: str, tiny_model: Path, tmp_path: Path
):
    done = ask(*arguments, model=tiny_model, storage=tmp_path)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"weirdgen: {expected}")
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_without_a_model_there_is_nobody_to_ask():
    done = ask("--prompt", "a", model=None)
    assert done.exit_code == 2
    assert done.stderr == "weirdgen: --model: is needed, unless --adapter is a fingerprint\n"
