"""Text for terminals and pages: names from files, numbers, sizes and settings."""

from typing import Any

NAME_LIMIT = 200


def printable(text: str, limit: int = NAME_LIMIT) -> str:
    """The text on one line, with control characters escaped; long text is cut in the middle."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}...{text[-limit // 2 :]}"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def number_text(value: float | int | None) -> str:
    """A count with all digits; any other number with four, or with three and an exponent."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:.4g}"
    if text.endswith(("e+04", "e+05")):
        return f"{value:,.0f}"
    return f"{value:.3g}" if "e" in text else text


def sigma_text(sigma: float | None) -> str:
    """A number of standard deviations, as in `+1.2 sd`."""
    return "" if sigma is None else f"{round(sigma, 1) + 0.0:+.1f} sd"


def counted(count: int, noun: str) -> str:
    """The number with its noun, as in `1 file` or `2,000 tensors`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size_text(count: int) -> str:
    """A number of bytes in decimal units, as `ls --si` shows it."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{count} bytes"
        size /= 1000
    return f"{size:.4g} TB"


def settings_text(settings: dict[str, Any], stream: str | None) -> str:
    """The settings of one application on one line; `stream` is None if files have several."""
    if settings["eval"]:
        return "evaluation mode, nothing dropped"
    words = [
        _p_text(settings),
        f"seed {settings['seed']}",
        *([] if stream is None else [f"stream {stream}"]),
        f"over {settings['over']}" if settings["over"] else "element-wise",
    ]
    if not settings["rescale"]:
        words.append("not rescaled")
    if settings["fill"] is not None:
        words.append(f"filled with {settings['fill']}")
    words += _optional_words(settings)
    for option in ("key", "exclude"):
        words += [f"{option} {pattern}" for pattern in settings[option]]
    return printable(", ".join(words))


def _p_text(settings: dict[str, Any]) -> str:
    if not isinstance(settings["p"], list):
        return f"p {settings['p']:g}"
    low, high = settings["p"]
    return f"p {low:g} to {high:g} for each {settings['p_per']}"


def _optional_words(settings: dict[str, Any]) -> list[str]:
    """The settings that are recorded only where they are used."""
    words = [option for option in ("alpha", "exact") if settings.get(option)]
    if "min_keep" in settings:
        words.append(f"at least {settings['min_keep']:d} of a group kept")
    if "rng" in settings:
        words.append(f"masks of {settings['rng']} {settings['torch']}")
    return words


def provenance_line(entry: Any) -> str:
    """One application in words; a record of another kind is shown as it is."""
    try:
        words = settings_text(entry["settings"], entry["stream"])
        copies = f"copy {entry['copy']:d}" if entry["copy"] else ""
        if concat := entry.get("concat"):
            original = "the original and " if concat["original"] else ""
            copies = f"{original}{concat['copies']:d} copies in one file"
        kind = "keep mask, " if entry.get("mask") else ""
        return f"{printable(entry['contract'])}: {kind}{words}{copies and ', '}{copies}"
    except (KeyError, TypeError, ValueError):
        return f"provenance: {printable(str(entry))}"
