"""Settings that do not go together."""

from typing import TYPE_CHECKING

from dropcli.dropout.ranges import Between
from dropcli.errors import UsageError

if TYPE_CHECKING:
    from dropcli.dropout.settings import Dropout


def check_combination(dropout: "Dropout") -> None:
    """UsageError for settings of which one has no meaning beside another."""
    if dropout.alpha and dropout.fill is not None:
        raise _clash("--alpha", "--fill", "alpha dropout has a fill of its own")
    if dropout.alpha and not dropout.rescale:
        raise _clash("--alpha", "--no-rescale", "alpha dropout has a scale of its own")
    if dropout.p_per == "sample" and not isinstance(dropout.p, Between):
        raise UsageError(
            "p-per-without-range",
            f"--p-per sample: expected a range to draw each p from, got -p {dropout.p:g}",
            "say it as in -p 0.1:0.5",
        )
    for option in (["--exact"] if dropout.exact else []) + _min_keep(dropout):
        if dropout.over is None:
            raise UsageError(
                "no-groups",
                f"{option}: expected --over or --mode channel, got element mode",
                "groups run along the last dimension of --over: the channels of a sample "
                "with --over 0,1",
            )
    if dropout.rng == "torch":
        _check_torch(dropout)


def check_torch_input(rng: str, stream: str | None, copies: int | None = None) -> None:
    """UsageError for what a mask key is made of, where there is no key."""
    if rng == "torch":
        for option, value in (("--stream", stream), ("--copies", copies)):
            if value is not None:
                raise _clash("--rng torch", option, "torch's masks depend on the seed alone")


def _check_torch(dropout: "Dropout") -> None:
    """Its own modules know less."""
    over = dropout.over
    if over is not None and sorted(over.blocks) != [(0, 1), (1, 1)]:
        raise UsageError(
            "torch-over",
            f"--rng torch: expected element mode, --mode channel or --over 0,1, got --over {over}",
            "torch draws no other masks",
        )
    others = (["--alpha"] if dropout.alpha else []) + (["--exact"] if dropout.exact else [])
    others += _min_keep(dropout)
    if isinstance(dropout.p, Between):
        others.append(f"-p {dropout.p}")
    if others:
        raise _clash("--rng torch", others[0], "it makes what nn.Dropout and nn.Dropout2d make")


def _min_keep(dropout: "Dropout") -> list[str]:
    return [] if dropout.min_keep is None else ["--min-keep"]


def _clash(option: str, other: str, hint: str) -> UsageError:
    return UsageError("do-not-go-together", f"expected {option} without {other}, got both", hint)
