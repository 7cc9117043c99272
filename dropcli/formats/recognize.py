"""Recognize tensor files by their first bytes, if the name does not show the format."""

import os
import struct

from dropcli.formats.detect import ZIP, is_legacy

_HEAD_BYTES = 512
_LOCAL = 30  # bytes of the header of a zip member, before its name


def is_tensor_file(path: str) -> bool:
    """Whether a file looks like one of torch or safetensors; False if it cannot be read.

    A TorchScript program does not, because it is not a file of tensors.
    """
    try:
        with open(path, "rb") as file:
            head, size = file.read(_HEAD_BYTES), os.fstat(file.fileno()).st_size
        if head.startswith(ZIP):
            return _is_saved(_members(path, head))
    except OSError:
        return False
    length = int.from_bytes(head[:8], "little")
    return is_legacy(head) or (head[8:10] == b'{"' and 8 + length <= size)


def _members(path: str, head: bytes) -> list[str]:
    """The names in a zip archive; for a damaged one, the first name."""
    import zipfile  # slow to import, and rarely needed

    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, struct.error):
        length = int.from_bytes(head[26:28], "little")
        return [head[_LOCAL : _LOCAL + length].decode(errors="replace")]


def _is_saved(members: list[str]) -> bool:
    ends = {tuple(name.split("/")[1:]) for name in members}
    return ("data.pkl",) in ends and ("constants.pkl",) not in ends
