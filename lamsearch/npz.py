"""The user's own arrays: an ``.npz`` file with ``images`` and ``labels``. Nothing in it is ever unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamsearch.cache import Prepared, digest, room, too_large
from lamsearch.errors import InputError
from lamsearch.pixels import Images, scaled

CHANNELS = (1, 3, 4)


def arrays_in(path: Path) -> tuple[str, Callable[[], Prepared]]:
    """(stem of its cache files, how to build it). The stem changes when the file is written to.

    Keys: ``images`` (image, row, column), (image, row, column, channel) or (image, channel, row, column), uint8 or
    float; ``labels`` (image,), integers 0…C−1; optionally ``class_names`` (C,), strings. Raises InputError.
    """
    try:
        info = path.stat()
    except OSError as error:
        raise InputError(f"npz:{path} cannot be read ({error.strerror}); name an .npz file") from None
    key = digest([str(path.resolve()), info.st_size, info.st_mtime_ns, info.st_ctime_ns])
    return f"npz-{key[:24]}", lambda: read(path)


def read(path: Path) -> Prepared:
    """Load and check the arrays. uint8 pixels are scaled to [−1, 1]; floats are taken as they are given.

    (Rescaling floats would need their range, an estimate that reaches across the test set.)
    """
    arrays = _loaded(path)
    images, labels = _images(arrays["images"], path), _labels(arrays["labels"], path)
    if len(images) != len(labels):
        raise InputError(f"npz:{path} has {len(images)} images and {len(labels)} labels; give one label per image")
    n_classes = int(labels.max(initial=-1)) + 1
    if "class_names" in arrays:
        names = [str(name) for name in arrays["class_names"].ravel()]
        if n_classes > len(names):
            raise InputError(f"npz:{path}: label {n_classes - 1} is out of range; class_names has {len(names)} entries")
    elif n_classes > len(labels):
        raise InputError(
            f"npz:{path}: label {n_classes - 1} is out of range; number the classes 0, 1, 2, … without gaps"
        )
    else:
        names = [str(label) for label in range(n_classes)]
    return Prepared(images=images, labels=labels, class_names=tuple(names), n_search=len(labels))


def _loaded(path: Path) -> dict[str, NDArray[Any]]:
    wanted = ("images", "labels", "class_names")
    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(member.file_size for member in archive.infolist())
        _fits(n_bytes, path)
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in wanted[:2] if key not in file]
            if missing:
                raise InputError(f"npz:{path} lacks {' and '.join(missing)}; it has {', '.join(file) or 'no arrays'}")
            found = {key: file[key] for key in wanted if key in file}
    except (
        OSError,
        ValueError,
        EOFError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"npz:{path} is no intact .npz of plain arrays ({reason}); write it with numpy.savez"
        ) from None
    foreign = [key for key, value in found.items() if not isinstance(value, np.ndarray)]
    if foreign:  # numpy hands out members of another format as bytes
        raise InputError(f"npz:{path}: {' and '.join(foreign)}: no plain array; write it with numpy.savez")
    return found


def _images(images: NDArray[Any], path: Path) -> Images:
    """→ (image, channel, row, column)."""
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] in CHANNELS:
        images = images.transpose(0, 3, 1, 2)
    elif images.ndim != 4 or images.shape[1] not in CHANNELS:
        raise InputError(
            f"npz:{path}: images of shape {images.shape}; give (image, row, column), or with 1, 3 or 4 channels "
            "(image, row, column, channel) or (image, channel, row, column)"
        )
    if images.size == 0:
        raise InputError(f"npz:{path}: images of shape {images.shape} hold no pixels; give some")
    if images.dtype != np.float32:
        _fits(images.size * np.dtype(np.float32).itemsize, path)
    if images.dtype == np.uint8:
        return scaled(images)
    if images.dtype.kind != "f":
        raise InputError(f"npz:{path}: images of type {images.dtype}; give uint8 or float32")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
        images = np.ascontiguousarray(images, dtype=np.float32)
    finite = np.isfinite(images).all(axis=(1, 2, 3))
    if not finite.all():
        first = int(np.argmin(finite))
        raise InputError(
            f"npz:{path}: {int((~finite).sum())} images have NaN or infinite pixels, the first is number {first}; "
            "remove or repair them"
        )
    return images


def _fits(n_bytes: int, path: Path) -> None:
    if n_bytes > (limit := room()):
        raise too_large(f"npz:{path}", n_bytes, limit)


def _labels(labels: NDArray[Any], path: Path) -> NDArray[np.int64]:
    if labels.ndim != 1:
        raise InputError(f"npz:{path}: labels of shape {labels.shape}; give one number per image")
    if labels.dtype.kind not in "iu":
        raise InputError(f"npz:{path}: labels of type {labels.dtype}; give integers 0, 1, 2, …")
    if labels.size and labels.min() < 0:
        raise InputError(
            f"npz:{path}: label {labels.min()} is out of range; number the classes 0, 1, 2, … without gaps"
        )
    if labels.size and labels.max() > np.iinfo(np.int64).max:
        raise InputError(
            f"npz:{path}: label {labels.max()} is out of range; number the classes 0, 1, 2, … without gaps"
        )
    return labels.astype(np.int64)
