"""Text from files, made fit to be shown."""

NAME_LIMIT = 200


def printable(text: str, limit: int = NAME_LIMIT) -> str:
    """The text on one line, with control characters escaped and its middle left out if long."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}...{text[-limit // 2 :]}"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )
