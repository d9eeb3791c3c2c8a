"""The committed study's manifests are those that this code reads."""

from pathlib import Path

from weirdgen.pipeline.stages import STAGES
from weirdgen.storage.fingerprint import fingerprint
from weirdgen.storage.manifest import read_manifest

FILE = Path(__file__).parents[3] / "results" / "russell-smollm2-135m" / "manifests.jsonl"


def test_every_committed_manifest_is_readable_and_bears_its_records_fingerprint() -> None:
    manifests = [read_manifest(line) for line in FILE.read_bytes().splitlines()]
    assert {manifest.stage for manifest in manifests} <= STAGES.keys()
    assert all(fingerprint(each.record) == each.fingerprint for each in manifests)
