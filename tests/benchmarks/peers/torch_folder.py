"""One loop over a folder of `.safetensors` and `.pt` files: SOURCE DESTINATION P."""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

source, destination, p = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
torch.manual_seed(7)
for path in sorted(source.rglob("*.*")):
    load, save = (torch.load, torch.save) if path.suffix == ".pt" else (load_file, save_file)
    tensors = load(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[name] = F.dropout(tensor, p)
    output = destination / path.relative_to(source)
    output.parent.mkdir(parents=True, exist_ok=True)
    save(tensors, output)
