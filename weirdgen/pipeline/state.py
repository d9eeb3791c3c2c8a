"""What of a plan is there: valid manifests, and the ranges of samples still to be asked."""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from sys import intern
from typing import Any, NamedTuple, TypeVar

from weirdgen.errors import DamagedError
from weirdgen.judging.blinding import hidden_markers
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.pipeline.gc_pause import gc_paused
from weirdgen.pipeline.plan import STAGES, Plan, ResponseSet, labels_step, samples_step
from weirdgen.storage.artifacts import ArtifactStore, Manifest, Step

T = TypeVar("T")
_REQUESTS = 32
"""How many an object store is sent at a time: each takes tens of milliseconds."""
OPEN = "unlabelled"
"""The note of a `labels` manifest that tells how many answers could not be judged yet."""


class LabelRange(NamedTuple):
    """One range of answers for one judge."""

    step: Step
    judge: LlmJudge
    asked: ResponseSet
    answered: Step
    """The range of answers, and its manifest."""
    manifest: Manifest


@dataclass
class StudyState:
    """What of a plan is there."""

    plan: Plan
    done: dict[str, Manifest] = field(default_factory=dict)
    """Fingerprint -> manifest, for the steps that are done."""
    ranges: dict[str, list[tuple[Step, Manifest]]] = field(default_factory=dict)
    """Fingerprint of an asked model and condition -> its committed ranges, in order of samples."""
    labels: dict[str, Manifest] = field(default_factory=dict)
    """Fingerprint -> manifest of a step of the stage `labels`; some of its answers may still be open."""
    _alike: dict[str, Any] = field(default_factory=dict, repr=False)
    """What many manifests have in common, by its text."""

    def add(self, step: Step, manifest: Manifest) -> None:
        """Notes the step as done."""
        self.done[step.fingerprint] = self._lean(step, manifest)

    def add_range(self, asked: Step, step: Step, manifest: Manifest) -> None:
        """Notes a range of samples that was committed just now, if it consumed what is there at present."""
        ranges = self.ranges.setdefault(asked.fingerprint, [])
        if self.is_valid(manifest) and all(step.key != other.key for other, _ in ranges):
            insort(ranges, (step, self._lean(step, manifest)), key=_samples)

    def _lean(self, step: Step, manifest: Manifest) -> Manifest:
        """The manifest, its record that of the step, and what it shares with others held once."""

        def one(value: Any) -> Any:
            return self._alike.setdefault(repr(value), value)

        present = {key: self.done[key].digest for key in step.inputs.values() if key in self.done}
        return replace(
            manifest,
            record=step.record,
            outputs={intern(path): digest for path, digest in manifest.outputs.items()},
            inputs=present if present == manifest.inputs else manifest.inputs,
            commit=one(manifest.commit),
            versions=one(manifest.versions),
            hardware=one(manifest.hardware),
        )

    def is_done(self, step: Step) -> bool:
        return step.fingerprint in self.done

    def missing(self, asked: ResponseSet) -> list[tuple[int, int]]:
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
        return (
            all(map(self.is_done, steps))
            and not any(map(self.missing, self.plan.response_sets))
            and all(map(self.is_judged, self.label_ranges()))
        )

    def label_ranges(self, asked: Iterable[ResponseSet] | None = None) -> Iterator[LabelRange]:
        """What each judge that is a model is to label of the answers that are there, done or not.

        Of these `asked`; default all.
        """
        marks = hidden_markers(self.plan.study)
        if not self.plan.llm_judges:
            return
        for each in self.plan.response_sets if asked is None else asked:
            for answered, manifest in self.ranges.get(each.step.fingerprint, []):
                if answered.record["samples"][0] < each.samples:
                    for judge in self.plan.llm_judges:
                        step = labels_step(judge, each, answered, marks)
                        yield LabelRange(step, judge, each, answered, manifest)

    def judged(self, each: LabelRange) -> Manifest | None:
        """The committed labels of these very answers, complete or not."""
        manifest = self.labels.get(each.step.fingerprint)
        consumed = {each.answered.fingerprint: each.manifest.digest}
        return manifest if manifest is not None and manifest.inputs == consumed else None

    def is_judged(self, each: LabelRange) -> bool:
        """Whether every answer has its verdict, or a failure that stands."""
        manifest = self.judged(each)
        return manifest is not None and not manifest.notes.get(OPEN)

    def count_labels(self, asked: Iterable[ResponseSet] | None = None) -> int:
        """Answers that a judge has labelled by a rubric, or failed on for good. Of these `asked`; default all."""
        labels, questions = 0, len(self.plan.persona.heldout)
        for each in self.label_ranges(asked):
            if manifest := self.judged(each):
                first, end = each.step.record["samples"]
                labels += (end - first) * questions - manifest.notes.get(OPEN, 0)
        return labels

    def is_valid(self, manifest: Manifest) -> bool:
        """Whether the manifest consumed what its inputs hold at present."""
        present = {
            fingerprint: self.done[fingerprint].digest
            for fingerprint in manifest.inputs
            if fingerprint in self.done
        }
        return present == manifest.inputs


@gc_paused
def scan(plan: Plan, store: ArtifactStore) -> StudyState:
    """Looks up every step of `plan` in `store`."""
    state = StudyState(plan)
    present = {stage: store.folders(f"artifacts/{stage}") for stage in STAGES}

    def label(each: LabelRange) -> None:
        if manifest := store.manifest(each.step):
            state.labels[each.step.fingerprint] = manifest

    def there(step: Step) -> bool:
        return step.folder in present[step.stage]

    for step in filter(there, plan.shared):  # in order: each after what it consumes
        _for_each(store, partial(look_up, state, store), [step])
    asked = (each.step for each in plan.response_sets)
    _for_each(store, partial(look_up, state, store), filter(there, plan.trainings.values()))
    _for_each(store, partial(look_up_ranges, state, store), filter(there, asked))
    _for_each(store, label, (each for each in state.label_ranges() if there(each.step)))
    return state


def _for_each(store: ArtifactStore, do: Callable[[T], object], items: Iterable[T]) -> None:
    """Does it to each, many at a time where each is a request to an object store."""

    def one(item: T) -> None:
        with suppress(DamagedError):  # it is missing, and who is to make it tells
            do(item)

    if store.is_local:
        for item in items:
            one(item)
        return
    with ThreadPoolExecutor(_REQUESTS) as pool:
        for _ in pool.map(one, items):
            pass


def look_up(state: StudyState, store: ArtifactStore, step: Step) -> Manifest | None:
    """Notes the step as done if its manifest is there and valid; gives the manifest if it is there."""
    manifest = store.manifest(step)
    if manifest is not None and state.is_valid(manifest):
        state.add(step, manifest)
    return manifest


def look_up_ranges(state: StudyState, store: ArtifactStore, asked: Step) -> None:
    """Notes the committed ranges of samples of an asked model and condition."""
    state.ranges[asked.fingerprint] = []
    for name in store.folders(f"artifacts/{asked.key}"):
        if match := re.fullmatch(r"samples-(\d+)-(\d+)", name):
            step = samples_step(asked, int(match[1]), int(match[2]))
            with suppress(DamagedError):  # it is missing, and who is to make it tells
                if manifest := store.manifest(step):
                    state.add_range(asked, step, manifest)


def _samples(made: tuple[Step, Manifest]) -> list[int]:
    step, _ = made
    return step.record["samples"]
