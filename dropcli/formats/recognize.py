"""Recognize a file with tensors by its first bytes, where its name does not say what it is."""

import os
import struct

from dropcli.formats.detect import ZIP, is_legacy

_HEAD_BYTES = 512
_LOCAL = 30  # bytes of a zip member's header, before its name


def is_tensor_file(path: str) -> bool:
    """Whether a file looks like one of torch or safetensors; False if it cannot be read.

    A program of TorchScript does not, since it is no file of tensors.
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
    """The names in a zip archive; of a damaged one, the first."""
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
