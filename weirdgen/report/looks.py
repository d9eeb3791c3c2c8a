"""When a study may be looked at: as declared before the first verdict, kept beside its results."""

from __future__ import annotations

import json

from weirdgen.stats.multiplicity import Looks
from weirdgen.store import Store
from weirdgen.study import Study

LOOKS = "looks.json"


def declared_looks(study: Study, store: Store) -> Looks | None:
    """The looks that hold: those on record once a verdict was given, else the study file's.

    None for a study without a grid. More seeds than were declared come too late: looking after each
    new seed until a claim is clear finds too much.
    """
    if not study.planned_looks:
        return None
    record = store.read(f"{study.name}/{LOOKS}")
    return Looks(tuple(json.loads(record)["declared"]) if record else study.planned_looks)


def record_look(study: Study, store: Store, looks: Looks | None, n_trained: int) -> None:
    """Notes that verdicts were given with `n_trained` seeds, where that is a declared look."""
    if looks is None or looks.state(n_trained) != "at a look":
        return
    path = f"{study.name}/{LOOKS}"
    record = store.read(path)
    looked = {*(json.loads(record)["looked"] if record else ()), n_trained}
    content = {"declared": list(looks.seeds), "looked": sorted(looked)}
    store.write(path, (json.dumps(content) + "\n").encode())
