"""Which tensors of a file are dropped: those that are named, or those that look like data.

The default is the rule `data/1`: all F64, F32, F16 and BF16 tensors except those that look like
labels or state, so that a folder of inputs and float labels keeps its labels.
"""

import difflib
import glob
import re
import shlex
from collections.abc import Iterable
from fnmatch import fnmatchcase
from math import prod
from typing import NamedTuple

from dropcli.dropout.over import grid_of
from dropcli.dropout.settings import Dropout
from dropcli.errors import TensorError
from dropcli.tensors import DTYPES, TensorInfo

LEAVE_OUT = "copy it unchanged with --exclude"

_NAMES_SHOWN = 10
_QUOTES = "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}" + (
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}'\"[] "
)
_CLASH = re.compile(r"#[0-9]+$")  # the suffix of a name that another tensor has too
_LABELS = frozenset(["label", "labels", "target", "targets", "class", "classes", "score", "scores"])
_STATE = frozenset(
    ["step", "lr", "running_mean", "running_var", "exp_avg", "exp_avg_sq", "num_batches_tracked"]
)

SCALAR = "a scalar beside other tensors"
LABEL_NAME = "named like a label"
STATE_NAME = "named like training state"
ONE_PER_SAMPLE = "one value per sample"


class Selection(NamedTuple):
    """The names of the tensors to drop, and the reasons why others look like labels or state."""

    names: frozenset[str]
    reasons: dict[str, str]


def select(dropout: Dropout, tensors: Iterable[TensorInfo]) -> Selection:
    """Select tensors. Raises TensorError if a pattern matches none, or one that cannot be dropped.

    In evaluation mode the settings are checked, and nothing is selected.
    """
    tensors = list(tensors)
    for option, patterns in (("--key", dropout.key), ("--exclude", dropout.exclude)):
        for pattern in patterns:
            if not any(_matches(tensor.name, pattern) for tensor in tensors):
                raise _no_match(option, pattern, [tensor.name for tensor in tensors])

    selected = [tensor for tensor in tensors if _may_drop(dropout, tensor)]
    reasons: dict[str, str] = {}
    if not (dropout.key or dropout.all_floats):
        reasons = _reasons(selected, tensors)
        selected = [tensor for tensor in selected if tensor.name not in reasons]
    for tensor in selected:
        check_dtype(dropout, tensor)
    if dropout.eval:
        return Selection(frozenset(), {})
    return Selection(frozenset(tensor.name for tensor in selected), reasons)


def _may_drop(dropout: Dropout, tensor: TensorInfo) -> bool:
    if _is_excluded(dropout, tensor):
        return False
    if dropout.key:
        return any(_matches(tensor.name, pattern) for pattern in dropout.key)
    return tensor.dtype.kind == "float" and not tensor.unsupported


def _reasons(candidates: list[TensorInfo], tensors: list[TensorInfo]) -> dict[str, str]:
    """Why some of these look like labels or state, by their names.

    A tensor that shares the memory of such a tensor is left out too.
    """
    names = {tensor.name.lower() for tensor in tensors}
    samples = _samples(tensors)
    found = {
        tensor.name: reason
        for tensor in candidates
        if (reason := _reason(tensor, len(tensors), names, samples))
    }
    memory = {tensor.name: tensor.tied_to or tensor.name for tensor in candidates}
    first_found = {memory[name]: name for name in reversed(found)}
    return {
        name: found.get(name) or f"shares its memory with '{first_found[memory[name]]}'"
        for name in memory
        if memory[name] in first_found
    }


def _reason(tensor: TensorInfo, count: int, names: set[str], samples: int | None) -> str | None:
    if not tensor.shape and count > 1:
        return SCALAR
    name = _CLASH.sub("", tensor.name.lower())
    above, dot, last = name.rpartition(".")
    if last in _LABELS or (last == "y" and f"{above}{dot}x" in names):
        return LABEL_NAME
    if last in _STATE:
        return STATE_NAME
    if samples and tensor.shape in ((samples,), (samples, 1)) and not name.endswith("bias"):
        return ONE_PER_SAMPLE
    return None


