"""What is still to be done, what is tried again, and what is given up with all that builds on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from weirdgen.runner.work import Failure, Work


class Backlog:
    """The work that waits, and the steps that failed for good."""

    def __init__(self, study: str, event: Callable[[str], None]) -> None:
        self._study, self._event = study, event
        self.waiting: list[Work] = []
        self.failures: list[Failure] = []
        self._failed: set[str] = set()
        self.retried: dict[str, list[str]] = {}
        """Key of a step -> why each of its attempts in this run that was followed by another had failed."""

    def drop_blocked(self) -> None:
        """Gives up what builds on a failed step, and what builds on that."""
        while True:
            blocked = [
                work
                for work in self.waiting
                if not self._failed.isdisjoint(work.step.inputs.values())
            ]
            if not blocked:
                return
            for work in blocked:
                self.waiting.remove(work)
                self._failed.add(work.step.fingerprint)
                self._event(f"not run {work.step.key}: what it builds on failed")

    def again(self, works: Iterable[Work], why: str) -> None:
        """Has each wait for another attempt."""
        for work in works:
            self.retried.setdefault(work.step.key, []).append(" ".join(why.split()))
            self.waiting.append(replace(work, attempt=work.attempt + 1, engine=None, beside=[]))
            self._event(f"again {work.step.key}: {why}")

    def part(self, work: Work, why: str) -> None:
        """Trainings that went together and failed go in halves: memory may suffice, or one is to blame.

        Answers that failed together are asked one by one.
        """
        group = [work, *work.beside]
        most = 1 if work.asked is not None else (len(group) + 1) // 2
        self.again((replace(each, most_together=most) for each in group), why)

    def give_up(self, work: Work, reason: str, log: str | None = None) -> None:
        """The step fails. `log`: the file that tells why; default: that of its attempt."""
        self._failed.add(work.step.fingerprint)
        reason = " ".join(reason.split())
        self.failures.append(Failure(work.step, reason, log or self.log(work)))
        self._event(f"failed {work.step.key}: {reason}")

    def log(self, work: Work) -> str:
        """The log file of this attempt, below the storage."""
        name = work.step.key.replace("/", "-")
        return f"{self._study}/logs/{name}-attempt-{work.attempt}.log"
