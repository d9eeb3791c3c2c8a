"""What of a plan is there: valid manifests, and the ranges of samples that are missing."""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from sys import intern
from typing import Any

from weirdgen.errors import DamagedError
from weirdgen.judging.blinding import hidden_markers
from weirdgen.pipeline.plan import Plan
from weirdgen.pipeline.stages import STAGES
from weirdgen.pipeline.stages.labels import LABELS, UNLABELLED, LabelRange, labels_step
from weirdgen.pipeline.stages.responses import RESPONSES, ResponseSet, n_samples, samples_step
from weirdgen.storage.artifacts import ArtifactStore, Manifest, Step

_REQUESTS = 32
"""How many an object store is sent at a time: each takes tens of milliseconds."""


@dataclass
class StudyState:
    """What of a plan is there. Only `record` and `look_up` change it."""

    plan: Plan
    done: dict[str, Manifest] = field(default_factory=dict)
    """Fingerprint -> manifest, for the steps that are done."""
    ranges: dict[str, list[tuple[Step, Manifest]]] = field(default_factory=dict)
    """Fingerprint of a response set -> its committed ranges, in order of samples."""
    labels: dict[str, Manifest] = field(default_factory=dict)
    """Fingerprint -> manifest of a step of the stage `labels`; it may not hold all labels yet."""
    _alike: dict[str, Any] = field(default_factory=dict, repr=False)
    """What many manifests have in common, by its text."""

    def record(self, step: Step, manifest: Manifest) -> None:
        """Record a committed step. A range of responses counts only if it consumed what is there now."""
        lean = self._lean(step, manifest)
        if step.stage == LABELS.name:
            self.labels[step.fingerprint] = lean
        elif step.parent is None:
            self.done[step.fingerprint] = lean
        else:
            ranges = self.ranges.setdefault(step.parent.fingerprint, [])
            if self.is_valid(lean) and all(step.key != other.key for other, _ in ranges):
                insort(ranges, (step, lean), key=_samples)

    def _lean(self, step: Step, manifest: Manifest) -> Manifest:
        """The manifest, its record that of the step, and what it shares with others held once."""

        def one(value: Any) -> Any:
            return self._alike.setdefault(repr(value), value)

        present = self._digests(step.inputs.values())
        shared = {
            "record": step.record,
            "outputs": {intern(path): digest for path, digest in manifest.outputs.items()},
            "inputs": present if present == manifest.inputs else manifest.inputs,
            "commit": one(manifest.commit),
            "versions": one(manifest.versions),
            "hardware": one(manifest.hardware),
        }
        return manifest.model_copy(update=shared)

    def is_done(self, step: Step) -> bool:
        return step.fingerprint in self.done

    def missing(self, wanted: ResponseSet) -> list[tuple[int, int]]:
        """The ranges [first, end) of samples that are not there."""
        gaps, reached = [], 0
        for step, _ in self.ranges.get(wanted.step.fingerprint, []):
            first, end = step.record["samples"]
            if first > reached:
                gaps.append((reached, first))
            reached = max(reached, end)
        gaps.append((reached, wanted.samples))
        cut = ((first, min(end, wanted.samples)) for first, end in gaps)
        return [(first, end) for first, end in cut if first < end]

    def count_missing(self, sets: Iterable[ResponseSet]) -> int:
        """How many responses of these sets are not there."""
        samples = sum(end - first for each in sets for first, end in self.missing(each))
        return samples * len(self.plan.persona.heldout)

    @property
    def complete(self) -> bool:
        steps = [*self.plan.shared, *self.plan.trainings.values()]
        return (
            all(map(self.is_done, steps))
            and not any(map(self.missing, self.plan.response_sets))
            and all(map(self.is_judged, self.label_ranges()))
        )

    def label_ranges(self, sets: Iterable[ResponseSet] | None = None) -> Iterator[LabelRange]:
        """What each judge that is a model labels of the responses that are there, done or not.

        Of these `sets`; default all.
        """
        markers = hidden_markers(self.plan.study)
        if not self.plan.llm_judges:
            return
        for each in self.plan.response_sets if sets is None else sets:
            for responses, manifest in self.ranges.get(each.step.fingerprint, []):
                if responses.record["samples"][0] < each.samples:
                    for judge in self.plan.llm_judges:
                        step = labels_step(judge, each, responses, markers)
                        yield LabelRange(step, judge, each, responses, manifest)

    def judged(self, each: LabelRange) -> Manifest | None:
        """The committed labels of these very responses, complete or not."""
        manifest = self.labels.get(each.step.fingerprint)
        return manifest if each.is_labelled_by(manifest) else None

    def is_judged(self, each: LabelRange) -> bool:
        """Whether every response has its label, or a failure that stands."""
        return each.is_complete_in(self.labels.get(each.step.fingerprint))

    def count_labels(self, sets: Iterable[ResponseSet] | None = None) -> int:
        """Responses that a judge labelled by a rubric, or failed on for good. Of these `sets`; default all."""
        labels, questions = 0, len(self.plan.persona.heldout)
        for each in self.label_ranges(sets):
            if manifest := self.judged(each):
                labels += n_samples(each.step) * questions - manifest.notes.get(UNLABELLED, 0)
        return labels

    def is_valid(self, manifest: Manifest) -> bool:
        """Whether the manifest consumed what its inputs hold at present."""
        return self._digests(manifest.inputs) == manifest.inputs

    def _digests(self, fingerprints: Iterable[str]) -> dict[str, str]:
        return {key: self.done[key].digest for key in fingerprints if key in self.done}


def scan(plan: Plan, store: ArtifactStore) -> StudyState:
    """Look up every step of `plan` in `store`."""
    state = StudyState(plan)
    present = {stage: store.folders(f"artifacts/{stage}") for stage in STAGES}

    def find(step: Step) -> None:
        with suppress(DamagedError):  # it counts as missing; whoever makes it reports the damage
            look_up(state, store, step)

    def find_all(steps: Iterable[Step]) -> None:
        there = (step for step in steps if step.folder in present[step.stage])
        if store.is_local:
            for step in there:
                find(step)
        else:
            with ThreadPoolExecutor(_REQUESTS) as pool:
                for _ in pool.map(find, there):
                    pass

    for step in plan.shared:  # in order: each after what it consumes
        find_all([step])
    find_all(plan.trainings.values())
    find_all(each.step for each in plan.response_sets)
    find_all(each.step for each in state.label_ranges())
    return state


def look_up(state: StudyState, store: ArtifactStore, step: Step) -> Manifest | None:
    """Record the step if its manifest is there and valid; return the manifest if it is there.

    Of a response set, record the ranges that are there.
    """
    if step.stage == RESPONSES.name and step.parent is None:
        state.ranges[step.fingerprint] = []
        for name in store.folders(f"artifacts/{step.key}"):
            if match := re.fullmatch(r"samples-(\d+)-(\d+)", name):
                with suppress(DamagedError):  # as in `scan`
                    look_up(state, store, samples_step(step, int(match[1]), int(match[2])))
        return None
    manifest = store.manifest(step)
    if manifest is not None and (step.stage == LABELS.name or state.is_valid(manifest)):
        state.record(step, manifest)
    return manifest


def _samples(made: tuple[Step, Manifest]) -> list[int]:
    step, _ = made
    return step.record["samples"]
