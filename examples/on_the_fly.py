"""Augment data while it is loaded, with the same masks that `dropcli apply` writes.

python examples/on_the_fly.py
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset

import dropcli

DIGITS = Path(__file__).with_name("digits.safetensors")


class Digits(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The digits; in epoch k each is copy k that `dropcli apply --copies` writes of it."""

    def __init__(self) -> None:
        digits = load_file(DIGITS)
        self._images, self._labels = digits["images"], digits["labels"]
        self._transform = dropcli.Dropout(p=0.2, seed=7)
        self.epoch = 1

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        label = self._labels[index]
        # The stream that the image has in the folder that examples/digits_folder.py writes.
        stream = f"{label}/{index:04}"
        image = self._images[index]
        return self._transform(image, stream=stream, tensor="image", copy=self.epoch), label


def main() -> None:
    """Run two epochs with two workers. Masks differ between epochs and repeat in each run."""
    dataset = Digits()
    for dataset.epoch in (1, 2):
        loader = DataLoader(dataset, batch_size=256, num_workers=2)
        images = torch.cat([batch for batch, _ in loader])
        print(f"epoch {dataset.epoch}: {(images == 0).float().mean():.2%} of the pixels are zero")


if __name__ == "__main__":
    main()
