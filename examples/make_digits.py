# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "safetensors", "scikit-learn"]
# ///
"""Make digits.safetensors from the handwritten digits in scikit-learn.

1,797 images of 8 by 8 pixels, from the "Optical Recognition of Handwritten Digits" data set of
E. Alpaydin and C. Kaynak (UCI Machine Learning Repository, 1998; CC BY 4.0).

    python examples/make_digits.py [OUTPUT]
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sklearn.datasets import load_digits


def main() -> None:
    """Write the images as float32 in [0, 1], shape (N, 1, 8, 8), and their int64 labels."""
    default = Path(__file__).with_name("digits.safetensors")
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    digits = load_digits()
    tensors = {
        "images": (digits.images / 16).astype(np.float32)[:, None],
        "labels": digits.target.astype(np.int64),
    }
    save_file(tensors, output)


if __name__ == "__main__":
    main()
