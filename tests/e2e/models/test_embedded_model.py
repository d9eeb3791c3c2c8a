"""The embedded model has the shape and the dimensions that are stated of it."""

from __future__ import annotations

import json
from pathlib import Path

from architectures import SMOL

from weirdgen.models.architecture import shape_of
from weirdgen.models.identity import resolve_model


def test_the_embedded_model_has_the_shape_that_is_stated(real_model: Path):
    assert shape_of(json.loads((real_model / "config.json").read_text())) == SMOL


def test_the_embedded_model_has_the_dimensions_that_are_stated(real_model: Path):
    config = json.loads((real_model / "config.json").read_text())
    stated = resolve_model("embedded:smollm2-135m-instruct", "main", Path()).config
    assert stated == {name: config[name] for name in ("hidden_size", "num_hidden_layers")}
