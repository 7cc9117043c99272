"""Sample by sample with numpy, as in a data loader: SOURCE DESTINATION P."""

import sys

import numpy as np
from safetensors.numpy import load_file, save_file

source, destination, p = sys.argv[1], sys.argv[2], float(sys.argv[3])
random = np.random.default_rng(7)
tensors = load_file(source)
for name, samples in tensors.items():
    if np.issubdtype(samples.dtype, np.floating):
        result = np.empty_like(samples)
        for index, sample in enumerate(samples):
            keep = random.random(sample.shape, dtype=np.float32) >= p
            result[index] = sample * (keep / np.float32(1 - p))
        tensors[name] = result
save_file(tensors, destination)
