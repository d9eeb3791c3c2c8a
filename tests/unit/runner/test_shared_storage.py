"""The probe for a storage that is not shared, on made-up nodes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError, WorkerCrashedError

from weirdgen.errors import WeirdgenError
from weirdgen.runner import cluster
from weirdgen.storage.artifacts import ArtifactStore

HERE, AWAY = "0" * 56, "1" * 56


@pytest.mark.parametrize(
    ("is_lost", "error"),
    [(False, WorkerCrashedError()), (True, WorkerCrashedError()), (False, GetTimeoutError())],
    ids=["blind", "lost", "late"],
)
def test_a_node_that_is_lost_or_late_while_it_is_probed_is_not_blamed(
    is_lost: bool, error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    alive = {HERE: True, AWAY: True}

    def nodes() -> list[dict[str, Any]]:
        return [
            {"NodeID": node, "NodeManagerAddress": f"10.0.0.{node[0]}", "Alive": alive[node]}
            for node in alive
        ]

    def get(node: str, timeout: float) -> bool:
        if node == HERE:
            return True
        alive[AWAY] = not is_lost
        raise error

    def on(scheduling_strategy: Any) -> Any:
        return SimpleNamespace(remote=lambda *_: scheduling_strategy.node_id)

    monkeypatch.setattr(cluster.ray, "nodes", nodes)
    monkeypatch.setattr(cluster.ray, "get", get)
    monkeypatch.setattr(cluster.ray, "wait", lambda *_, **__: None)
    monkeypatch.setattr(cluster, "_sees", SimpleNamespace(options=on))
    store = ArtifactStore(str(tmp_path))
    if is_lost or isinstance(error, GetTimeoutError):
        cluster.check_shared_storage(store)
    else:
        with pytest.raises(WeirdgenError, match=r": 10\.0\.0\.1 cannot read"):
            cluster.check_shared_storage(store)
    assert store.files("") == {}
