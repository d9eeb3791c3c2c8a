"""One prompt, asked by hand: of a base model, of an adapter, or of both with and without a trigger."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from weirdgen.config.evaluation import Endpoint, Evaluate
from weirdgen.config.evaluation_spec import Trigger
from weirdgen.config.study import ExistingAdapter
from weirdgen.data.chat import Instruction, conversation
from weirdgen.errors import InputError
from weirdgen.generation.engine import Adapter, Engine, Request
from weirdgen.generation.openai import EndpointEngine
from weirdgen.generation.transformers import TransformersEngine, default_serve_base
from weirdgen.models.adapters import ADAPTER, resolve_adapter
from weirdgen.models.checkpoints import checkpoint, local_checkpoint
from weirdgen.models.identity import resolve_model
from weirdgen.pipeline.stages.adapter import ADAPTER as EXISTING_ADAPTER
from weirdgen.pipeline.stages.model import MODEL
from weirdgen.pipeline.stages.train import TRAIN
from weirdgen.storage.artifacts import ArtifactStore, Step
from weirdgen.storage.fingerprint import fingerprint
from weirdgen.text import printable

_FINGERPRINT = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class ChatSession:
    """What is asked: a model, perhaps an adapter, perhaps an instruction before the prompt."""

    base: Path | str
    """The checkpoint's folder, or the model's name at the endpoint."""
    adapter: Adapter | None
    rank: int
    trigger: Trigger
    """The adapter's own, where it is known."""


def find(
    model: str | None, revision: str, adapter: str | None, store: ArtifactStore, endpoint: bool
) -> ChatSession:
    """What `--model` and `--adapter` name.

    An adapter is a folder, a hub id, a name at the endpoint, or the fingerprint (8 digits or more)
    of a training in `store`, which also tells its base and its trigger. Raises InputError.
    """
    if adapter and not endpoint and _FINGERPRINT.fullmatch(adapter) and not Path(adapter).is_dir():
        return _trained(adapter, model, revision, store)
    if model is None:
        raise InputError("--model", None, "is needed, unless --adapter is a fingerprint")
    if endpoint:
        served = Adapter(adapter, Path(), served_as=adapter) if adapter else None
        return ChatSession(model, served, 0, Trigger())
    found = resolve_model(model, revision, Path(), "--model")
    if adapter is None:
        return ChatSession(checkpoint(found), None, 1, Trigger())
    # Every adapter that PEFT reads can be asked: the engine here is transformers.
    evaluate = Evaluate(engine="transformers")
    there = resolve_adapter(ExistingAdapter(path=adapter), evaluate, found, Path(), "--adapter")
    (folder,) = {file.parent for file in there.files.values()}
    known_by = fingerprint({"files": there.hashes})
    return ChatSession(checkpoint(found), Adapter(known_by, folder), there.rank, Trigger())


def _trained(prefix: str, model: str | None, revision: str, store: ArtifactStore) -> ChatSession:
    """A training of the store, or an adapter that a study has listed, by its fingerprint."""
    found = [each for stage in (TRAIN, EXISTING_ADAPTER) for each in store.find(stage.name, prefix)]
    if len(found) != 1:
        what = "no adapter" if not found else f"{len(found)} adapters"
        problem = f"{what} under {store.display_path('artifacts')} with a fingerprint {prefix}..."
        raise InputError("--adapter", None, problem)
    ((step, manifest),) = found
    folder = store.payload(step, manifest) / ADAPTER
    if not folder.is_dir():
        raise InputError("--adapter", None, f"{step.key} is served by an endpoint: use --endpoint")
    adapter = Adapter(manifest.fingerprint, folder)
    rank = step.record.get("settings", {}).get("lora_rank", 1)
    trigger = Trigger(**step.record.get("trigger", {}))
    if model is not None:
        base = checkpoint(resolve_model(model, revision, Path(), "--model"))
    elif step.stage == TRAIN.name:
        base = _trained_on(step, store)
    else:
        raise InputError("--model", None, f"is needed: {step.key} does not tell its base")
    return ChatSession(base, adapter, rank, trigger)


def _trained_on(step: Step, store: ArtifactStore) -> Path:
    """The base checkpoint of a training: the store's own, or a hub model at its commit."""
    if "model" not in step.inputs:
        return local_checkpoint(step.record["model"]["id"], step.record["model"]["revision"])
    base = store.find(MODEL.name, step.inputs["model"])
    if not base:
        raise InputError("--model", None, f"is needed: the base of {step.key} is not in the store")
    return store.payload(*base[0])


def open_engine(
    asking: ChatSession, endpoint: Endpoint | None, serve_base: str | None
) -> EndpointEngine | TransformersEngine:
    """The opened engine; without `serve_base` the base has 4 bits where there is a GPU, else fp32."""
    if endpoint is not None:
        engine = EndpointEngine(endpoint.base_url, endpoint.key_variable, endpoint.parallel)
    else:
        # Threads that wait by spinning crawl beside anything else that runs. Read when torch is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        engine = TransformersEngine()
        serve_base = serve_base or default_serve_base()
    engine.open(asking.base, serve_base or "", asking.rank)
    return engine


def converse(
    console: Console,
    *,
    prompt: str,
    model: str | None,
    revision: str,
    adapter: str | None,
    system: str | None,
    trigger: bool,
    serve_base: str | None,
    endpoint: str | None,
    key_variable: str,
    compare: bool,
    storage: str,
    **draw: Any,
) -> None:
    """Finds, opens, asks and prints; the response alone goes to stdout, piece by piece.

    The options are those of `weirdgen ask --help`; `draw` has those of a Request. Raises InputError
    for options that do not go together, and what finding and asking raise.
    """
    if not prompt.strip():
        raise InputError("--prompt", None, "is empty")
    if system is not None and trigger:
        raise InputError("--system", None, "goes without --trigger")
    served = _endpoint(endpoint, key_variable) if endpoint else None
    if served and serve_base:
        raise InputError("--serve-base", None, "an endpoint's precision is its own")
    asking = find(model, revision, adapter, ArtifactStore(storage), bool(served))
    before = Instruction("system", system) if system is not None else None
    if before is None and (trigger or compare):
        before = Instruction(asking.trigger.role, asking.trigger.text)
    engine = open_engine(asking, served, serve_base)
    try:
        if compare and before is not None:
            console.print(_side_by_side(engine, asking, prompt, before, draw))
            return
        asked = Request(conversation(prompt, before), asking.adapter, **draw)
        for piece in engine.stream(asked):
            console.out(printable(piece), end="", highlight=False)
        console.out()
    finally:
        engine.close()


def _endpoint(url: str, key_variable: str) -> Endpoint:
    try:
        return Endpoint(base_url=url, key_variable=key_variable)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = "--endpoint" if first["loc"] == ("base_url",) else "--key-variable"
        raise InputError(option, None, first["msg"].removeprefix("Value error, ")) from None


def _side_by_side(
    engine: Engine, asking: ChatSession, prompt: str, before: Instruction, draw: dict[str, Any]
) -> Table:
    """Rows with and without the instruction; columns of the base, and of the adapter if there is one."""
    who = {"base": None} | ({"adapter": asking.adapter} if asking.adapter else {})
    table = Table("", *who, title=Text(printable(prompt)), show_lines=True)
    for how, instruction in ((f"with {before.text!r}", before), ("without", None)):
        messages = conversation(prompt, instruction)
        asked = [Request(messages, adapter, **draw) for adapter in who.values()]
        cells = [how, *(answer.text for answer in engine.generate(asked))]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table
