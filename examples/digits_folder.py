"""A dataset of one file per sample: made from the digits, augmented threefold, and loaded.

python examples/digits_folder.py [FOLDER]
"""

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset

DIGITS = Path(__file__).with_name("digits.safetensors")


class Folder(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Every `.pt` file below a folder, each a dict of one image and its label."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.rglob("*.pt"))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        sample = torch.load(self._paths[index], weights_only=True)
        return sample["image"], sample["label"]


def make(folder: Path) -> None:
    """Write the digits one by one, in a folder for each class."""
    digits = load_file(DIGITS)
    for number, (image, label) in enumerate(zip(digits["images"], digits["labels"], strict=True)):
        path = folder / str(int(label)) / f"{number:04}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"image": image.clone(), "label": label.clone()}, path)


def main() -> None:
    """Make the folder, write three copies of each sample beside the original, train on all."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("digits")
    augmented = folder.with_name(f"{folder.name}-augmented")
    make(folder)
    command = [sys.executable, "-m", "dropcli", "apply", str(folder), "-o", str(augmented)]
    options = ["--force", "-p", "0.2", "--seed", "7", "--copies", "3", "--keep-original"]
    subprocess.run([*command, *options], check=True)

    dataset = Folder(augmented)
    images = torch.cat([batch for batch, _ in DataLoader(dataset, batch_size=256)])
    print(f"{len(dataset):,} samples, {(images == 0).float().mean():.1%} of the pixels are zero")


if __name__ == "__main__":
    main()
