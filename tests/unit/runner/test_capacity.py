"""Capacity for trainings and engines, GPU by GPU."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weirdgen.runner.capacity import ClusterCapacity
from weirdgen.runner.cluster import Capacity


def capacity(gpus: float, training: float, engine: float, cpus: float = 64) -> ClusterCapacity:
    return ClusterCapacity(Capacity(cpus, gpus), Capacity(1, training), engine)


@pytest.mark.parametrize(
    ("gpus", "training", "engine", "trainings", "engines", "one_more"),
    [
        (2, 0.49, 0.51, 1, 2, True),
        (2, 0.49, 0.51, 2, 2, False),
        (2, 0.49, 0.51, 2, 0, False),  # each keeps room for an engine
        (1, 0.2, 0.2, 3, 1, True),
        (1, 0.2, 0.2, 4, 1, False),
        (2, 0.6, 0.6, 0, 1, True),
        (2, 0.6, 0.6, 1, 1, False),  # 0.8 are free, and nowhere 0.6
        (2, 0.6, 0.6, 1, 0, True),
        (1, 1, 1, 0, 1, False),
        (4, 1, 1, 2, 1, True),
        (2, 0.25, 0, 7, 0, True),
        (2, 0.25, 0, 8, 0, False),
        (0, 0, 0, 60, 1, True),
    ],
)
def test_whether_one_more_training_finds_its_gpu(
    gpus: float, training: float, engine: float, trainings: int, engines: int, one_more: bool
):
    of = capacity(gpus, training, engine)
    assert of.has_gpus(trainings, engines) == one_more
    assert (of.free_slots(trainings, engines) > 0) == one_more
    assert of.waits_for_gpu(trainings, engines) == (not one_more)


@pytest.mark.parametrize(
    ("gpus", "training", "engine", "trainings", "engines", "one_more"),
    [
        (2, 0.49, 0.51, 2, 1, True),
        (2, 0.49, 0.51, 0, 2, False),
        (1, 0.2, 0.2, 0, 1, False),  # never two on a GPU
        (2, 0.2, 0.5, 0, 0, True),
        (2, 0.2, 0.5, 0, 1, False),  # Ray would put both on one
        (2, 0.6, 0.6, 1, 0, True),
        (2, 0.6, 0.6, 2, 0, False),
        (2, 0.6, 0.6, 1, 1, False),
        (2, 0.25, 1, 4, 0, True),
        (2, 0.25, 1, 5, 0, False),
        (2, 0, 1, 9, 1, True),
        (0, 0, 0, 9, 0, True),
        (0, 0, 0, 9, 1, False),
    ],
)
def test_whether_one_more_engine_finds_its_gpu(
    gpus: float, training: float, engine: float, trainings: int, engines: int, one_more: bool
):
    assert capacity(gpus, training, engine).has_gpu_for_engine(trainings, engines) == one_more


def test_cpus_bound_trainings_too():
    assert capacity(8, 0.5, 0.5, cpus=3).free_slots(1, 0) == 2
    assert not capacity(8, 0.5, 0.5, cpus=3).has_cpus(3)


@given(
    st.integers(1, 8),
    st.sampled_from([0.1, 0.25, 0.3, 0.45, 0.49, 0.5, 0.6, 0.67, 1.0]),
    st.sampled_from([0.333, 0.5, 0.51, 0.55, 0.6, 1.0]),
    st.booleans(),
)
def test_what_is_let_in_fits_on_gpus(gpus: int, training: float, engine: float, first: bool):
    """Placed one by one where they fit most tightly, engines or trainings first."""
    of, free = capacity(gpus, training, engine), [1.0] * gpus
    trainings = engines = 0
    for kind in ("engine", "training") if first else ("training", "engine"):
        while (
            of.has_gpu_for_engine(trainings, engines)
            if kind == "engine"
            else of.has_gpus(trainings, engines)
        ):
            share = engine if kind == "engine" else training
            places = [i for i, left in enumerate(free) if left >= share - 1e-9]
            if not places:  # an engine waits for the end of trainings that are side by side
                assert kind == "engine"
                assert not first
                break
            free[min(places, key=lambda i: free[i])] -= share
            trainings, engines = trainings + (kind == "training"), engines + (kind == "engine")
            if kind == "engine" and not of.shares:
                break  # one has to do while trainings are to come
    assert trainings + engines >= 1


def test_nodes_that_join_give_room_and_for_those_that_go_trainings_wait_in_ray():
    shared = capacity(2, 0.49, 0.51, cpus=4)
    assert shared.with_nodes(Capacity(8, 4)).free_slots(0, 4) == 4
    assert shared.with_nodes(Capacity(8, 4)).has_gpu_for_engine(4, 3)
    gone = shared.with_nodes(Capacity(2, 1))
    assert gone.free_slots(0, 1) == 2
    assert not gone.has_gpu_for_engine(1, 1), "the trainings that wait need the GPU as well"
    assert gone.has_gpu_for_engine(0, 1), "it waits for another GPU"
    assert gone.with_nodes(Capacity(4, 2)).has_gpu_for_engine(1, 1)
    assert shared.with_nodes(Capacity(0, 0)).free_slots(0, 0) == 2, "an autoscaler sees what waits"


def test_an_engine_makes_room_for_trainings_that_wait_in_ray_since_a_node_went():
    turns = capacity(2, 1, 1, cpus=2)
    assert not turns.waits_for_gpu(1, 1, waiting=False)
    gone = turns.with_nodes(Capacity(1, 1))
    assert gone.free_slots(0, 1) == 1, "it is begun, and Ray has no GPU for it"
    assert gone.waits_for_gpu(1, 1, waiting=False)
    assert not gone.has_gpu_for_engine(1, 0)
    assert not gone.waits_for_gpu(1, 0, waiting=False)
