"""Bytes on disk: read anywhere, published whole or not at all."""

from dropcli.files.paths import (
    STDIN,
    STDOUT,
    STDOUT_NAME,
    Identity,
    check_destination,
    foresee_destination,
    goes_to_stdout,
    identity,
    identity_of,
    is_file,
    is_folder,
    is_piped,
    place_of,
    same_file,
)
from dropcli.files.publish import Transaction, make_folders, publish
from dropcli.files.reader import Reader
from dropcli.files.temporary import is_temporary, remove_stale
from dropcli.files.writer import Output

__all__ = [
    "STDIN",
    "STDOUT",
    "STDOUT_NAME",
    "Identity",
    "Output",
    "Reader",
    "Transaction",
    "check_destination",
    "foresee_destination",
    "goes_to_stdout",
    "identity",
    "identity_of",
    "is_file",
    "is_folder",
    "is_piped",
    "is_temporary",
    "make_folders",
    "place_of",
    "publish",
    "remove_stale",
    "same_file",
]
