"""All errors, as a tree.

    DropcliError          exit 1   something failed; the message says what and where
    ├── UsageError        exit 2   the command line is wrong, for any content of the files
    │   └── ArgumentError          the same for a Python function; also a ValueError
    ├── FormatError       exit 1   a file is damaged or cannot be read
    ├── TensorError       exit 1   the settings do not fit the tensors of this file
    └── FileError         exit 1   the operating system refused, or an output exists

    Interrupted           exit 128 + the number of the signal: 130 for Ctrl-C, 143 for SIGTERM

The code that raises an error states the fact; a caller that knows the path adds it by `located`.
Messages contain names as they are; control characters are escaped when they are printed.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

STDOUT_NAME = "standard output"  # as the place of an error
# Errors of file systems for calls that they do not support. On macOS ENOTSUP and EOPNOTSUPP differ.
NOT_SUPPORTED = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}

_OPTION = re.compile(
    r"(?<![\w-])(-|--(?P<no>no-)?)(?P<name>(?<=--)[a-z][a-z-]+[a-z]|(?<=--no-)[a-z]+|(?<=-)p\b)"
    r"( (?P<value>-?[0-9]+([-:,.]+[0-9]+)*|"
    r"(channel|pixel|sample|feature|patch:[0-9]+|torch|file)\b))?"
)
_NUMBER = re.compile("-?[0-9.]+")


class DropcliError(Exception):
    """A failure: a message of one line, a stable code for scripts, and perhaps a hint."""

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
    """The command line or an argument is wrong, for any content of the files."""

    exit_code = 2


class ArgumentError(UsageError, ValueError):
    """An argument of a Python function is wrong, or does not fit the tensor."""


class FormatError(DropcliError):
    """A file is damaged or cannot be read."""


class TensorError(DropcliError):
    """The settings do not fit the tensors of this file."""


class FileError(DropcliError):
    """The operating system refused, or an output exists already."""


class Interrupted(BaseException):
    """A signal asked the process to stop. This is no failure, so `except Exception` ignores it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.done: str | None = None  # how many of several files are finished
        self.unfinished = 0  # files that other machines have begun and may still write
        self.words: tuple[str, ...] = ()  # arguments to add to the command to continue


def in_python(text: str) -> str:
    """The message with parameters of Python instead of options of the command."""

    def parameter(found: re.Match[str]) -> str:
        off, name, value = found["no"], found["name"].replace("-", "_"), found["value"]
        if off:
            return f"{name}=False"
        if not value:
            return name
        low, colon, high = value.partition(":")
        if name == "p" and colon:
            value = f"({low}, {high})"
        return f"{name}={value if name == 'p' or _NUMBER.fullmatch(value) else repr(value)}"

    return re.sub(_OPTION, parameter, text)


@contextmanager
def needing(package: str, extra: str = "") -> Iterator[None]:
    """Turn the failed import of an optional package into an error with a hint.

    `extra` is the extra of dropcli that installs the package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"this needs {package}, which is not installed"
        wanted = f"'dropcli[{extra}]'" if extra else package
        raise DropcliError("not-installed", message, f"pip install {wanted}") from error


class located:  # a class, because a generator takes three times as long
    """Add the place to errors that have none, and turn an OSError into a FileError."""

    __slots__ = ("_place",)

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, DropcliError) and error.place is None:
            error.place = self._place
        # A broken pipe only means that its reader has closed it.
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            reason = error.strerror or str(error)
            message = reason[:1].lower() + reason[1:]
            raise FileError("os-error", message, None, self._place) from error
