"""Examples from a JSONL file, or from whatever `datasets` reads (hub ids, local files, folders)."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from weirdgen.config.study import DatasetSource
from weirdgen.data.examples import Example
from weirdgen.data.jsonl import parse_jsonl
from weirdgen.errors import InputError

_LOCAL_BUILDERS = {".json": "json", ".csv": "csv", ".parquet": "parquet", ".txt": "text"}


def load_examples(
    source: DatasetSource, base: Path, limit: int, *, completions: bool, where: object
) -> list[Example]:
    """The first `limit` rows of `source` as examples; completions are left empty unless `completions`.

    Local paths are relative to `base`. Raises InputError (at `where` or at the file) for a source
    that cannot be read, a column that is not there, or a row without text.
    """
    path = base / Path(source.path).expanduser()
    rows = _rows(source, path, limit, where)
    columns = {"prompt": source.columns.prompt}
    if completions:
        columns["completion"] = source.columns.completion
    examples = []
    for number, row in enumerate(rows, 1):
        values = {}
        for field, column in columns.items():
            if column not in row:
                have = ", ".join(sorted(row))
                problem = f"row {number} has no column {column!r} (it has {have})"
                raise InputError(where, f"aligned.prompts.columns.{field}", problem)
            if not isinstance(row[column], str) or not row[column].strip():
                raise InputError(source.path, f"row {number}", f"{column} is not a text, or empty")
            values[field] = row[column].strip()
        examples.append(Example(f"row-{number}", values["prompt"], values.get("completion", "")))
    return examples


def _rows(source: DatasetSource, path: Path, limit: int, where: object) -> list[dict[str, Any]]:
    looks_local = path.suffix in (".jsonl", *_LOCAL_BUILDERS) or source.path.startswith(
        (".", "/", "~")
    )
    if looks_local and not path.exists():
        raise InputError(where, "aligned.prompts.path", f"there is no file {path}")
    if path.suffix == ".jsonl":
        for option in ("config", "split", "revision"):
            if option in source.model_fields_set:
                problem = "a JSONL file has no such thing; leave it out"
                raise InputError(where, f"aligned.prompts.{option}", problem)
        return parse_jsonl(source.path, path.read_bytes())[:limit]
    return _from_datasets(source, path, limit, where)


def _from_datasets(
    source: DatasetSource, path: Path, limit: int, where: object
) -> list[dict[str, Any]]:
    import datasets
    from datasets.exceptions import DatasetsError

    datasets.disable_progress_bars()
    try:
        if path.is_file():
            if path.suffix not in _LOCAL_BUILDERS:
                endings = ", ".join(["jsonl", *(ending[1:] for ending in _LOCAL_BUILDERS)])
                raise InputError(source.path, None, f"must end in one of: {endings}")
            rows = datasets.load_dataset(
                _LOCAL_BUILDERS[path.suffix], data_files=str(path), split=source.split
            )
        else:
            rows = datasets.load_dataset(
                str(path) if path.is_dir() else source.path,
                source.config,
                split=source.split,
                revision=source.revision,
            )
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        reason = " ".join(f"{error}{cause}".split())[:300]
        raise InputError(where, "aligned.prompts.path", f"{source.path!r}: {reason}") from None
    return [dict(row) for row in islice(iter(rows), limit)]
