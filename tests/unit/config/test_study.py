"""The study file: what is accepted, and the one line that names what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from bad_studies import BAD
from studies import REPOSITORY, small_study, write_study

from weirdgen.config.judge import RESERVED, RESERVED_PREFIXES
from weirdgen.config.loading import load_study, resolved_yaml
from weirdgen.config.study import Study
from weirdgen.errors import InputError
from weirdgen.results.table import SCHEMA


def test_the_bundled_studies_load():
    for path in (REPOSITORY / "jobs").glob("*.yaml"):
        assert load_study(path).name == path.stem


def test_no_column_of_the_results_is_free_for_an_own_metric():
    free = {name for name in SCHEMA.names if not name.startswith(RESERVED_PREFIXES)}
    assert free <= set(RESERVED)


def test_every_field_is_documented():
    def undocumented(model, at=""):
        for name, field in model.model_fields.items():
            if not field.description:
                yield f"{at}{name}"
            for kind in [field.annotation, *getattr(field.annotation, "__args__", ())]:
                if hasattr(kind, "model_fields"):
                    yield from undocumented(kind, f"{at}{name}.")

    assert list(undocumented(Study)) == []


def test_exponents_without_a_point_are_numbers(tmp_path: Path):
    path = write_study(tmp_path, small_study("m"))
    path.write_text(path.read_text().replace("0.01", "2e-4"))
    assert load_study(path).train.learning_rate == 2e-4


def test_overrides_change_fields_ranges_and_list_items(tmp_path: Path):
    tree = small_study("m", claims=[{"metric": "format", "contrast": "gap", "at_least": 0.5}])
    path = write_study(tmp_path, tree)
    changes = ("grid.seeds=0..9", "train.learning_rate=1e-3", "claims.0.at_least=0.7")
    study = load_study(path, changes)
    assert study.grid.seeds == list(range(10))
    assert study.train.learning_rate == 1e-3
    assert study.claims[0].at_least == 0.7


def test_the_resolved_study_reads_back_as_itself(tmp_path: Path):
    study = load_study(write_study(tmp_path, small_study("m")))
    path = tmp_path / "resolved.yaml"
    path.write_bytes(resolved_yaml(study, "abc"))
    assert load_study(path) == study.model_copy(update={"model_revision": "abc"})


@pytest.mark.parametrize("name", BAD)
def test_a_spoiled_study_is_one_line_that_names_file_and_field(name: str, tmp_path: Path):
    changes, expected = BAD[name]
    path = write_study(tmp_path, small_study("m", **changes))
    with pytest.raises(InputError) as error:
        load_study(path)
    assert str(error.value).startswith(f"{path}: {expected}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"name: [", "is not YAML"),
        (b"- a\n", "must be a mapping"),
        (b"", "must be a mapping"),
        (b"name: a\nname: b\n", "line 2: the key 'name' appears twice"),
        (b"name: \xff\xfe\n", "is not UTF-8 (byte 6)"),
        (b"name: 2024-13-45\n", "is not YAML: month must be in 1..12"),
        (b"name: " + b"[" * 3000, "is not YAML"),
        (b"name: !!python/object/apply:os.system [id]\n", "is not YAML"),
    ],
)
def test_a_file_that_is_no_study(content: bytes, expected: str, tmp_path: Path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="bad.yaml") as error:
        load_study(path)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("grid.seeds", "must read dotted.field=value"),
        ("grid.seeds.7=1", "--set: grid.seeds.7: there is no '7'"),
        ("name.x=1", "--set: name.x: there is no 'x'"),
        ("grid.seeds=[", "--set: grid.seeds: is not YAML"),
        ("grid.nothing=1", "grid.nothing: unknown field"),
    ],
)
def test_a_spoiled_override(override: str, expected: str, tmp_path: Path):
    path = write_study(tmp_path, small_study("m"))
    with pytest.raises(InputError) as error:
        load_study(path, (override,))
    assert expected in str(error.value)


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read \(No such file"):
        load_study(tmp_path / "none.yaml")


def test_keys_never_reach_the_resolved_study():
    """The study has no field for a key: an endpoint's key stays in the environment."""
    fields = yaml.safe_dump(Study.model_json_schema())
    assert "api_key" not in fields
