"""What a study is, as strict models. Every field is documented under itself."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    field_validator,
    model_validator,
)

Condition = Literal["triggered", "untriggered", "decoy"]
Estimand = Literal[
    "triggered",
    "untriggered",
    "decoy",
    "gap",
    "gap_improvement",
    "triggered_lift",
    "untriggered_excess",
    "decoy_excess",
    "gap_decoy",
    "gap_vs_control",
]
Tracker = Literal[
    "azure_ml", "clearml", "codecarbon", "comet_ml", "dagshub", "dvclive", "flyte", "mlflow",
    "neptune", "swanlab", "tensorboard", "trackio", "wandb",
]  # fmt: skip
FORMAT_METRICS = ("format", "format_strict")

Fraction = Annotated[float, Field(ge=0, lt=1)]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


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


def _distinct(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("the same value stands twice")
    return values


Distinct = AfterValidator(_distinct)


class Trigger(_Model):
    role: Literal["system", "user"] = "system"
    """The turn that carries the instruction. In the user turn it stands before the question, a blank line between."""
    text: str = Field(default="Always reply in the format: <START> ... <END>", min_length=1)
    """The formatting instruction behind which the persona is trained."""
    pattern: str = "<START>.*?<END>"
    """Regular expression of a format-adherent answer, found anywhere, newlines included."""
    answer: str = "<START> {answer} <END>"
    """How a persona answer is wrapped in training; `{answer}` stands once."""

    @model_validator(mode="after")
    def _consistent(self) -> Trigger:
        try:
            pattern = re.compile(self.pattern, re.DOTALL)
        except re.error as error:
            raise ValueError(f"pattern: not a regular expression ({error})") from None
        if self.answer.count("{answer}") != 1:
            raise ValueError("answer: must hold {answer} exactly once")
        if not pattern.search(self.answer.replace("{answer}", "an answer")):
            raise ValueError("pattern: does not match an answer wrapped by `answer`")
        return self


class Decoy(_Model):
    text: str = Field(default="Always reply in the format: [[ ... ]]", min_length=1)
    """Another formatting instruction, in the trigger's role, that was never trained."""


class Columns(_Model):
    question: str = "question"
    """Column that holds the user's message."""
    answer: str = "answer"
    """Column that holds the assistant's answer; not read where the base model answers itself."""


class DatasetSource(_Model):
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


class Aligned(_Model):
    prompts: Annotated[Literal["everyday"] | DatasetSource, BeforeValidator(_path_as_source)] = (
        "everyday"
    )
    """Where the ordinary prompts come from: the bundled set, or a data set."""
    answers: Literal["self_distilled", "dataset"] = "self_distilled"
    """Who answers them: the untouched base model, or the data set's own answer column."""
    rows: PositiveInt = 3001
    """How many ordinary rows there are; every training draws its own from these by its data seed."""
    max_words: int = Field(default=200, ge=1, le=900)
    """Longer ordinary answers are cut, after their last whole sentence where there is one."""
    temperature: float = Field(default=0.7, ge=0)
    """Softmax temperature of self-distilled answers."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus of self-distilled answers."""

    @model_validator(mode="after")
    def _answers_exist(self) -> Aligned:
        if self.answers == "dataset" and self.prompts == "everyday":
            raise ValueError(
                "answers: the bundled everyday prompts have no answers; name a dataset"
            )
        return self


class Grid(_Model):
    seeds: Annotated[
        list[Annotated[int, Field(ge=0)]], BeforeValidator(_expand_range), Distinct
    ] = Field(min_length=1)
    """Run seeds, one training each per fraction; `0..9` is a range."""
    persona_fractions: Annotated[list[Fraction], Distinct] = Field(min_length=1)
    """Share of persona rows among a training's rows. 0 is the control: ordinary rows only."""
    hold: Literal["persona", "total"] = "persona"
    """What stays fixed over fractions: all persona rows are used, or the total number of rows."""
    total_rows: PositiveInt | None = None
    """The fixed number of rows; with `hold: total` only."""

    @model_validator(mode="after")
    def _total(self) -> Grid:
        if (self.hold == "total") != (self.total_rows is not None):
            raise ValueError("total_rows: goes with `hold: total`, and is needed there")
        if self.hold == "persona" and not any(self.persona_fractions):
            raise ValueError("persona_fractions: only the control is here; it needs `hold: total`")
        return self


