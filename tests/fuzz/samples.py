"""Small valid files from which cases are made."""

import io
from collections import OrderedDict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save

from dropcli import apply
from tests.builders import dict2, legacy_file, long_string2, numbered_legacy, string2, tensor2


@cache
def samples() -> dict[str, bytes]:
    """The samples by name. Those called `dropped` were made from `plain`, and have provenance."""
    made = {
        "plain.safetensors": save(_tensors(), {"made by": "the fuzzer"}),
        "plain.pt": _saved(_tensors()),
        "nested.pt": _saved(_nested()),
        "bare.pt": _saved(torch.arange(6.0).reshape(2, 3)),
        "checkpoint.pt": _saved(_checkpoint()),
        "old.pt": numbered_legacy(_tensors()),
        "old nested.pt": numbered_legacy(_nested()),
        "old checkpoint.pt": numbered_legacy(_checkpoint()),
        "old frames.pt": numbered_legacy(_nested(), protocol=4),
        "old python 2.pt": _of_python_2(),
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


def _checkpoint() -> dict[str, Any]:
    """A training checkpoint: a model, Adam's moments, and the step."""
    weight = torch.arange(12.0).reshape(4, 3)
    moments = {"step": torch.tensor(3.0), "exp_avg": weight / 7, "exp_avg_sq": weight.square()}
    group = {"lr": 0.001, "betas": (0.9, 0.999), "amsgrad": False, "params": [0]}
    return {
        "model": OrderedDict({"fc.weight": weight, "fc.bias": torch.ones(4)}),
        "optimizer": {"state": {0: moments}, "param_groups": [group]},
        "epoch": 3,
        "best": 0.25,
    }


def _of_python_2() -> bytes:
    """A pickle of Python 2: byte strings, decimal numbers, and a storage that is a part."""
    part = b"(" + string2("9") + b"K\1K\4t"
    pairs = [
        (string2("weight"), tensor2("0", 6, 2, 3)),
        (string2("bias"), tensor2("1", 6, 2, offset=1, part=part)),
        (string2("text"), long_string2(b"long" * 70)),
        (b"I140052731584\n", b"I01\n"),
    ]
    data = legacy_file(
        b"\x80\x02" + dict2(*pairs) + b".", {"0": (6, bytes(range(24))), "1": (6, bytes(24))}
    )
    return data.replace(b"X\1\0\0\0" + b"1", string2("1"))


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
