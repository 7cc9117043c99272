"""`.pt` files from before torch 1.6, which torch itself must read."""

import os
import tempfile
import warnings

from dropcli.errors import FormatError, needing
from dropcli.files import Reader
from dropcli.formats.pt.calls import check_calls
from dropcli.formats.pt.safe_globals import check_globals
from dropcli.formats.pt.unpickle import Global, Machine

# A magic number, a version, the system and the object; the storages' keys and contents follow.
_PICKLES = 4
_MAX_PICKLE_BYTES = 1 << 26


def convert_legacy(reader: Reader) -> None:
    """Replace the reader's file by the same content as a zip file.

    Takes memory for the whole content, and imports torch, which refuses unknown classes.
    """
    size = min(reader.size or 0, _MAX_PICKLE_BYTES)
    data = reader.read(0, size)
    at = 0
    for _ in range(_PICKLES):
        machine = Machine(data, at)
        machine.run()
        at = machine.at
    names, references = [*machine.globals], machine.references
    check_globals(names)
    check_calls(machine.calls, names)
    if {Global(module, "bytearray") for module in ("builtins", "__builtin__")} & set(names):
        raise FormatError("program-in-data", "its pickle could run code: it names bytearray")
    keys = Machine(data, at, whole=True).run()
    wanted = {str(reference.id[2:3]) for reference in references if reference.id[0] == "storage"}
    if not isinstance(keys, list) or wanted - {str((key,)) for key in keys}:
        # torch would return uninitialized memory as their content.
        raise FormatError("no-storage", "damaged .pt file: some of its storages are missing")

    with needing("torch"):
        import torch

    with (
        os.fdopen(os.dup(reader.fd), "rb") as file,
        tempfile.TemporaryFile() as converted,
        warnings.catch_warnings(action="ignore"),  # torch's, on what it then does or refuses
    ):
        file.seek(0)
        try:
            content = torch.load(file, weights_only=True, map_location="cpu")
            torch.save(content, converted)
        except Exception as error:  # noqa: BLE001  # torch raises many types
            if isinstance(error.__context__, OSError):  # such as a full disk
                raise error.__context__ from None
            raise FormatError(
                "unreadable-legacy",
                "a legacy .pt file that torch cannot load safely: it is damaged or holds classes "
                "of other packages",
                "where you trust it, load it with torch and save it again",
            ) from None
        converted.flush()
        reader.replace(converted)
