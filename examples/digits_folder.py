"""Save each digit as a file, FOLDER/CLASS/NUMBER.pt, with its image and its label.

python examples/digits_folder.py [FOLDER] [COUNT]
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

DIGITS = Path(__file__).with_name("digits.safetensors")


def main() -> None:
    """Write the first COUNT of the 1,797 digits, in a folder for each class."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("digits")
    count = int(sys.argv[2]) if len(sys.argv) > 2 else None
    digits = load_file(DIGITS)
    samples = list(zip(digits["images"], digits["labels"], strict=True))[:count]
    for number, (image, label) in enumerate(samples):
        path = folder / str(int(label)) / f"{number:04}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"image": image.clone(), "label": label.clone()}, path)
    print(f"{len(samples):,} files in {folder}/")


if __name__ == "__main__":
    main()
