"""Square holes of 8 by 8 in (N, C, H, W): SOURCE DESTINATION P."""

import sys

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

source, destination, p = sys.argv[1], sys.argv[2], float(sys.argv[3])
torch.manual_seed(7)
tensors = load_file(source)
for name, tensor in tensors.items():
    if tensor.is_floating_point():
        n, _, h, w = tensor.shape
        blocks = F.dropout(torch.ones(n, 1, -(-h // 8), -(-w // 8), dtype=tensor.dtype), p)
        factors = F.interpolate(blocks, scale_factor=8)[..., :h, :w]
        tensors[name] = tensor * factors
save_file(tensors, destination)
