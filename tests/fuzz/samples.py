"""Small files that are right, to begin with."""

import io
from collections import OrderedDict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save

from dropcli import apply


@cache
def samples() -> dict[str, bytes]:
    """By their names. Those called `dropped` were made from `plain`, with provenance in them."""
    made = {
        "plain.safetensors": save(_tensors(), {"made by": "the fuzzer"}),
        "plain.pt": _saved(_tensors()),
        "nested.pt": _saved(_nested()),
        "bare.pt": _saved(torch.arange(6.0).reshape(2, 3)),
        "old.pt": _saved(_tensors(), _use_new_zipfile_serialization=False),
        "old nested.pt": _saved(_nested(), _use_new_zipfile_serialization=False),
    }
    with TemporaryDirectory() as folder:
        for suffix in ("safetensors", "pt"):
            source, target = Path(folder, f"plain.{suffix}"), Path(folder, f"dropped.{suffix}")
            source.write_bytes(made[source.name])
            apply(source, target, p=0.25, seed=3)
            made[target.name] = target.read_bytes()
    return made


def _tensors() -> dict[str, torch.Tensor]:
    return {
        "x": torch.arange(-6, 6).reshape(3, 4) / 2,
        "half": torch.tensor([1.5, -0.0, torch.inf]).bfloat16(),
        "label": torch.tensor(5),
    }


def _nested() -> Any:
    base = torch.arange(12.0)
    module = OrderedDict(weight=torch.nn.Parameter(base.view(3, 4)), bias=base[::3])
    return {"model": module, "list": [torch.tensor([True]), ("text", 2.5, None)], 7: base.t()}


def _saved(content: Any, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()
