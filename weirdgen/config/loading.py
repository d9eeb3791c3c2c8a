"""Read a study file: YAML, changed by `--set dotted.field=value`, then validated as a whole.

Unknown keys, wrong types and impossible values raise one line that names the file and the field.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from weirdgen.config.evaluation_spec import EvaluationSpec
from weirdgen.config.study import Study
from weirdgen.errors import InputError

Read = TypeVar("Read", bound=EvaluationSpec)


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads `2e-4` as a number and refuses a key that appears twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if str(key) in seen:
                line = key_node.start_mark.line + 1
                raise yaml.MarkedYAMLError(problem=f"line {line}: the key {key!r} appears twice")
            seen.add(str(key))
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def load_study(path: Path, overrides: tuple[str, ...] = ()) -> Study:
    """Load and validate the study in the YAML file `path`, changed by `dotted.field=value` overrides.

    Raises InputError naming the file, the field and the problem.
    """
    return _validated(Study, path, _read_tree(path, overrides))


def load_evaluation_spec(path: Path, overrides: tuple[str, ...] = ()) -> EvaluationSpec:
    """Load the evaluation part of a study, from a whole study or a file with that part alone.

    Raises InputError naming the file, the field and the problem.
    """
    tree = _read_tree(path, overrides)
    return _validated(Study if "model" in tree else EvaluationSpec, path, tree)


def _read_tree(path: Path, overrides: tuple[str, ...]) -> dict:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(path, None, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(path, None, f"is not UTF-8 (byte {error.start})") from None
    tree = read_yaml(text, path)
    if not isinstance(tree, dict):
        raise InputError(path, None, "must be a mapping of the study's fields")
    for override in overrides:
        _override(tree, override)
    return tree


def read_yaml(content: str | bytes, where: object, field: str | None = None) -> Any:
    """Read YAML as study files are read. Raises InputError (at `where` and `field`)."""
    try:
        return yaml.load(content, _Loader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(where, field, f"is not YAML: {error}") from None


def _validated(kind: type[Read], path: Path, tree: dict) -> Read:
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise _input_error(path, error) from None


def resolved_yaml(study: Study, revision: str) -> bytes:
    """The study with every default written out and its model's revision resolved."""
    dumped = study.model_dump(mode="json")
    first = {"name": study.name, "model": study.model, "model_revision": revision}
    tree = first | {field: dumped[field] for field in dumped if field not in first}
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode()


def _override(tree: dict, override: str) -> None:
    """Sets one dotted field of the raw tree; list items are named by their index."""
    field, equals, text = override.partition("=")
    if not equals or not field:
        raise InputError("--set", override, "must read dotted.field=value")
    value = read_yaml(text, "--set", field)
    *parents, last = field.split(".")
    at: Any = tree
    for part in parents:
        at = at.setdefault(part, {}) if isinstance(at, dict) else at[_index(at, part, field)]
    at[last if isinstance(at, dict) else _index(at, last, field)] = value


def _index(at: Any, part: str, field: str) -> int:
    if not isinstance(at, list) or not part.isdigit() or int(part) >= len(at):
        raise InputError("--set", field, f"there is no {part!r} to set or to go into")
    return int(part)


def _input_error(path: Path, error: ValidationError) -> InputError:
    """The first problem that pydantic found, in one line."""
    errors = error.errors(include_url=False, include_input=False)
    # Each alternative of a union complains in its own words: the one that went deepest was meant.
    start = errors[0]["loc"][:1]
    # An unknown key, or a validator's own words, say more than the alternatives beside them.
    first = max(
        (each for each in errors if each["loc"][:1] == start),
        key=lambda each: (len(each["loc"]), each["type"] in ("extra_forbidden", "value_error")),
    )
    *parents, last = first["loc"] or ("",)
    named = first["type"] in ("extra_forbidden", "missing")
    parts = [part for part in parents if not _is_alternative(part)]
    parts += [last] if named or not _is_alternative(last) else []
    at = ".".join(map(str, parts))
    if first["type"] == "extra_forbidden":
        problem = "unknown field"
    elif first["type"] == "missing":
        problem = "is needed"
    else:
        problem = first["msg"].removeprefix("Value error, ")
        if first["type"] == "string_type":
            problem += " (a text with `: ` in it needs quotes)"
        inner = re.match(r"([a-z_.0-9]+): (.*)", problem, re.DOTALL)
        if inner:  # a validator over several fields names the one at fault itself
            at, problem = f"{at}.{inner[1]}" if at else inner[1], inner[2]
    return InputError(path, at or None, problem)


def _is_alternative(part: str | int) -> bool:
    """Whether a part of pydantic's location names an alternative of a union, not a field."""
    return isinstance(part, str) and not re.fullmatch(r"(?!float$|list$)[a-z_][a-z0-9_]*", part)
