"""Agreement of two judges, against kappas worked out by hand."""

from __future__ import annotations

import pytest

from weirdgen.judging.agreement import agreement


def test_kappa_by_hand():
    # 45 of 60 agree, 25 yes by both; chance: (35 x 30 + 25 x 30) / 3600 = 1/2.
    x = [True] * 25 + [True] * 10 + [False] * 5 + [False] * 20
    y = [True] * 25 + [False] * 10 + [True] * 5 + [False] * 20
    found = agreement(x, y)
    assert (found.answers, found.agreed) == (60, 0.75)
    assert found.kappa == pytest.approx(0.5)
    assert found.interval is not None
    assert found.interval[0] < 0.5 < found.interval[1]
    assert found.interval == agreement(x, y).interval
    no, yes = found.classes
    assert (no.label, no.reference, no.ours, no.both) == (False, 25, 30, 20)
    assert (yes.precision, yes.recall) == (pytest.approx(25 / 30), pytest.approx(25 / 35))
    assert yes.specific == pytest.approx(50 / 65)


def test_kappa_of_three_labels_by_hand():
    # Agreement 4/6; chance (2x2 + 2x2 + 2x2) / 36 = 1/3.
    assert agreement("aabbcc", "abbbca").kappa == pytest.approx(
        (4 / 6 - (2 * 2 + 2 * 3 + 2 * 1) / 36) / (1 - (2 * 2 + 2 * 3 + 2 * 1) / 36)
    )


def test_kappa_of_one_class():
    same = agreement([True] * 5, [True] * 5)
    assert (same.kappa, same.interval, same.agreed) == (None, None, 1.0)
    constant = agreement([True, False, True], [False] * 3)
    assert (constant.kappa, constant.interval) == (0.0, None)
    yes = constant.classes[1]
    assert (yes.precision, yes.recall, yes.specific) == (None, 0.0, 0.0)
    opposite = agreement([True, False], [False, True])
    assert opposite.kappa == pytest.approx(-1)


def test_clusters_widen_the_interval_and_lengths_must_match():
    x = [True, False] * 20
    y = [True, False] * 15 + [False, True] * 5
    alone, together = (
        agreement(x, y).interval,
        agreement(x, y, [i // 8 for i in range(40)]).interval,
    )
    assert alone is not None
    assert together is not None
    assert together[1] - together[0] > alone[1] - alone[0]
    for sides in (([], []), ([1], [1, 2]), ([1], [1], [])):
        with pytest.raises(ValueError, match="same responses"):
            agreement(*sides)
