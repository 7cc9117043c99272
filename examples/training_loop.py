"""Train with masks made on the fly, and check that files would hold the same images.

python examples/training_loop.py [SEED]
"""

import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset

import dropcli

DIGITS = Path(__file__).with_name("digits.safetensors")
COUNT, EPOCHS = 200, 3
SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 7


class Digits(Dataset[tuple[torch.Tensor, torch.Tensor, int]]):
    """The first digits, each dropped with its mask of this epoch; `stream` is its file name."""

    def __init__(self) -> None:
        digits = load_file(DIGITS)
        self.images, self.labels = digits["images"][:COUNT], digits["labels"][:COUNT]
        self.transform = dropcli.Dropout(p=0.2, seed=SEED)
        self.epoch = 1

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        image = self.transform(self.images[index], stream=f"{index:04}", copy=self.epoch)
        return image, self.labels[index], index


def save(images: torch.Tensor, folder: Path) -> Path:
    """Save a file per image, and its copies as `dropcli apply` writes them: out/0000.1.pt etc."""
    (folder / "data").mkdir()
    for index, image in enumerate(images):
        torch.save(image.clone(), folder / "data" / f"{index:04}.pt")
    dropcli.apply(folder / "data", folder / "out", p=0.2, seed=SEED, copies=EPOCHS)
    return folder / "out"


def main() -> None:
    """Train for a few epochs, and compare each image with its saved file."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dataset = Digits()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with tempfile.TemporaryDirectory() as folder:
        saved = save(dataset.images, Path(folder))
        for dataset.epoch in range(1, EPOCHS + 1):
            for images, labels, indices in DataLoader(dataset, batch_size=50, shuffle=True):
                for image, index in zip(images, indices.tolist(), strict=True):
                    assert image.equal(torch.load(saved / f"{index:04}.{dataset.epoch}.pt"))
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(images), labels)
                torch.autograd.backward(loss)
                optimizer.step()
            print(f"epoch {dataset.epoch}: loss {loss:.3f}, {COUNT} images equal to the files")


if __name__ == "__main__":
    main()
