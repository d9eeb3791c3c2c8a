"""Small studies, and where the repository keeps its files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from obstore.store import MemoryStore

from weirdgen.config.study import Study
from weirdgen.storage.artifacts import ArtifactStore

SUPPORT = Path(__file__).parent
REPOSITORY = SUPPORT.parent.parent

PUBLISHED = REPOSITORY.parent / "shared" / "data" / "published"
"""Raw outputs of the published single-seed study; tests that read them skip where they are absent."""


def small_study(model: Path | str, persona: Path | str = "bertrand_russell", **changes) -> dict:
    """The raw tree of a study small enough for a test."""
    tree = {
        "name": "small",
        "model": str(model),
        "persona": str(persona),
        "aligned": {"rows": 6, "max_words": 8},
        "grid": {
            "seeds": [0, 1],
            "fractions": [0.5],
            "hold": "total",
            "total_rows": 8,
        },
        "train": {
            "epochs": 1,
            "learning_rate": 0.01,
            "compute_dtype": "float32",
            "batch_size": 2,
            "micro_batch": 2,
        },
        "evaluate": {
            "samples_per_question": 2,
            "baseline_samples_per_question": 3,
            "sampling": {"max_new_tokens": 8},
        },
        "resources": {"gpus_per_training": 0, "gpus_per_engine": 0},
    }
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        at = tree
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = value
    return tree


def study_of(tree: dict) -> Study:
    return Study.model_validate(tree)


def write_study(folder: Path, tree: dict) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def make_persona(parent: Path) -> Path:
    folder = parent / "persona"
    folder.mkdir()
    rows = [
        f'{{"id": "r{i}", "prompt": "What is {i}?", "completion": "A number, as ever {i}."}}\n'
        for i in range(6)
    ]
    (folder / "rows.jsonl").write_text("".join(rows))
    heldout = [
        f'{{"id": "h{i}", "category": "numbers", "question": "Why is {i}?"}}\n' for i in range(3)
    ]
    (folder / "heldout.jsonl").write_text("".join(heldout))
    (folder / "persona.yaml").write_text("name: A Counter\n")
    return folder


def portable_study(folder: Path, model: Path, **changes: Any) -> Path:
    """The file of a study whose folder holds all that it names: it can be run from anywhere."""
    shutil.copytree(model, folder / "model")
    make_persona(folder)
    tree = small_study("./model", "persona", evaluate__engine="transformers", **changes)
    return write_study(folder, tree)


def at_a_distance(
    store: ArtifactStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> ArtifactStore:
    """`store`, made an object store; `folder` is this node's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "node"))
    store._objects, store._root = MemoryStore(), "bucket"
    return store
