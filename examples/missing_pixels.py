"""Measure whether dropout copies in the training data help a classifier when pixels are missing.

python examples/missing_pixels.py [SEEDS [FIRST]]    prints a table, and draws missing_pixels.svg
"""

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

import dropcli

DIGITS = Path(__file__).with_name("digits.safetensors")
MISSING = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # fractions of missing pixels in the test set
TRAIN_SIZE, STEPS, BATCH = 1200, 2000, 128  # the same number of steps with and without copies


def with_copies(digits: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Return the digits and three copies, in which each image lacks 0 to 60 % of its pixels."""
    with tempfile.TemporaryDirectory() as folder:
        plain, copies = f"{folder}/plain.safetensors", f"{folder}/copies.safetensors"
        save_file(digits, plain)
        dropout: dict[str, Any] = {"p": (0.0, 0.6), "p_per": "sample", "rescale": False}
        dropcli.apply(
            plain, copies, copies=3, keep_original=True, concat=True, seed=seed, **dropout
        )
        return load_file(copies)


def train(digits: dict[str, torch.Tensor], seed: int) -> nn.Module:
    """Train a small network with one hidden layer."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(STEPS):
        batch = torch.randint(len(digits["images"]), (BATCH,))
        optimizer.zero_grad()
        logits = model(digits["images"][batch])
        torch.autograd.backward(nn.functional.cross_entropy(logits, digits["labels"][batch]))
        optimizer.step()
    return model


def accuracies(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the accuracy for each fraction of missing pixels; all models get the same masks."""
    inputs = (dropcli.drop(images, p=p, seed=99, stream="test", rescale=False) for p in MISSING)
    return torch.stack([(model(each).argmax(1) == labels).float().mean() for each in inputs])


torch.set_num_threads(1)  # faster for such a small network
digits = load_file(DIGITS)
table: dict[str, list[torch.Tensor]] = {"without copies": [], "with 3 copies": []}
seeds, first = (*map(int, sys.argv[1:]), *(5, 0)[len(sys.argv) - 1 :])
for seed in range(first, first + seeds):
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(seed))
    training, test = (
        {k: v[part] for k, v in digits.items()} for part in (order[:TRAIN_SIZE], order[TRAIN_SIZE:])
    )
    for rows, data in zip(table.values(), (training, with_copies(training, seed)), strict=True):
        rows.append(accuracies(train(data, seed), **test))
spread = {k: torch.std_mean(torch.stack(r), 0, correction=seeds > 1) for k, r in table.items()}
print("missing pixels  " + "".join(f"{p:>7.0%}" for p in MISSING))
for name, (sd, mean) in spread.items():
    for label, values in ((name, mean), ("  +/-", sd)):
        print(f"{label:<16}" + "".join(f"{value:7.3f}" for value in values))
if find_spec("matplotlib"):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.add_subplot(xlabel="missing pixels", ylabel="accuracy", ylim=(0, 1))
    for name, (sd, mean) in spread.items():
        axes.errorbar(MISSING, mean, sd, label=name)
    axes.legend()
    figure.savefig("missing_pixels.svg")
