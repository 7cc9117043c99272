"""What was done, in sentences: for the top of a page, and for the methods section of a paper."""

from dataclasses import dataclass
from typing import Any

from dropcli.__version__ import __version__
from dropcli.report.text import counted, number_text


@dataclass(frozen=True)
class Done:
    """What a run dropped, and from which files."""

    title: str  # a short name: "digits.safetensors"
    what: str  # "tensor images of data/digits.safetensors"
    where: str  # what was written
    decisions: int
    dropped: int


def summary(done: Done, failed: int = 0) -> str:
    """The result in one sentence, and how many files failed."""
    failures = f" {counted(failed, 'file')} failed." if failed else ""
    program = f"dropcli {__version__}"
    if not done.decisions:
        return f"{program} dropped nothing in {done.what}, and wrote {done.where}.{failures}"
    share = f"{100 * done.dropped / done.decisions:.4g} %"
    counts = f"{done.dropped:,} of {counted(done.decisions, 'decision')} ({share})"
    return f"{program} dropped {counts} in {done.what}, and wrote {done.where}.{failures}"


def methods(done: Done, settings: dict[str, Any], stream: str | None) -> str:
    """One or two sentences for the methods section of a paper."""
    if settings["eval"] or not done.decisions:
        return f"No value of {done.title} was changed by dropcli {__version__}."
    names = f"seed {settings['seed']}" + (f", stream {stream}" if stream is not None else "")
    tool = f"dropcli {__version__} (masks {_masks(settings)}, {names})"
    rate = f"{done.dropped / done.decisions:.4f}"
    return (
        f"Dropout was applied to {done.title} with {tool}: {_unit(settings)} was "
        f"{_dropped_value(settings)} {_probability(settings)}{_group(settings)}, and kept "
        f"elements were {_scaling(settings)}. Of {done.decisions:,} decisions {done.dropped:,} "
        f"dropped, a rate of {rate}."
    )


def setting_rows(settings: dict[str, Any], stream: str | None) -> list[tuple[str, str]]:
    """The names of the settings, with their values in words."""
    if settings["eval"]:
        return [("mode", "evaluation: nothing is dropped")]
    p = settings["p"]
    several = isinstance(p, list)
    rows = [
        ("p", f"{p[0]:g} to {p[1]:g} for each {settings['p_per']}" if several else f"{p:g}"),
        ("seed", str(settings["seed"])),
        *([] if stream is None else [("stream", stream)]),
        ("one decision for", _unit(settings)),
        ("dropped elements", _dropped_value(settings)),
        ("kept elements", _scaling(settings)),
        ("tensors", _selection(settings)),
    ]
    if group := _group(settings):
        rows.insert(1, ("groups", group.strip(", ")))
    return [*rows, ("masks", _masks(settings)), ("version", f"dropcli {__version__}")]


def _masks(settings: dict[str, Any]) -> str:
    if settings.get("rng") == "torch":
        return f"of torch {settings['torch']}"
    return "dropcli/1"


def _unit(settings: dict[str, Any]) -> str:
    over = settings["over"]
    if over is None:
        return "each element"
    if ":" in over:
        return f"each block along dimensions {over}"
    several = "," in over
    return f"each index of dimension{'s' * several} {over.replace(',', ', ')}"


def _dropped_value(settings: dict[str, Any]) -> str:
    if settings.get("alpha"):
        return "set to SELU's saturation value"
    return f"set to {'zero' if settings['fill'] is None else number_text(settings['fill'])}"


def _probability(settings: dict[str, Any]) -> str:
    p = settings["p"]
    if isinstance(p, list):
        per = settings["p_per"]
        return f"with a probability drawn for each {per} from {p[0]:g} to {p[1]:g}"
    return f"with probability {p:g}"


def _group(settings: dict[str, Any]) -> str:
    words = ", exactly round(p n) of the n decisions of a group" if settings.get("exact") else ""
    if keep := settings.get("min_keep"):
        words += f", at least {keep} of a group kept"
    return words


def _scaling(settings: dict[str, Any]) -> str:
    if settings.get("alpha"):
        return "scaled and shifted as in alpha dropout"
    return "multiplied by 1/(1 - p)" if settings["rescale"] else "not changed"


def _selection(settings: dict[str, Any]) -> str:
    chosen = f"those that match {', '.join(settings['key'])}" if settings["key"] else ""
    if not chosen:
        by_rule = settings["select"] == "data/1"
        chosen = "floats that look like data" if by_rule else "all floats"
    if settings["exclude"]:
        chosen += f", without {', '.join(settings['exclude'])}"
    return chosen
