"""`.pt` files from before torch 1.6, which only torch itself can read."""

import os
import tempfile

from dropcli.errors import FormatError
from dropcli.reader import Reader


def modernize(reader: Reader) -> None:
    """Have the reader go on with the same content as a zip file of today.

    Needs memory for all of it, and imports torch, which refuses classes it does not know.
    """
    import torch

    with os.fdopen(os.dup(reader.fd), "rb") as file, tempfile.TemporaryFile() as converted:
        file.seek(0)
        try:
            content = torch.load(file, weights_only=True, map_location="cpu")
        except Exception as error:  # noqa: BLE001  # torch raises what comes, for damaged files
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise FormatError(
                "unreadable-legacy",
                f"expected a file that torch can load without running it, got: {reason}",
                "load it with torch where you trust it, and save it again",
            ) from None
        torch.save(content, converted)
        converted.flush()
        reader.replace(converted)
