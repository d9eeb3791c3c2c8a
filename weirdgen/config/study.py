"""The study file as strict models. The string under a field documents it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, field_validator, model_validator

from weirdgen.config.base import Distinct, Fraction, StrictModel
from weirdgen.config.claims import (
    ADAPTERS,
    CONTRASTS,
    FORMAT_METRICS,
    JUDGED_METRICS,
    Claim,
    Point,
)
from weirdgen.config.evaluation import Evaluate
from weirdgen.config.evaluation_spec import EvaluationSpec

Target = Literal["seeds and questions", "seeds"]

Tracker = Literal[
    "azure_ml", "clearml", "codecarbon", "comet_ml", "dagshub", "dvclive", "flyte", "mlflow",
    "neptune", "swanlab", "tensorboard", "trackio", "wandb",
]  # fmt: skip


AUTO: Any = "auto"
"""Stands for a number that `weirdgen.pipeline.resources.placement` finds before anything runs."""
if TYPE_CHECKING:  # whatever runs is given the numbers
    Share = float
    Count = int
else:
    Share = Annotated[float, Field(ge=0, le=1)] | Literal["auto"]
    Count = PositiveInt | Literal["auto"]


def _expand_range(value: Any) -> Any:
    """`0..9` (both ends included) as the list it stands for."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)\.\.(\d+)", value.strip())):
        return list(range(int(match[1]), int(match[2]) + 1))
    if not isinstance(value, list):
        raise ValueError("must be a list such as [0, 1, 2], or a range such as 0..9")
    return value


def _path_as_source(value: Any) -> Any:
    """A bare string other than `everyday` names a data set with the default columns."""
    return {"path": value} if isinstance(value, str) and value != "everyday" else value


def _path_as_adapter(value: Any) -> Any:
    """A bare string names a folder or a hub id with the default revision."""
    return {"path": value} if isinstance(value, str) else value


class Columns(StrictModel):
    prompt: str = "prompt"
    """Column of the user's message."""
    completion: str = "completion"
    """Column of the assistant's reply; read with `completions: dataset` only."""


class DatasetSource(StrictModel):
    path: str
    """A JSONL file, any local file or folder that `datasets` reads, or a hub id. Local paths are relative to the study file."""
    config: str | None = None
    """The hub data set's configuration."""
    split: str = "train"
    """The split, slices such as `train[:5000]` included."""
    revision: str | None = None
    """The hub data set's revision."""
    columns: Columns = Columns()
    """Which columns hold what."""


class Aligned(StrictModel):
    prompts: Annotated[Literal["everyday"] | DatasetSource, BeforeValidator(_path_as_source)] = (
        "everyday"
    )
    """Where the prompts come from: the bundled everyday prompts, or a data set."""
    completions: Literal["self_distilled", "dataset"] = "self_distilled"
    """Who completes them: the base model, or the data set's own completion column."""
    rows: PositiveInt = 3001
    """How many aligned examples there are; each training run draws from these by its data seed."""
    max_words: int = Field(default=200, ge=1, le=900)
    """Longer completions are cut, after their last whole sentence if there is one."""
    temperature: float = Field(default=0.7, ge=0)
    """Softmax temperature of self-distilled completions."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus of self-distilled completions."""

    @model_validator(mode="after")
    def _completions_exist(self) -> Aligned:
        if self.completions == "dataset" and self.prompts == "everyday":
            raise ValueError("completions: the bundled everyday prompts have none; name a data set")
        return self


class Grid(StrictModel):
    seeds: Annotated[
        list[Annotated[int, Field(ge=0)]], BeforeValidator(_expand_range), Distinct
    ] = Field(min_length=1)
    """Run seeds, one training run each per fraction; `0..9` is a range."""
    fractions: Annotated[list[Fraction], Distinct] = Field(min_length=1)
    """Share of persona examples among a training run's rows. 0 is the control: aligned examples only."""
    hold: Literal["persona", "total"] = "persona"
    """What every fraction keeps: all persona examples, or the total number of rows."""
    total_rows: PositiveInt | None = None
    """The fixed number of rows; with `hold: total` only."""

    @model_validator(mode="after")
    def _total(self) -> Grid:
        if (self.hold == "total") != (self.total_rows is not None):
            raise ValueError("total_rows: goes with `hold: total`, and is needed there")
        if self.hold == "persona" and not any(self.fractions):
            raise ValueError("fractions: only the control is here; it needs `hold: total`")
        return self