def _samples(tensors: list[TensorInfo]) -> int | None:
    """The number of samples, if all tensors with several columns agree on one above 1."""
    firsts = {
        tensor.shape[0]
        for tensor in tensors
        if len(tensor.shape) > 1 and prod(tensor.shape[1:]) > 1
    }
    samples = firsts.pop() if len(firsts) == 1 else 1
    return samples if samples > 1 else None


def nothing_selected(
    dropout: Dropout, tensors: list[TensorInfo], reasons: dict[str, str], others: str | None
) -> TensorError:
    """The error for a file without a selected tensor, with its contents and a hint.

    `others` describes what else the file holds, such as "a numpy array".
    """
    code = "nothing-selected"
    if not tensors:
        hint: str | None = "save torch.from_numpy(ARRAY) with torch.save instead"
        if others != "a numpy array":
            hint = "`dropcli info FILE` shows what it holds" if others else None
        return TensorError(
            code, f"holds {others} and no tensors" if others else "holds no tensors", hint
        )
    if reasons:
        name, reason = next(iter(reasons.items()))
        more = f" (and {len(reasons) - 1} more like it)" if len(reasons) > 1 else ""
        return TensorError(
            code,
            f"no tensor is selected: '{name}' looks like a label or state ({reason}){more}",
            f"drop it with -k {shell_pattern(name)}, or every float tensor with --all-floats",
        )
    left = [tensor for tensor in tensors if not _is_excluded(dropout, tensor)]
    if dropout.key:
        return TensorError(code, "no tensor is selected: --exclude names all that --key names")
    if not left:
        return TensorError(code, "no tensor is selected: --exclude names all tensors")
    first = next((tensor for tensor in left if _is_numeric(tensor)), left[0])
    held = f"it holds {_held(left)}"
    if len(left) < len(tensors):
        held += ", beside what --exclude names"
    if not _is_numeric(first):
        return TensorError(code, f"no tensor is selected: {held}, which cannot be dropped")
    rescale = " --no-rescale" if first.dtype.kind in ("integer", "bool") and dropout.rescale else ""
    return TensorError(
        code,
        f"no tensor is selected: by default only float tensors are dropped, and {held}",
        f"to drop '{first.name}' add: -k {shell_pattern(first.name)}{rescale}",
    )


def shell_pattern(name: str) -> str:
    """The argument of -k that selects only this tensor; `?` for unprintable characters."""
    if name.isprintable() and not {"*", "?"} & set(name):
        return shlex.quote(name)  # a name matches itself, even with brackets
    return shlex.quote("".join(c if c.isprintable() else "?" for c in glob.escape(name)))


def _is_excluded(dropout: Dropout, tensor: TensorInfo) -> bool:
    return any(_matches(tensor.name, pattern) for pattern in dropout.exclude)


def _is_numeric(tensor: TensorInfo) -> bool:
    return tensor.dtype.kind != "opaque" and not tensor.unsupported


def _held(tensors: list[TensorInfo]) -> str:
    shown = ", ".join(f"'{tensor.name}' ({tensor.dtype.name})" for tensor in tensors[:3])
    more = f" and {len(tensors) - 3} more" if len(tensors) > 3 else ""
    return f"{shown}{more}"


def why_copied(dropout: Dropout, name: str, dtype: str) -> str:
    """The reason why a tensor that does not look like a label is not selected."""
    if dropout.eval:
        return "evaluation mode"
    if any(_matches(name, pattern) for pattern in dropout.exclude):
        return "named by --exclude"
    if dropout.key:
        return "not named by -k"
    known = DTYPES.get(dtype)
    is_float = known is not None and known.kind == "float"
    return "not a plain tensor" if is_float else f"{dtype} drops only if -k names it"


