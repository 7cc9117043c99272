"""`dropcli mask`: the keep mask of a file or a dataset."""

from typing import Any

from dropcli.cli import options, run_options
from dropcli.cli.commands.apply import check_second, run
from dropcli.errors import UsageError

_NOT_HERE = ("eval", "fill", "alpha", "in_place", "keep_original", "copy_others")


@options.with_options(options.Dropping, run_options.Running, without=_NOT_HERE)
def mask(inputs: options.Inputs = None, **chosen: Any) -> int:
    """Write the keep mask: bool tensors, True where `dropcli apply` keeps an element.

    Examples:
      dropcli mask x.safetensors -o mask.safetensors -p 0.3 --seed 7
      dropcli mask x.pt -o mask.pt --like y.pt
      dropcli mask data/ -o masks/ --like augmented/0001.pt

    The output has a tensor for each one that drops, with the same name and shape. The masks are
    those of `dropcli apply` with the same options. Use the mask to know which elements were
    dropped, for example in the loss of a denoising model.
    """
    if inputs and chosen["output"] is None:
        check_second("mask", inputs)
        raise UsageError(
            "no-output", "no output is given", "add -o MASK, or -o - for standard output"
        )
    return run(inputs or [], {**chosen, "mask": True})