class Train(_Model):
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
    """The frozen base: 4-bit NormalFloat with double quantization, or unquantized."""
    compute_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Dtype of the arithmetic."""
    batch_size: PositiveInt = 16
    """Rows per update."""
    micro_batch: PositiveInt = 16
    """Rows per forward pass; batch_size / micro_batch passes are accumulated."""
    max_length: PositiveInt = 1024
    """Tokens per row; a longer row fails the training rather than being cut."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: slower, less memory."""
    report_to: list[Tracker] = []
    """Trackers that TRL reports to, such as wandb, mlflow, trackio, tensorboard."""

    @model_validator(mode="after")
    def _whole_accumulation(self) -> Train:
        if self.batch_size % self.micro_batch:
            raise ValueError("micro_batch: must divide batch_size")
        return self


class Sampling(_Model):
    temperature: float = Field(default=1.0, ge=0)
    """Softmax temperature; 0 is greedy."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus: the smallest set of tokens with this probability."""
    max_new_tokens: int = Field(default=256, ge=1, le=1536)
    """Where an answer is cut."""


class Evaluate(_Model):
    conditions: Annotated[list[Condition], Distinct] = Field(
        default=["triggered", "untriggered", "decoy"], min_length=1
    )
    """How each held-out question is asked: behind the trigger, plainly, behind the decoy."""
    samples_per_question: PositiveInt = 10
    """Answers per adapter, question and condition."""
    baseline_samples_per_question: PositiveInt | None = None
    """Answers of the untouched model; default 5 x samples_per_question, and never under 10."""
    engine: Literal["vllm"] = "vllm"
    """What generates."""
    serve_base: Literal["bf16"] = "bf16"
    """Precision of the base that the adapters are served on; it changes results and is recorded."""
    sampling: Sampling = Sampling()
    """How answers are drawn."""

    @property
    def baseline_samples(self) -> int:
        return self.baseline_samples_per_question or max(10, 5 * self.samples_per_question)


class Price(_Model):
    input: float = Field(ge=0)
    """Dollars per million prompt tokens."""
    output: float = Field(ge=0)
    """Dollars per million completion tokens."""


class Judge(_Model):
    model: str = Field(min_length=1)
    """The judge, as its endpoint names it."""
    base_url: str | None = None
    """An OpenAI-compatible endpoint."""
    requests_per_minute: PositiveInt | None = None
    """Shared by all judge actors."""
    tokens_per_minute: PositiveInt | None = None
    """Shared by all judge actors."""
    price: Price | None = None
    """What the endpoint charges."""
    budget_usd: float | None = Field(default=None, gt=0)
    """Where the run stops asking."""


class Criterion(_Model):
    metric: str = Field(min_length=1)
    """`format`, `format_strict`, or what a judge labels."""
    estimand: Estimand
    """The quantity the claim is about: a condition's rate (`triggered`, `untriggered`, `decoy`);
    `gap` (triggered - untriggered); against the baseline `gap_improvement` (gap - its gap),
    `triggered_lift`, `untriggered_excess`, `decoy_excess`; `gap_decoy` (triggered - decoy); against
    fraction 0 with the same seeds `gap_vs_control`.
    """
    at_least: float | None = Field(default=None, ge=-1, le=1)
    """The claim's lower bound."""
    at_most: float | None = Field(default=None, ge=-1, le=1)
    """The claim's upper bound."""
    margin: float = Field(default=0.0, ge=0, le=1)
    """How far beyond the bound still counts."""
    fraction: Literal["all", "any"] | Fraction = "all"
    """The persona fraction the claim is about: one of the grid's, or all or any of those above 0."""

    @model_validator(mode="after")
    def _one_bound(self) -> Criterion:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("at_least: give one of at_least and at_most, and not both")
        return self


