"""Errors of stores and of the network, each as one line.

The library's own messages fill a page. The kind of an error is found by the name of its class and
by the code from the store: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

import re
from copy import copy

from dropcli.errors import DropcliError, FileError, FormatError

_KEYS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
AGAIN = {"timeout", "unreachable", "cut-off"}  # temporary errors that the library does not retry
EMPTY = "no-such-range"  # the error for an empty object
_EXISTS = "AlreadyExistsError"

# Each pattern matches the text of the library's error, which begins with the name of its class.
_KINDS = {
    r"InvalidAccessKey|SignatureDoes|InvalidToken|ExpiredToken|^Unauthenticated": FileError(
        "forbidden", "the store refuses these credentials", "{keys}"
    ),
    r"NoSuchBucket": FileError("no-bucket", "the bucket does not exist"),
    r"PermanentRedirect|without LOCATION|HeaderMalformed|status code: 30[127]": FileError(
        "wrong-region", "the bucket is in another region", "set AWS_REGION{region}"
    ),
    r"169\.254\.\d+\.\d+|metadata\.google|Missing (Access|Secret)|[Cc]redential": FileError(
        "no-credentials", "no credentials for this store were found", "{keys}"
    ),
    r"status code: 416": FileError(EMPTY, "the object is shorter"),
    r"^FileNotFound|status code: 404": FileError("not-found", "the object does not exist"),
    r"^PermissionDenied|status code: 403": FileError("forbidden", "the store denies access"),
    r"BadDigest|InvalidDigest|Checksum|SHA256Mismatch": FileError(
        "checksum", "the data was damaged on the way to the store", "run again"
    ),
    r"SlowDown|TooManyRequests|RequestLimitExceeded|status code: (503|429)": FileError(
        "slow-down", "the store asks for fewer requests", "run again later, or with a smaller -j"
    ),
    r"EntityTooLarge|NoSuchUpload": FileError("store-error", "the upload was refused"),
    r"kind: Timeout|timed ?out": FileError("timeout", "the store does not answer", "run again"),
    r"kind: Connect\b|dns error": FileError(
        "unreachable", "the store cannot be reached", "check the network{endpoint}"
    ),
    r"kind: (Request|Interrupted|Decode|Body|Unknown)|decoding response|connection": FileError(
        "cut-off", "the connection to the store was cut", "run again"
    ),
    r"Could not parse path|^InvalidPath": FileError(
        "bad-key", "the key cannot be used", "rename it"
    ),
    r"status code: (5\d\d[^:]*)": FileError(
        "store-error", "the store failed: {found}", "run again"
    ),
}


def explain(error: Exception, url: str, endpoint: str | None) -> DropcliError:
    """Return the error for a failed request to this URL; `endpoint` names the server."""
    name = type(error).__name__
    if name in ("PreconditionError", "NotModifiedError"):
        problem = "the object was replaced by another program while it was read"
        return FormatError("changed-while-read", problem, "run again when it is complete", url)
    if name == _EXISTS:
        return FileError("exists", "the object already exists", "replace it with --force", url)
    text = f"{name}: {error}"
    region = re.search(r"<Region>([\w-]+)</Region>", text)
    words = {
        "keys": _KEYS.get(url.partition(":")[0]),
        "region": f"={region[1]}" if region else "",
        "endpoint": f", and the endpoint {endpoint}" if endpoint else "",
    }
    for pattern, kind in _KINDS.items():
        if found := re.search(pattern, text):
            words["found"] = found[1] if found.groups() else None
            kind = copy(kind)
            kind.message = kind.message.format(**words)
            kind.hint, kind.place = kind.hint and kind.hint.format(**words), url
            return kind
    first = str(error).split("\n")[0].removeprefix("Generic S3 error: ")
    return FileError("store-error", f"the store failed: {first[:200]}", None, url)
