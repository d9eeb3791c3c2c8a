"""Joining or starting Ray, and whether a study fits on it: what cannot be is one line."""

from __future__ import annotations

from typing import Any

import pytest
import ray
from studies import small_study, study_of

from weirdgen.config.study import Study
from weirdgen.errors import InputError, WeirdgenError
from weirdgen.runner.cluster import Capacity, check_resources, connect


def test_a_ray_client_address_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(InputError, match="RAY_ADDRESS: a ray:// client cannot run a study"):
        connect()


def test_a_ray_that_does_not_start_is_a_line(monkeypatch: pytest.MonkeyPatch):
    def late(**_: Any) -> None:
        raise Exception("The current node timed out during startup. This could happen because")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(WeirdgenError, match="Ray did not start on this machine within 30 s"):
        connect()


def test_what_else_goes_wrong_is_not_hidden(monkeypatch: pytest.MonkeyPatch):
    def broken(**_: Any) -> None:
        raise RuntimeError("version mismatch")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", broken)
    with pytest.raises(RuntimeError, match="version mismatch"):
        connect()


@pytest.mark.parametrize(
    ("training", "cpus", "engine", "expected"),
    [
        (1, 1, 0, "resources.gpus_per_training: asks for 1, no node has more than 0; 0 runs"),
        (0, 1, 1, "resources.gpus_per_engine: asks for 1"),
        (0, 3, 0, "resources.cpus_per_training: asks for 3, no node"),
    ],
)
def test_a_cluster_on_which_nothing_fits_is_said_at_once(
    training: float, cpus: float, engine: float, expected: str
):
    study = resources(training, cpus, engine)
    with pytest.raises(InputError, match=expected):
        check_resources(study, [Capacity(2, 0), Capacity(2, 0)], "study.yaml")


def resources(training: float, cpus: float, engine: float, **changes) -> Study:
    needs = {"gpus_per_training": training, "cpus_per_training": cpus, "gpus_per_engine": engine}
    return study_of(small_study("m", **changes) | {"resources": needs})


def test_a_cluster_on_which_all_fits_passes():
    check_resources(resources(1.0, 1.0, 1.0), [Capacity(2, 0), Capacity(2, 1)], "s")


def test_what_nobody_trains_or_serves_here_needs_no_gpu():
    served = {
        "grid": None,
        "evaluate__engine": "endpoint",
        "evaluate__endpoint": {"base_url": "http://127.0.0.1:1/v1"},
    }
    check_resources(resources(1.0, 9.0, 1.0, **served), [Capacity(2, 0)], "s")