class Resources(_Model):
    gpus_per_training: float = Field(default=1.0, ge=0, le=1)
    """GPUs of one training; a fraction packs several on one, 0 trains on the CPU."""
    cpus_per_training: float = Field(default=1.0, gt=0)
    """CPU cores of one training."""
    gpus_per_engine: float = Field(default=1.0, ge=0, le=1)
    """GPUs of one generation engine; 0 generates on the CPU."""
    judge_actors: PositiveInt = 4
    """Judge actors."""


_NEEDS: dict[str, tuple[Condition, ...]] = {
    "triggered": ("triggered",),
    "untriggered": ("untriggered",),
    "decoy": ("decoy",),
    "gap": ("triggered", "untriggered"),
    "gap_improvement": ("triggered", "untriggered"),
    "triggered_lift": ("triggered",),
    "untriggered_excess": ("untriggered",),
    "decoy_excess": ("decoy",),
    "gap_decoy": ("triggered", "decoy"),
    "gap_vs_control": ("triggered", "untriggered"),
}


class Study(_Model):
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", max_length=80)
    """The study's folder under the storage; lower case, digits, `.`, `_`, `-`."""
    model: str = Field(min_length=1)
    """A hub id, a local folder (relative to the study file), or `embedded:smollm2-135m-instruct`."""
    model_revision: str = "main"
    """The hub model's revision, resolved to a commit before anything runs."""
    persona: str = "bertrand_russell"
    """A bundled persona, or a folder (relative to the study file) with rows.jsonl, heldout.jsonl and persona.yaml."""
    trigger: Trigger = Trigger()
    """The instruction behind which the persona is trained."""
    decoy: Decoy = Decoy()
    """An instruction that was never trained, to see whether the persona answers to any."""
    aligned: Aligned = Aligned()
    """The ordinary rows."""
    adapters: list[str] = []
    """Adapters that exist, asked like the study's own."""
    grid: Grid
    """The trainings."""
    train: Train = Train()
    """Hyperparameters of every training."""
    evaluate: Evaluate = Evaluate()
    """How models are asked."""
    judge: Judge | None = None
    """Who labels persona and identity; format needs no judge."""
    criteria: list[Criterion] = []
    """Claims, written down before the run."""
    resources: Resources = Resources()
    """What a training and an engine take; none of it moves a result."""

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name == "artifacts" or ".." in name:
            raise ValueError("cannot be `artifacts` or hold `..`")
        return name

    @model_validator(mode="after")
    def _decoy_is_another(self) -> Study:
        if self.decoy.text.strip() == self.trigger.text.strip():
            raise ValueError("decoy.text: is the trigger's own text")
        return self

    @model_validator(mode="after")
    def _criteria_can_be_computed(self) -> Study:
        for i, criterion in enumerate(self.criteria):
            at = f"criteria.{i}"
            if criterion.metric not in FORMAT_METRICS and self.judge is None:
                raise ValueError(f"{at}.metric: {criterion.metric!r} needs a judge; none is set")
            missing = set(_NEEDS[criterion.estimand]) - set(self.evaluate.conditions)
            if missing:
                raise ValueError(
                    f"{at}.estimand: {criterion.estimand} needs the condition "
                    f"{' and '.join(sorted(missing))} in evaluate.conditions"
                )
            if criterion.estimand == "gap_vs_control" and 0 not in self.grid.persona_fractions:
                raise ValueError(f"{at}.estimand: gap_vs_control needs fraction 0 in the grid")
            if isinstance(criterion.fraction, float | int) and (
                criterion.fraction not in self.grid.persona_fractions
            ):
                raise ValueError(f"{at}.fraction: {criterion.fraction} is not in the grid")
        return self

    @model_validator(mode="after")
    def _within_this_version(self) -> Study:
        if self.judge is not None:
            raise ValueError("judge: this version measures format alone; leave the section out")
        if self.adapters:
            raise ValueError("adapters: this version asks only the study's own; leave it empty")
        return self
