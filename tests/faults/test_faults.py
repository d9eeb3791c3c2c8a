"""A small study of which any process is killed at any moment: it ends as if nothing had been."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign import BREAKS_JUDGES, ENDS_THE_RUN, Fault, Missed, Reference, Strike, draw, follow
from checks import assert_kept, assert_paid_once, committed
from conftest import make_persona, small_study, write_study
from fake_endpoint import VARIABLE
from faulty_endpoint import FaultyEndpoint, faulty
from rigs import ClusterRig, LocalRig
from s3_server import S3Server

from weirdgen.plan import make_plan
from weirdgen.results import RESULTS
from weirdgen.store import Store
from weirdgen.study_file import load_study
from weirdgen.verdicts import VERDICTS

pytestmark = pytest.mark.slow

STUDY = "small"
PARALLEL, JUDGES = 4, 2


class Ground:
    """The study, its judge's endpoint, and where it runs."""

    def __init__(self, folder: Path, server: FaultyEndpoint, s3: S3Server) -> None:
        self.folder, self.server = folder, server
        judge = {"model": "judge-m", "base_url": server.url, "key_variable": VARIABLE}
        resources = {"gpus_per_training": 1, "gpus_per_engine": 0, "judge_actors": JUDGES}
        changes = {"judge": judge | {"parallel": PARALLEL}, "resources": resources}
        tree = small_study("./model", "persona", evaluate__engine="transformers", **changes)
        path = write_study(folder, tree)
        (self.judge,) = make_plan(load_study(path), folder).llm_judges
        self.rigs = {"cluster": ClusterRig(folder / "cluster", path, s3), "here": LocalRig(path)}
        self._references: dict[str, Reference] = {}

    def reference(self, where: str) -> Reference:
        """An undisturbed run, which shows when what happens there."""
        if where not in self._references:
            rig = self.rigs[where]
            rig.mend()
            storage = rig.storage("reference")
            started = time.monotonic()
            command = rig.start(storage)
            moments = follow(command, started)
            code, printed = command.end()
            assert code == 0, printed
            made = Reference(files(Store(storage)), command.lines(), moments)
            assert all(made.files == other.files for other in self._references.values())
            self._references[where] = made
        return self._references[where]


def files(store: Store) -> dict[str, bytes]:
    """What is the same whatever happened on the way."""
    found = {name: store.read(f"{STUDY}/{name}") for name in (RESULTS, VERDICTS)}
    return {name: content for name, content in found.items() if content is not None}


@pytest.fixture(scope="module")
def ground(
    s3: S3Server, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("study")
    shutil.copytree(tiny_model, folder / "model")
    make_persona(folder)
    with faulty(mix={"verdict": 1}, delay_s=0.1) as server:
        made = Ground(folder, server, s3)
        try:
            yield made
        finally:
            for rig in made.rigs.values():
                rig.end()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    faults = draw(metafunc.config.getoption("fault_seed"), metafunc.config.getoption("faults"))
    metafunc.parametrize("fault", faults, ids=str)


def test_a_study_ends_the_same_whatever_is_killed(ground: Ground, fault: Fault) -> None:
    rig, reference = ground.rigs[fault.where], ground.reference(fault.where)
    strike = Strike(fault, rig, reference)
    for run in range(9):
        storage = rig.storage(f"{fault}-{run}")
        store = Store(storage)
        ground.server.served.clear()
        command = rig.start(storage)
        try:
            strike.wait(command)
            before = committed(store) if fault.victim == "storage" else None
            strike.kill(command)
            print(f"killed {fault.victim} after {(command.lines() or ['the start'])[-1]}")
            break
        except Missed:
            code, printed = command.end()
            assert code == 0, printed
            strike.earlier()
    if before is None:
        before = committed(store)
    strike.mend()
    code, printed = command.end()
    if fault.victim in ENDS_THE_RUN:
        assert code != 0, printed
        command = rig.start(storage)
        code, printed = command.end()
    assert code == 0, printed
    assert files(store) == reference.files
    assert_kept(before, store)
    lost = PARALLEL if fault.victim in ENDS_THE_RUN else PARALLEL // JUDGES
    assert_paid_once(
        ground.server, store, ground.judge, STUDY, lost if fault.victim in BREAKS_JUDGES else 0
    )
    rig.assert_gone()
