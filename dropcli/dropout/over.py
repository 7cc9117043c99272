"""What one decision covers: `--over DIMS` and `--mode channel`."""

from dataclasses import dataclass

from dropcli.errors import TensorError
from dropcli.tensors import shape_text


@dataclass(frozen=True)
class Over:
    """`--over DIMS`: the dimensions along which decisions differ, each with its block size."""

    blocks: tuple[tuple[int, int], ...]
    channels: bool = False  # written as `--mode channel`, which refuses ambiguous shapes

    def __str__(self) -> str:
        return ",".join(f"{dim}:{size}" if size > 1 else f"{dim}" for dim, size in self.blocks)

    def resolve(self, shape: tuple[int, ...]) -> dict[int, int]:
        """Dimension to block size for this shape; negative dimensions count from the end."""
        if self.channels and len(shape) < 4:
            raise TensorError(
                "ambiguous-channels",
                f"expected 4 dimensions or more (N, C, ...) for channel mode, got {len(shape)}: "
                f"{shape_text(shape)}",
                "say what the channels are: `--over 0` for one image (C, H, W), "
                "`--over 0,1` for a batch (N, C, L)",
            )
        resolved: dict[int, int] = {}
        for dim, size in self.blocks:
            if not -len(shape) <= dim < len(shape):
                raise TensorError(
                    "no-such-dimension",
                    f"expected dimension {dim} of `--over {self}` here, got {shape_text(shape)}",
                    "choose the tensors that have it with --key or --exclude",
                )
            if dim % len(shape) in resolved:
                raise TensorError(
                    "same-dimension-twice",
                    f"expected different dimensions in `--over {self}`, got {shape_text(shape)}, "
                    f"where {dim} is named twice",
                )
            resolved[dim % len(shape)] = size
        return resolved


CHANNELS = Over(((0, 1), (1, 1)), channels=True)