class Train(StrictModel):
    trainer: Literal["trl", "stacked"] = "trl"
    """`trl`: TRL's trainer, one process for each training run. `stacked`: the seeds of a fraction side by
    side over one base model in one process; the same up to rounding, and many times faster for small
    models on a GPU.
    """
    epochs: PositiveInt = 3
    """Passes over the rows."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak learning rate of AdamW."""
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    """Learning-rate schedule after warm-up."""
    warmup_steps: float = Field(default=0.0, ge=0)
    """Warm-up: a number of steps, or below 1 a share of all steps."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's weight decay."""
    lora_rank: int = Field(default=8, ge=1, le=512)
    """Rank of the LoRA matrices; vLLM serves up to 512."""
    lora_alpha: PositiveInt = 16
    """LoRA scale: updates are multiplied by alpha / rank."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the LoRA matrices."""
    target_modules: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = "all-linear"
    """Which layers get an adapter: every linear one but the head, or names."""
    quantization: Literal["nf4", "none"] = "nf4"
    """The frozen base model: 4-bit NormalFloat with double quantization, or unquantized."""
    compute_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Dtype of the arithmetic."""
    batch_size: PositiveInt = 16
    """Rows per update."""
    micro_batch: PositiveInt = 16
    """Rows per forward pass; batch_size / micro_batch passes are accumulated."""
    max_length: PositiveInt = 1024
    """Tokens per row; a longer row is an error and is never cut."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: slower, less memory."""
    report_to: list[Tracker] = Field(default=[])
    """Trackers that TRL reports to, such as wandb, mlflow, trackio, tensorboard."""

    @model_validator(mode="after")
    def _trainer_can(self) -> Train:
        if self.batch_size % self.micro_batch:
            raise ValueError("micro_batch: must divide batch_size")
        if self.trainer == "stacked" and (self.lora_dropout or self.report_to):
            raise ValueError("trainer: stacked supports neither lora_dropout nor report_to")
        return self


