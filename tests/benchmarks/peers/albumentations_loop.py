"""Image by image with albumentations: SOURCE DESTINATION P elements|channels|blocks."""

import sys

import albumentations as A
import numpy as np
from safetensors.numpy import load_file, save_file

source, destination, p, kind = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
tensors = load_file(source)
images = tensors["images"]
holes = round(p * (images.shape[2] // 8) * (images.shape[3] // 8))
transform = {
    "elements": A.PixelDropout(dropout_prob=p, per_channel=True, p=1),
    "channels": A.ChannelDropout(p=1),
    "blocks": A.CoarseDropout(
        num_holes_range=(holes, holes), hole_height_range=(8, 8), hole_width_range=(8, 8), p=1
    ),
}[kind]
result = np.empty_like(images)
for index, image in enumerate(images):
    dropped = transform(image=np.ascontiguousarray(image.transpose(1, 2, 0)))["image"]
    result[index] = dropped.transpose(2, 0, 1)
tensors["images"] = result
save_file(tensors, destination)
