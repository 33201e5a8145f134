"""Pixels → float32 in [−1, 1], the same bits on every machine.

The scale is a constant of the format, 2·value/maximum − 1, never an estimate: a mean or a standard deviation
would have to be fitted inside every training fold, or it would carry test and validation images into training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
"""(image, channel, row, column)."""

LARGEST_BYTE = 255
PIXELS_AT_ONCE = 2**20


def scaled(pixels: NDArray[np.uint8]) -> Images:
    """8-bit pixels (image, …), 0…255 → −1…1. One table look-up: no rounding that depends on the CPU."""
    table = (np.arange(LARGEST_BYTE + 1) / LARGEST_BYTE * 2 - 1).astype(np.float32)
    found = np.empty(pixels.shape, dtype=np.float32)
    n = max(1, PIXELS_AT_ONCE * len(pixels) // max(1, pixels.size))
    for start in range(0, len(pixels), n):  # as indices they take eight bytes each
        found[start : start + n] = table[pixels[start : start + n]]
    return found


def doubled(images: NDArray[np.integer]) -> NDArray[np.int64]:
    """Bilinear upscaling by 2, times 16 so that it stays in integers. (…, row, column) → (…, 2 row, 2 column).

    Pixel centres are half-integers and borders are repeated: torch's ``interpolate(mode="bilinear",
    align_corners=False)``. A new pixel is ¾ of the nearer and ¼ of the farther old one, along each axis.
    """
    return _doubled_last(_doubled_last(images.astype(np.int64)).swapaxes(-1, -2)).swapaxes(-1, -2)


def _doubled_last(images: NDArray[np.int64]) -> NDArray[np.int64]:
    padded = np.concatenate([images[..., :1], images, images[..., -1:]], axis=-1)
    left = padded[..., :-2] + 3 * images
    right = 3 * images + padded[..., 2:]
    return np.stack([left, right], axis=-1).reshape(*images.shape[:-1], -1)
