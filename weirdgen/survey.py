"""What of a plan is there: valid manifests, and the ranges of samples still to be asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from weirdgen.plan import STAGES, Asked, Plan, samples_step
from weirdgen.store import Manifest, Step, Store


@dataclass
class Survey:
    """What of a plan is there."""

    plan: Plan
    done: dict[str, Manifest] = field(default_factory=dict)
    """Fingerprint -> manifest, for the steps that are done."""
    ranges: dict[str, list[tuple[Step, Manifest]]] = field(default_factory=dict)
    """Fingerprint of an asked model and condition -> its committed ranges, in order of samples."""

    def is_done(self, step: Step) -> bool:
        return step.fingerprint in self.done

    def ready(self, step: Step) -> bool:
        """Whether everything it consumes is there."""
        return all(fingerprint in self.done for fingerprint in step.inputs.values())

    def missing(self, asked: Asked) -> list[tuple[int, int]]:
        """The ranges [first, end) of samples that nobody has answered yet."""
        gaps, reached = [], 0
        for step, _ in self.ranges.get(asked.step.fingerprint, []):
            first, end = step.record["samples"]
            if first > reached:
                gaps.append((reached, first))
            reached = max(reached, end)
        gaps.append((reached, asked.samples))
        wanted = ((first, min(end, asked.samples)) for first, end in gaps)
        return [(first, end) for first, end in wanted if first < end]

    @property
    def complete(self) -> bool:
        steps = [*self.plan.shared, *self.plan.trainings.values()]
        return all(map(self.is_done, steps)) and not any(map(self.missing, self.plan.asked))

    def is_valid(self, manifest: Manifest) -> bool:
        """Whether the manifest consumed what its inputs hold at present."""
        present = {
            fingerprint: self.done[fingerprint].digest
            for fingerprint in manifest.inputs
            if fingerprint in self.done
        }
        return present == manifest.inputs


def survey(plan: Plan, store: Store) -> Survey:
    """Looks up every step of `plan` in `store`."""
    found = Survey(plan)
    present = {stage: store.folders(f"artifacts/{stage}") for stage in STAGES}
    for step in [*plan.shared, *plan.trainings.values()]:
        if step.folder in present[step.stage]:
            look_up(found, store, step)
    for asked in plan.asked:
        if asked.step.folder in present["answers"]:
            look_up_ranges(found, store, asked.step)
    return found


def look_up(found: Survey, store: Store, step: Step) -> Manifest | None:
    """Notes the step as done if its manifest is there and valid; gives the manifest if it is there."""
    manifest = store.manifest(step)
    if manifest is not None and found.is_valid(manifest):
        found.done[step.fingerprint] = manifest
    return manifest


def look_up_ranges(found: Survey, store: Store, asked: Step) -> None:
    """Notes the committed ranges of samples of an asked model and condition."""
    ranges = []
    for name in store.folders(f"artifacts/{asked.key}"):
        if match := re.fullmatch(r"samples-(\d+)-(\d+)", name):
            step = samples_step(asked, int(match[1]), int(match[2]))
            manifest = store.manifest(step)
            if manifest is not None and found.is_valid(manifest):
                ranges.append((step, manifest))
    found.ranges[asked.fingerprint] = sorted(ranges, key=lambda each: each[0].record["samples"])
