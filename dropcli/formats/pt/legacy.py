"""`.pt` files from before torch 1.6, which only torch itself can read."""

import os
import tempfile
import warnings

from dropcli.errors import FormatError, needing
from dropcli.files import Reader
from dropcli.formats.pt.safe_globals import check_globals
from dropcli.formats.pt.unpickle import Global, load

# A magic number, a version, the system and the object; then the keys of the storages, and these.
_PICKLES = 4
_MAX_PICKLE_BYTES = 1 << 26


def convert_legacy(reader: Reader) -> None:
    """Have the reader go on with the same content as a zip file of today.

    Needs memory for all of it, and imports torch, which refuses classes it does not know.
    """
    size = min(reader.size or 0, _MAX_PICKLE_BYTES)
    data = reader.read(0, size)
    _, names, references, rest = load(data, _PICKLES)
    check_globals(names)
    if {Global(module, "bytearray") for module in ("builtins", "__builtin__")} & set(names):
        raise FormatError(
            "program-in-data", "expected data, got a pickle that would call bytearray"
        )
    keys = load(data[len(data) - rest :]).record
    wanted = {str(reference.id[2:3]) for reference in references if reference.id[0] == "storage"}
    if not isinstance(keys, list) or wanted - {str((key,)) for key in keys}:
        # torch would take what happens to be in memory for their content.
        raise FormatError("no-storage", "expected all storages that are spoken of, got fewer")

    with needing("torch"):
        import torch

    with (
        os.fdopen(os.dup(reader.fd), "rb") as file,
        tempfile.TemporaryFile() as converted,
        warnings.catch_warnings(action="ignore"),  # of torch, about what it then does or refuses
    ):
        file.seek(0)
        try:
            content = torch.load(file, weights_only=True, map_location="cpu")
            torch.save(content, converted)
        except Exception as error:  # noqa: BLE001  # torch raises whatever comes
            if isinstance(error.__context__, OSError):  # a full disk, in torch's own words
                raise error.__context__ from None
            raise FormatError(
                "unreadable-legacy",
                "expected a file of old that torch can load without running it, got one that is "
                "damaged or holds classes that are not torch's",
                "where you trust it, load it with torch and save it again",
            ) from None
        converted.flush()
        reader.replace(converted)
