"""The errors a user meets, each one line that says what was wrong, where, and what to do."""


class WeirdgenError(Exception):
    """Base of the errors that end a command with one line and an exit code, never a traceback."""

    exit_code = 1


class InputError(WeirdgenError):
    """Something the user wrote is wrong: a study file, a data file, an option (exit 2)."""

    exit_code = 2

    def __init__(self, where: object, field: str | None, problem: str) -> None:
        """`field` and `problem` are put on one line, whatever they quote."""
        field, problem = field and " ".join(field.split()), " ".join(problem.split())
        self.where, self.field, self.problem = str(where), field, problem
        super().__init__(f"{where}: {field}: {problem}" if field else f"{where}: {problem}")

    def __reduce__(self) -> tuple:
        return InputError, (self.where, self.field, self.problem)


class LockedError(WeirdgenError):
    """Another live run holds the study (exit 3)."""

    exit_code = 3


class BudgetError(WeirdgenError):
    """The judge's budget is spent (exit 4)."""

    exit_code = 4


class StorageError(WeirdgenError, OSError):
    """The storage is full, unreachable or not writable; no step is at fault (exit 2)."""

    exit_code = 2


class StorageFullError(StorageError):
    """The storage has no space left, which ends the run."""


class StepError(WeirdgenError):
    """A step ran and its result is unusable: a dropped row, an adapter without effect."""


class NodeError(StepError):
    """A step's result is unusable, perhaps because of its node: another node may succeed."""


class NodeDiskError(NodeError):
    """A disk of one node, not the storage, is full or not writable."""


class DamagedError(StepError):
    """Something in the storage is damaged; an artifact stays so until its folder is deleted."""


class MemoryExceeded(StepError):
    """A training did not fit into the GPU's memory; half the micro-batch may."""
