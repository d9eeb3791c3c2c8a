"""Fingerprints: the sha256 of a canonical record of everything that decides a step's content."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any


def canonical(record: Any) -> bytes:
    """Return the canonical JSON of `record`: sorted keys, no spaces, UTF-8.

    Raises TypeError for anything but dicts with string keys, lists, strings, integers, finite
    floats, booleans and None.
    """
    _check(record)
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def fingerprint(record: dict[str, Any]) -> str:
    """Return the sha256 of the canonical record, 64 hex digits."""
    return hashlib.sha256(canonical(record)).hexdigest()


_PLAIN = frozenset((str, int, bool, type(None)))


def _check(value: Any) -> None:
    kind = type(value)
    if kind is dict:
        if any(type(key) is not str for key in value):
            raise TypeError(f"keys must be strings: {list(value)!r}")
        _check_all(value.values())
    elif kind is list:
        _check_all(value)
    elif kind is float:
        if not math.isfinite(value):
            raise TypeError(f"{value} cannot be fingerprinted")
    elif kind not in _PLAIN:
        raise TypeError(f"{kind.__name__} {value!r} cannot be fingerprinted")


def _check_all(values: Iterable[Any]) -> None:
    for value in values:
        if type(value) not in _PLAIN:  # a plan has tens of thousands of records: saves calls
            _check(value)
