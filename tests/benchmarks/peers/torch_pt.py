"""The same for a dict of tensors in a `.pt` file: SOURCE DESTINATION P."""

import sys

import torch
from torch.nn import functional as F

source, destination, p = sys.argv[1], sys.argv[2], float(sys.argv[3])
torch.manual_seed(7)
tensors = torch.load(source)
for name, tensor in tensors.items():
    if tensor.is_floating_point():
        tensors[name] = F.dropout(tensor, p)
torch.save(tensors, destination)
