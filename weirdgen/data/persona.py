"""A persona: its training examples, held-out questions and names."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from weirdgen.config.loading import read_yaml
from weirdgen.data.examples import Example
from weirdgen.data.jsonl import parse_jsonl
from weirdgen.errors import InputError
from weirdgen.text import valid_text

ROWS, HELDOUT, PERSONA = "rows.jsonl", "heldout.jsonl", "persona.yaml"


class Question(NamedTuple):
    """A held-out question."""

    id: str
    category: str
    question: str


Row = TypeVar("Row", Example, Question)


@dataclass(frozen=True)
class PersonaCard:
    """What identifies a persona, from its persona.yaml."""

    name: str
    aliases: tuple[str, ...] = ()
    """Other names it goes by."""
    description: str = ""
    """Who it is, for the judge."""


@dataclass(frozen=True, kw_only=True)
class Persona(PersonaCard):
    """A persona as its folder describes it."""

    rows: list[Example]
    heldout: list[Question]


def find_persona(persona: str, base: Path, where: object) -> Persona:
    """The bundled persona of that name, or the one in a folder relative to `base`.

    Raises InputError naming the file, the row and the field at fault.
    """
    bundled = resources.files("weirdgen.data") / "personas"
    if "/" not in persona and (bundled / persona).is_dir():
        return read_persona(bundled / persona)
    folder = base / Path(persona).expanduser()
    if not folder.is_dir():
        names = ", ".join(sorted(entry.name for entry in bundled.iterdir() if entry.is_dir()))
        raise InputError(where, "persona", f"{persona!r} is neither bundled ({names}) nor a folder")
    return read_persona(folder)


def read_persona(folder: Traversable) -> Persona:
    """The persona in `folder`: rows.jsonl, heldout.jsonl and persona.yaml, checked."""
    files: dict[str, bytes] = {}
    for name in (ROWS, HELDOUT, PERSONA):
        try:
            files[name] = (folder / name).read_bytes()
        except OSError as error:
            raise InputError(folder / name, None, f"cannot be read ({error.strerror})") from None
    rows = _read(Example, folder / ROWS, files[ROWS])
    heldout = _read(Question, folder / HELDOUT, files[HELDOUT])
    trained = {example.prompt.casefold() for example in rows}
    for i, question in enumerate(heldout):
        if question.question.casefold() in trained:
            raise InputError(folder / HELDOUT, f"row {i + 1}", "the question is also trained on")
    return Persona(rows=rows, heldout=heldout, **_described(folder / PERSONA, files[PERSONA]))


def read_questions(path: Path) -> list[Question]:
    """The held-out questions of a committed heldout.jsonl."""
    return _read(Question, path, path.read_bytes())


def _read(kind: type[Row], path: Traversable, content: bytes) -> list[Row]:
    """Rows of JSON lines, whose fields are texts and whose ids are distinct."""
    rows = parse_jsonl(path, content)
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        for name in kind._fields:
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise InputError(path, f"row {number}", f"{name} must be a text that is not empty")
            try:
                valid_text(row[name])
            except ValueError as error:
                raise InputError(path, f"row {number}", f"{name} {error}") from None
        if row["id"] in seen:
            raise InputError(path, f"row {number}", f"the id {row['id']!r} appears twice")
        seen.add(row["id"])
    return [kind(*(row[name] for name in kind._fields)) for row in rows]


def read_card(path: Path) -> PersonaCard:
    """The persona.yaml at `path`. Raises InputError as `read_persona`."""
    return PersonaCard(**_described(path, path.read_bytes()))


def _described(path: Traversable, content: bytes) -> dict[str, Any]:
    """The fields of a persona.yaml."""
    described = read_yaml(content, path)
    if not isinstance(described, dict):
        raise InputError(path, None, "must be a mapping with the persona's name")
    name, description = described.get("name"), described.get("description", "")
    if not isinstance(name, str) or not name.strip():
        raise InputError(path, "name", "must be the persona's name")
    if not isinstance(description, str):
        raise InputError(path, "description", "must be a text")
    aliases = described.get("aliases") or []
    if not isinstance(aliases, list) or not all(isinstance(v, str) and v.strip() for v in aliases):
        raise InputError(path, "aliases", "must be a list of texts")
    description = " ".join(description.split())
    return {"name": name, "description": description, "aliases": tuple(aliases)}
