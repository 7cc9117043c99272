"""Samples of 1x28x28 in a training loop: SECONDS P WHICH, which is `torch` or `dropcli`."""

import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

import dropcli

seconds, p, which = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
samples = torch.randn(20_000, 1, 28, 28)
best = float("inf")
for _ in range(5):
    begin = time.perf_counter()
    if which == "torch":
        for sample in samples:
            F.dropout(sample, p)
    else:
        for number, sample in enumerate(samples):
            dropcli.drop(sample, p=p, seed=7, stream=str(number))
    best = min(best, time.perf_counter() - begin)
seconds.write_text(str(best))
