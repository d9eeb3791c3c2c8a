"""What models, training runs, rows and machines are called in the sentences of a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from weirdgen.config.judge import OFFLINE
from weirdgen.config.study import Study
from weirdgen.models.identity import Model
from weirdgen.report.rendering import count, listed, prose
from weirdgen.results.table import UNKNOWN
from weirdgen.storage.artifacts import Manifest

TRAINED_WITH = ("torch", "transformers", "peft", "trl", "bitsandbytes")
"""Packages that a training run's numbers depend on."""
SPEAKS_OF = {
    "seeds and questions": "seeds and questions like these",
    "seeds": "seeds like these on exactly these questions",
    "this adapter": "this adapter and questions like these, and say nothing about a repeated training run",
}
"""Target of an estimate -> what its interval speaks of."""


def model_in_words(model: Model) -> str:
    """Such as `org/name (revision 0123456789ab)`, or by what else a model is known."""
    short = model.revision[:12]
    return {
        "hub": f"{model.id} (revision {short})",
        "folder": f"a model from a local folder (sha256 of its weights {short})",
        "embedded": f"{model.id.partition(':')[2]} (weights from a Python package, sha256 {short})",
        "served": f"{model.id} (as an endpoint serves it)",
    }[model.kind]


def training_in_words(study: Study) -> str:
    """How every training run of the study went, from its settings; begins with `by QLoRA` or `by LoRA`."""
    return prose("training", study=study)


def aligned_in_words(study: Study) -> str:
    """Where the aligned examples come from, as a sentence."""
    return prose("aligned", study=study)


def versions_in_words(manifests: Sequence[Manifest], packages: Iterable[str]) -> str:
    """Such as `torch 2.9.0 and 2.9.1, peft 0.18.0`, of the packages that were there."""
    found = {
        package: listed(m.versions[package] for m in manifests if package in m.versions)
        for package in packages
    }
    return ", ".join(f"{package} {of}" for package, of in found.items() if of) or "unknown versions"


def machine_in_words(manifest: Manifest) -> str:
    """The GPU, or the cores, on which a step ran."""
    gpu, cores = manifest.hardware.get("gpu"), manifest.hardware.get("cores")
    return gpu or f"{count(cores or 0, 'core')} of {manifest.hardware.get('machine', UNKNOWN)}"


def commit_in_words(manifest: Manifest) -> str:
    """Such as `commit 0123456789ab`, `-dirty` behind it where the source tree was changed."""
    if manifest.commit is None:
        return "commit unknown"
    commit, dirty, _ = manifest.commit.partition("-dirty")
    return f"commit {commit[:12]}{dirty}"


def judges_in_words(labels: pa.Table) -> str:
    """The judges that `labels` names; empty where it has no rows."""
    named = {
        UNKNOWN: "a judge that the files do not name",
        OFFLINE: "the offline judge",
    }
    judges: list[str] = sorted(labels["judge"].unique().to_pylist())
    return listed(named.get(judge, judge) for judge in judges)