def check_dtype(dropout: Dropout, tensor: TensorInfo) -> None:
    """Raise TensorError if tensors of this kind cannot be dropped with these settings."""
    kind, name = tensor.dtype.kind, tensor.dtype.name
    if tensor.unsupported:
        message = f"cannot be dropped: {tensor.unsupported}"
        raise in_tensor(tensor, TensorError("special-tensor", message, LEAVE_OUT))
    if kind == "opaque":
        message = f"cannot be dropped: its dtype is {name}"
        raise in_tensor(tensor, TensorError("dtype-without-zero", message, LEAVE_OUT))
    if kind != "float" and (dropout.alpha or dropout.rng == "torch"):
        option = "--alpha" if dropout.alpha else "--rng torch"
        message = f"{option} supports F64, F32, F16 and BF16, not {name}"
        raise in_tensor(tensor, TensorError("not-for-torch", message, LEAVE_OUT))
    if kind in ("integer", "bool") and dropout.rescale:
        message = f"{name} cannot be scaled by 1/(1-p)"
        hint = "add --no-rescale, or leave it out with --exclude"
        raise in_tensor(tensor, TensorError("integer-rescale", message, hint))


def check_exact(dropout: Dropout, tensor: TensorInfo) -> None:
    """Raise TensorError if --exact with a fixed p would drop none or all of each group.

    Masks can still be made, so that `verify` accepts outputs from before this was an error.
    """
    p, over = dropout.p, dropout.over
    if not (dropout.exact and over and isinstance(p, float) and 0 < p < 1 and tensor.elements):
        return
    size = grid_of(tensor.shape, over)[over.blocks[-1][0]].cells
    if 0 < round(p * size) < size:
        return
    what = "none" if round(p * size) == 0 else "all"
    hint = (
        f"use a p from {1 / size:.4g} to {1 - 1 / size:.4g}, or remove --exact"
        if size > 1
        else "groups run along the last dimension of --over: end with one of a size above 1"
    )
    decisions = f"{size} decision{'s' if size > 1 else ''}"
    message = f"--exact with p {p:g} drops {what} of each group of {decisions}"
    raise in_tensor(tensor, TensorError("exact-out-of-reach", message, hint))


def kept_note(dropout: Dropout, tensor: TensorInfo) -> str | None:
    """The warning about a --min-keep that leaves nothing to drop."""
    if not (dropout.min_keep and dropout.over and tensor.elements) or dropout.drops_nothing:
        return None
    size = grid_of(tensor.shape, dropout.over)[dropout.over.blocks[-1][0]].cells
    if dropout.min_keep < size:
        return None
    decisions = f"{size} decision{'s' if size > 1 else ''}"
    return (
        f"tensor '{tensor.name}': --min-keep {dropout.min_keep} keeps each group of {decisions} "
        "whole, so nothing drops"
    )


def _matches(name: str, pattern: str) -> bool:
    """Glob match; a name always matches itself, even with brackets."""
    return name == pattern or fnmatchcase(name, pattern)


def _no_match(option: str, pattern: str, names: list[str]) -> TensorError:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    holds = f"the file holds: {shown}{more}" if names else "the file holds no tensors"
    matches = "matches" if {"*", "?", "["} & set(pattern) else "is called"
    return TensorError(
        "no-match",
        f"{option}: no tensor {matches} '{pattern}'; {holds}",
        _pattern_hint(option, pattern, names),
    )


def _pattern_hint(option: str, pattern: str, names: list[str]) -> str | None:
    if not names:
        return "`dropcli info FILE` shows what it holds"
    if not pattern:
        return "is a shell variable unset?"
    if (bare := pattern.strip(_QUOTES)) in names:
        return f"did you mean '{bare}'?"
    parts = re.split("[, ]+", pattern.strip("[]"))
    if "," in pattern or set(parts) <= set(names):
        return f"give each pattern its own {option}"
    if names == ["tensor"]:
        return f"remove {option}: the file is a single tensor, which is called 'tensor'"
    part = pattern.strip("*/.") or pattern
    near = [name for name in names if name.lower() == pattern.lower()]
    near += [
        glob for glob in (f"{part}.*", f"*.{part}") if any(fnmatchcase(n, glob) for n in names)
    ]
    near += difflib.get_close_matches(pattern, names, 1)
    if near:
        return f"did you mean '{near[0]}'?"
    return "patterns are globs on whole names, as in '*.weight'"


def in_tensor(tensor: TensorInfo, error: TensorError) -> TensorError:
    """The same error with the name of the tensor."""
    return TensorError(error.code, f"tensor '{tensor.name}': {error.message}", error.hint)
