"""Whole channels of (N, C, H, W): SOURCE DESTINATION P."""

import sys

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

source, destination, p = sys.argv[1], sys.argv[2], float(sys.argv[3])
torch.manual_seed(7)
tensors = load_file(source)
for name, tensor in tensors.items():
    if tensor.is_floating_point():
        tensors[name] = F.dropout2d(tensor, p)
save_file(tensors, destination)
