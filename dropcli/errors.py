"""Everything that can go wrong, as a tree.

    DropcliError          exit 1   something failed; the message says what, where, expected and got
    ├── UsageError        exit 2   the command line is wrong, whatever the files hold
    │   └── ArgumentError          the same of a Python function; a ValueError too
    ├── FormatError       exit 1   a file is damaged, or not of a kind that can be read
    ├── TensorError       exit 1   the settings do not fit the tensors of this file
    └── FileError         exit 1   the operating system refused, or an output is in the way

    Interrupted           exit 128 + the number of the signal: 130 for Ctrl-C, 143 for SIGTERM

A leaf says the fact, the caller that knows the path adds it with `located`. Messages are plain
text with names as they are; whoever prints them escapes control characters.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

STDOUT_NAME = "standard output"  # as the place of an error


class DropcliError(Exception):
    """A failure the user can understand: one line, a stable code for scripts, perhaps a hint."""

    exit_code: ClassVar[int] = 1

    # Positional, because exceptions that cross processes are pickled as their arguments.
    def __init__(
        self, code: str, message: str, hint: str | None = None, place: str | None = None, /
    ) -> None:
        super().__init__(code, message, hint, place)
        self.code = code
        self.message = message
        self.hint = hint
        self.place = place

    def __reduce__(self) -> tuple[type["DropcliError"], tuple[str, str, str | None, str | None]]:
        return type(self), (self.code, self.message, self.hint, self.place)

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message

    def document(self) -> dict[str, str | None]:
        """The error's part of the JSON document."""
        keys = {"source": self.place, "code": self.code}
        return {**keys, "message": self.message, "hint": self.hint}


class UsageError(DropcliError):
    """The command line, or an argument, is wrong, whatever the files hold."""

    exit_code = 2


class ArgumentError(UsageError, ValueError):
    """An argument of a Python function is wrong, or does not fit the tensor it came with."""


class FormatError(DropcliError):
    """A file is damaged, or not of a kind that can be read."""


class TensorError(DropcliError):
    """The settings do not fit the tensors of this file."""


class FileError(DropcliError):
    """The operating system refused, or an output is in the way."""


class Interrupted(BaseException):
    """A signal asked the process to stop: no failure, so `except Exception` lets it through."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.done: str | None = None  # what is done of several files
        self.words: tuple[str, ...] = ()  # what the command needs besides, to go on


@contextmanager
def needing(package: str) -> Iterator[None]:
    """Say that a package is not installed, which only few files and options need."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"this needs {package}, which is not installed"
        raise DropcliError("not-installed", message, f"pip install {package}") from error


class located:  # used as a function, but a generator takes three times as long
    """Add the place to what escapes without one, and translate what the system refused."""

    __slots__ = ("_place",)

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, DropcliError) and error.place is None:
            error.place = self._place
        # Whoever reads from a pipe that broke has seen enough: not a failure of ours.
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            reason = error.strerror or str(error)
            message = reason[:1].lower() + reason[1:]
            raise FileError("os-error", message, None, self._place) from error
