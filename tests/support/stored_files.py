"""All files of a storage, whichever kind it is."""

from __future__ import annotations

from pathlib import Path

import obstore

from weirdgen.storage.artifacts import ArtifactStore


def files_below(store: ArtifactStore, folder: str) -> dict[str, float]:
    """Path below the storage -> when it was written, of all files in a folder."""
    if store._objects is not None:
        found = [each for some in obstore.list(store._objects, folder) for each in some]
        return {each["path"]: each["last_modified"].timestamp() for each in found}
    root = Path(store.path())
    files = [file for file in (root / folder).rglob("*") if file.is_file()]
    return {str(file.relative_to(root)): file.stat().st_mtime for file in files}