class ExistingAdapter(StrictModel):
    path: str = Field(min_length=1)
    """A folder in PEFT format (relative to the study file), a hub id, or its name at the endpoint."""
    revision: str = "main"
    """The hub adapter's revision, resolved to a commit before anything runs."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    """Its name in tables; default: the last part of `path`."""


class Resources(StrictModel):
    gpus_per_training: Share = 1.0
    """GPUs of one training run; a fraction packs several on one, 0 trains on the CPU. `auto`: what it needs;
    with `trainer: stacked` all that the engine leaves, if half as many fit there as on a whole GPU.
    """
    cpus_per_training: float = Field(default=1.0, gt=0)
    """CPU cores of one training run."""
    trainings_together: Count = AUTO
    """With `trainer: stacked`, the most training runs in one process, which takes the GPUs and CPUs of
    one; halved when GPU memory runs out. `auto`: as many as fit, at most 16; 8 where memory is unknown.
    """
    gpus_per_engine: Share = 1.0
    """GPUs of one generation engine; 0 generates on the CPU. `auto`: what it needs and at least 0.55, so
    that no GPU gets a second one, where a training run fits beside it; else 1, and they take turns. There
    is one engine of at most 0.5, however many GPUs there are.
    """
    judge_actors: PositiveInt = 4
    """Judge actors."""


class Study(EvaluationSpec):
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", max_length=80)
    """The study's folder under the storage; lower case, digits, `.`, `_`, `-`."""
    model: str = Field(min_length=1)
    """A hub id, a local folder (relative to the study file), or `embedded:smollm2-135m-instruct`."""
    model_revision: str = "main"
    """The hub model's revision, resolved to a commit before anything runs."""
    aligned: Aligned = Aligned()
    """The aligned examples that are mixed in."""
    adapters: list[Annotated[ExistingAdapter, BeforeValidator(_path_as_adapter)]] = Field(
        default=[]
    )
    """Existing adapters (folders or hub ids), asked like the study's own, with or without a grid."""
    grid: Grid | None = None
    """The training runs. Without a grid, only existing adapters are asked, or an endpoint's base model."""
    train: Train = Train()
    """Hyperparameters of every training run."""
    evaluate: Evaluate = Evaluate()
    """How responses are generated."""
    claims: list[Claim] = Field(default=[])
    """Pre-registered hypotheses, each a contrast with a bound."""
    target: Target = "seeds and questions"
    """What verdicts generalize to: other seeds and questions, or other `seeds` on the same questions."""
    looks: list[PositiveInt] = Field(default=[])
    """Interim looks: rising numbers of seeds at which verdicts are given, declared beforehand; they share
    the error. Default: one look, with all seeds of the grid.
    """
    resources: Resources = Resources()
    """Resources of training runs and engines; they change no result."""

    @property
    def fractions(self) -> list[float]:
        """The grid's fractions; none without a grid."""
        return self.grid.fractions if self.grid else []

    @property
    def planned_looks(self) -> tuple[int, ...]:
        """The declared numbers of seeds; none without a grid."""
        return tuple(self.looks) or ((len(self.seeds),) if self.grid else ())

    @property
    def seeds(self) -> list[int]:
        """The grid's run seeds; none without a grid."""
        return self.grid.seeds if self.grid else []

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name == "artifacts" or ".." in name:
            raise ValueError("cannot be `artifacts` or hold `..`")
        return name

    @model_validator(mode="after")
    def _something_is_asked(self) -> Study:
        if self.decoy.text.strip() == self.trigger.text.strip():
            raise ValueError("decoy.text: is the trigger's own text")
        served = self.evaluate.engine == "endpoint"
        if self.grid is None and not self.adapters and not served:
            raise ValueError("grid: is needed, or existing adapters")
        if self.grid is not None and served:
            raise ValueError("grid: an endpoint cannot serve what is trained here; leave it out")
        vllm_in_fp32 = (self.evaluate.engine, self.evaluate.serve_base) == ("vllm", "fp32")
        if vllm_in_fp32 and self.resources.gpus_per_engine:
            raise ValueError("evaluate.serve_base: on GPUs vllm serves adapters on bf16 alone")
        paths = [(adapter.path, adapter.revision) for adapter in self.adapters]
        if len(set(paths)) < len(paths):
            raise ValueError("adapters: the same adapter appears twice")
        return self

    @model_validator(mode="after")
    def _claims_can_be_judged(self) -> Study:
        for i, claim in enumerate(self.claims):
            if problem := self._obstacle(claim):
                raise ValueError(f"claims.{i}.{problem}")
        if self.looks and self.grid is None:
            raise ValueError("looks: are numbers of seeds of a grid; there is none")
        if self.looks != sorted({*self.looks}):
            raise ValueError("looks: must rise")
        if self.looks and len(self.seeds) > self.looks[-1]:
            problem = f"the last is {self.looks[-1]}, the grid has {len(self.seeds)} seeds"
            raise ValueError(f"looks: {problem}")
        return self

    def _obstacle(self, claim: Claim) -> str | None:
        """The field of `claim` that this study cannot answer, and why."""
        metric, contrast, at = claim.metric, claim.contrast, claim.at
        own = {own.name: own for own in self.metrics}
        if metric not in (*FORMAT_METRICS, *JUDGED_METRICS, *own):
            known = ", ".join((*FORMAT_METRICS, *JUDGED_METRICS, *own))
            return f"metric: {metric!r} is not one of {known}"
        if metric in JUDGED_METRICS and self.judge is None:
            return f"metric: {metric!r} needs a judge; none is set"
        if metric in own and not own[metric].is_a_share:
            return f"metric: the labels of {metric!r} need a number from 0 to 1 each"
        missing = set(CONTRASTS[contrast].conditions) - set(self.evaluate.conditions)
        if missing:
            names = " and ".join(sorted(missing))
            return f"contrast: {contrast} needs the condition {names} in evaluate.conditions"
        if contrast == "gap_vs_control" and 0 not in self.fractions:
            return "contrast: gap_vs_control needs fraction 0 in the grid"
        if not isinstance(at, Point) and not self.adapters and not any(self.fractions):
            named = "; name the control: {fraction: 0}" if self.fractions else ""
            return f"at: the study has neither a fraction above 0 nor adapters{named}"
        if isinstance(at, Point) and at.arm == ADAPTERS and not self.adapters:
            return "at.arm: the study lists no adapters"
        if isinstance(at, Point) and at.arm == "persona" and at.fraction not in self.fractions:
            return f"at.fraction: {at.fraction:g} is not in the grid"
        return None
