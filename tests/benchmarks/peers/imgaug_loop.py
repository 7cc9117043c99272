"""Image by image with imgaug: SOURCE DESTINATION P elements|channels|blocks."""

import sys

import imgaug.augmenters as iaa
import numpy as np
from safetensors.numpy import load_file, save_file

source, destination, p, kind = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
tensors = load_file(source)
images = tensors["images"]
augmenter = {
    "elements": iaa.Dropout(p, per_channel=True),
    "channels": iaa.Dropout2d(p),
    "blocks": iaa.CoarseDropout(p, size_percent=1 / 8),
}[kind]
result = np.empty_like(images)
for index, image in enumerate(images):
    dropped = augmenter(image=np.ascontiguousarray(image.transpose(1, 2, 0)))
    result[index] = dropped.transpose(2, 0, 1)
tensors["images"] = result
save_file(tensors, destination)
