"""Load a folder of samples that `digits_folder.py` made and `dropcli apply` augmented.

python examples/load_folder.py [FOLDER]
"""

import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset


class Folder(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The `.pt` files below a folder, each a dict of one image and its label."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.rglob("*.pt"))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        sample = torch.load(self._paths[index], weights_only=True)
        return sample["image"], sample["label"]


def main() -> None:
    """Load all samples in batches, and count the pixels that are zero."""
    dataset = Folder(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("augmented"))
    images = torch.cat([batch for batch, _ in DataLoader(dataset, batch_size=256)])
    print(f"{len(dataset):,} samples, {(images == 0).float().mean():.1%} of the pixels are zero")


if __name__ == "__main__":
    main()
