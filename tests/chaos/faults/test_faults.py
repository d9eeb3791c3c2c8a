"""A small study of which any process is killed at any moment: it ends as if nothing had been."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign import Fault, Missed, Reference, Strike, draw, follow
from checks import (
    STUDY,
    Committed,
    assert_arrived_paid_once,
    assert_kept,
    assert_paid_once,
    committed,
    verdicts,
)
from fake_endpoint import VARIABLE
from faulty_endpoint import FaultyEndpoint, faulty
from rigs import ClusterRig, Command, LocalRig, Rig
from s3_server import S3Server
from studies import portable_study

from weirdgen.config.loading import load_study
from weirdgen.pipeline.plan import make_plan
from weirdgen.results.labels import LABELS
from weirdgen.results.table import RESULTS
from weirdgen.storage.artifacts import ArtifactStore

PARALLEL, JUDGES = 4, 2
_RUNS = 5


class Ground:
    """The study, its judge's endpoint, and where it runs."""

    def __init__(self, folder: Path, model: Path, server: FaultyEndpoint, s3: S3Server) -> None:
        self.folder, self.server = folder, server
        judge = {"model": "judge-m", "base_url": server.url, "key_variable": VARIABLE}
        resources = {"gpus_per_training": 1, "gpus_per_engine": 0, "judge_actors": JUDGES}
        changes = {"judge": judge | {"parallel": PARALLEL}, "resources": resources}
        path = portable_study(folder, model, **changes)
        (self.judge,) = make_plan(load_study(path), folder).llm_judges
        self.rigs: dict[str, Rig] = {
            "cluster": ClusterRig(folder / "cluster", path, s3),
            "here": LocalRig(path),
        }
        self._reference: Reference | None = None

    def reference(self, rig: Rig) -> Reference:
        """A run that nothing disturbs, made once: what comes out, and when what happens."""
        if self._reference is None:
            rig.mend()
            storage = rig.storage("reference")
            started = time.monotonic()
            command = rig.start(storage)
            moments = follow(command, started)
            code, printed = command.end()
            assert code == 0, printed
            self._reference = Reference(files(ArtifactStore(storage)), command.lines(), moments)
        return self._reference


def files(store: ArtifactStore) -> dict[str, bytes]:
    """What is the same whatever happened on the way."""
    found = {name: store.read(f"{STUDY}/{name}") for name in (RESULTS, LABELS)}
    return {name: content for name, content in found.items() if content is not None}


@pytest.fixture(scope="module")
def ground(
    s3_of_module: S3Server, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("study")
    with faulty(mix={"verdict": 1}, delay_s=0.25) as server:
        made = Ground(folder, tiny_model, server, s3_of_module)
        try:
            yield made
        finally:
            for rig in made.rigs.values():
                rig.end()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    faults = draw(metafunc.config.getoption("fault_seed"), metafunc.config.getoption("faults"))
    metafunc.parametrize("fault", faults, ids=str)


def test_a_study_ends_the_same_whatever_is_killed(ground: Ground, fault: Fault) -> None:
    rig = ground.rigs[fault.where]
    reference = ground.reference(rig)
    strike = Strike(fault, rig, reference)
    try:
        storage, command, before = struck(ground, rig, strike)
        arrived = (
            verdicts(ArtifactStore(storage), ground.judge) if fault.victim == "head" else set()
        )
        strike.mend()
        code, printed = command.end()
        if fault.ends_the_run:
            assert code != 0, printed
            code, printed = rig.start(storage).end()
        assert code == 0, printed
        rig.assert_gone()
    except BaseException:
        rig.end()
        raise
    store = ArtifactStore(storage)
    assert files(store) == reference.files
    assert not store.exists(f"{STUDY}/lease.json")
    assert_kept(before, store)
    if fault.victim == "head":
        assert_arrived_paid_once(arrived, ground.server, store, ground.judge)
    else:
        under_way = PARALLEL if fault.ends_the_run else PARALLEL // JUDGES
        most = under_way if fault.breaks_judges else 0
        assert_paid_once(ground.server, store, ground.judge, most)


def struck(ground: Ground, rig: Rig, strike: Strike) -> tuple[str, Command, dict[str, Committed]]:
    """The storage of a run whose victim was killed, the run, and what was committed by then."""
    takes_storage = strike.fault.victim == "storage"
    for run in range(_RUNS):
        rig.mend()
        storage = rig.storage(f"{strike.fault}-{run}")
        store = ArtifactStore(storage)
        ground.server.served.clear()
        command = rig.start(storage)
        try:
            strike.wait(command)
            before = committed(store) if takes_storage else {}
            strike.kill(command)
        except Missed:
            code, printed = command.end()
            assert code == 0, printed
            strike.earlier()
            continue
        print(f"killed after {(command.lines() or ['the start'])[-1]}")
        return storage, command, before if takes_storage else committed(store)
    raise AssertionError(f"{_RUNS} runs ended before their victim was there")
