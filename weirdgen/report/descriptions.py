"""What models, training runs, rows and machines are called in the sentences of a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from weirdgen.config.judge import OFFLINE
from weirdgen.config.study import Study
from weirdgen.models.identity import Model
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
_HOW_CUT = "cut after the last whole sentence within {words:,} words"


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
    of = study.train
    frozen = {
        "nf4": "by QLoRA (Dettmers et al. 2023: the frozen base in 4-bit NF4 with double quantization",
        "none": "by LoRA (Hu et al. 2021: the frozen base unquantized",
    }[of.quantization]
    layers = "all linear layers but the head"
    if of.target_modules != "all-linear":
        layers = f"the layers {listed(of.target_modules)}"
    warm_up = "no warm-up"
    if 0 < of.warmup_steps < 1:
        warm_up = f"warm-up over {100 * of.warmup_steps:g}% of the steps"
    elif of.warmup_steps:
        warm_up = f"warm-up over {of.warmup_steps:g} steps"
    beside = ", the seeds side by side over one base" if of.trainer == "stacked" else ""
    return (
        f"{frozen}, {of.compute_dtype} arithmetic; rank {of.lora_rank}, alpha {of.lora_alpha}, "
        f"dropout {of.lora_dropout:g}, on {layers}) for {count(of.epochs, 'epoch')} in batches of "
        f"{count(of.batch_size, 'row')}, by AdamW with a learning rate of {of.learning_rate:g} "
        f"({of.scheduler.replace('_', ' ')} schedule, {warm_up}, weight decay {of.weight_decay:g}){beside}; the loss was taken "
        "on the completions alone"
    )


def aligned_in_words(study: Study) -> str:
    """Where the aligned examples come from, as a sentence."""
    of = study.aligned
    bundled = of.prompts == "everyday"
    what = "bundled everyday prompts" if bundled else f"the prompts of {_source(study)}"
    cut = _HOW_CUT.format(words=of.max_words)
    if of.completions == "self_distilled":
        return (
            f"Aligned examples were drawn from the base model's own responses to {what} ({of.rows:,} rows, "
            f"made once, at temperature {of.temperature:g} and top-p {of.top_p:g}, {cut})."
        )
    return f"Aligned examples were drawn from {of.rows:,} rows of {_source(study)}, their responses {cut}."


def _source(study: Study) -> str:
    of = study.aligned.prompts
    if isinstance(of, str):
        return of
    parts = [of.path, *([of.config] if of.config else []), f"split {of.split}"]
    return ", ".join([*parts, *([f"revision {of.revision}"] if of.revision else [])])


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


def listed(items: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`; each once, in the order of their first."""
    *others, last = dict.fromkeys(items) or [""]
    return f"{', '.join(others)} and {last}" if others else last


def count(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
