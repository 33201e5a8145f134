"""The published data sets: Debian's Fashion-MNIST files, and torchvision's downloads with their checksums."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import pickle
import socket
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamsearch.cache import Prepared, digest, one_at_a_time
from lamsearch.errors import InputError
from lamsearch.pixels import scaled

TORCHVISION = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "mnist": "MNIST",
    "svhn": "SVHN",
}
"""Our name → torchvision's class."""

FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Of the package ``dataset-fashion-mnist``."""
IDX_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "t10k": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
STALL_S = 30.0
"""A download that sends nothing for so long has failed."""


def published(name: str, root: Path) -> tuple[str, Callable[[], Prepared]]:
    """(stem of its cache files, how to build it). ``root`` holds the archives, or receives the downloads.

    Fashion-MNIST: ``root/fashion-mnist`` or Debian's folder, if all four files are in one of them.
    """
    if name == "fashion-mnist":
        for folder in (root / name, DEBIAN_FOLDER):
            files = [folder / file for pair in IDX_FILES.values() for file in pair]
            if all(file.is_file() for file in files):
                stats = [[str(file), (found := file.stat()).st_size, found.st_mtime_ns] for file in files]
                return f"{name}-{digest(stats)[:16]}", partial(fashion_from_idx, folder)
    return name, partial(_from_torchvision, name, root)


def fashion_from_idx(folder: Path) -> Prepared:
    """Fashion-MNIST from its four IDX files: the 60,000 training images are searched, the 10,000 others the test."""
    arrays: list[NDArray[np.uint8]] = []
    for images, labels in IDX_FILES.values():
        arrays += [read_idx(folder / images, 3), read_idx(folder / labels, 1)]
    train, train_labels, test, test_labels = arrays
    matching = len(train) == len(train_labels) and len(test) == len(test_labels) and train.shape[1:] == test.shape[1:]
    if not matching or max(train_labels.max(initial=0), test_labels.max(initial=0)) >= len(FASHION_CLASSES):
        raise InputError(
            f"fashion-mnist: the four files in {folder} do not belong together; put the original ones there"
        )
    return Prepared(
        images=scaled(np.concatenate([train, test])[:, None]),
        labels=np.concatenate([train_labels, test_labels]).astype(np.int64),
        class_names=FASHION_CLASSES,
        n_search=len(train),
    )


def read_idx(path: Path, n_axes: int) -> NDArray[np.uint8]:
    """A gzipped IDX file of unsigned bytes: 0, 0, type 8, number of axes, sizes (big-endian 32 bit), then the data.

    Format: http://yann.lecun.com/exdb/mnist/. Raises InputError naming the file if it is truncated or no such file.
    """
    try:
        with gzip.open(path, "rb") as file:
            raw = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: truncated or damaged ({error}); put an intact copy there") from None
    head = 4 + 4 * n_axes
    shape = tuple(int(size) for size in np.frombuffer(raw[4:head], dtype=">u4")) if len(raw) >= head else ()
    if raw[:4] != bytes([0, 0, 8, n_axes]) or len(raw) != head + int(np.prod(shape, dtype=np.int64)):
        raise InputError(f"{path}: not an IDX file of bytes with {n_axes} axes; put an intact copy there")
    return np.frombuffer(raw, dtype=np.uint8, offset=head).reshape(shape)


def _from_torchvision(name: str, root: Path) -> Prepared:
    """Read by torchvision's own code, which downloads what is absent and unpickles CIFAR only if its md5 fits."""
    from torchvision import datasets  # noqa: PLC0415 (imports torch: seconds; needed only when the cache is cold)

    kind = getattr(datasets, TORCHVISION[name])
    parts = ({"split": "train"}, {"split": "test"}) if name == "svhn" else ({"train": True}, {"train": False})
    try:
        with one_at_a_time(root), _impatient():
            train, test = (kind(root=str(root), download=True, **part) for part in parts)
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, AssertionError) as error:
        raise InputError(_what_to_do(name, kind, root, error)) from None
    except (http.client.HTTPException, pickle.UnpicklingError, zlib.error) as error:
        raise InputError(_what_to_do(name, kind, root, error)) from None
    images = np.concatenate([_pixels(train), _pixels(test)])
    labels = np.concatenate([_labels(train), _labels(test)])
    class_names = getattr(train, "classes", None) or [str(label) for label in range(int(labels.max()) + 1)]
    return Prepared(images=scaled(images), labels=labels, class_names=tuple(class_names), n_search=len(_labels(train)))


def _pixels(dataset: Any) -> NDArray[np.uint8]:
    """(image, channel, row, column). CIFAR comes as (image, row, column, channel), MNIST without a channel axis."""
    pixels = np.asarray(dataset.data)
    if pixels.ndim == 3:
        return pixels[:, None]
    return pixels if hasattr(dataset, "labels") else pixels.transpose(0, 3, 1, 2)


def _labels(dataset: Any) -> NDArray[np.int64]:
    """SVHN calls them ``labels``, all others ``targets``."""
    return np.asarray(dataset.labels if hasattr(dataset, "labels") else dataset.targets, dtype=np.int64)


def _what_to_do(name: str, kind: Any, root: Path, error: Exception) -> str:
    """One line: which archive is damaged or absent, where it belongs, where it comes from."""
    from torchvision.datasets.utils import calculate_md5  # noqa: PLC0415 (as above)

    damaged, absent = [], []
    for file, url, md5 in _archives(kind, root):
        if not file.is_file():
            absent.append(f"{file.name} (md5 {md5})")
        elif (found := calculate_md5(file)) != md5:
            damaged.append(f"{file} has md5 {found} instead of {md5}; delete it and put {url} there")
    file, url, _ = _archives(kind, root)[0]
    folder, origin = file.parent, url.removesuffix(file.name)
    if damaged:
        return f"{name}: truncated or altered download: {'; '.join(damaged)}"
    reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]  # MNIST's: one line per mirror
    if absent:
        debian = ", or install Debian's package dataset-fashion-mnist" if name == "fashion-mnist" else ""
        return (
            f"{name}: not in {folder} and no download ({reason}); put {', '.join(absent)} from {origin} there, "
            f"or name another folder in LAMSEARCH_DATA{debian}"
        )
    return f"{name}: the files in {folder} cannot be read ({reason}); delete what was unpacked there and try again"


def _archives(kind: Any, root: Path) -> list[tuple[Path, str, str]]:
    """(where torchvision expects it, URL, md5) of each archive of one of its data sets."""
    if hasattr(kind, "tgz_md5"):
        return [(root / kind.filename, kind.url, kind.tgz_md5)]
    if hasattr(kind, "split_list"):
        return [(root / kind.split_list[part][1], *kind.split_list[part][::2]) for part in ("train", "test")]
    folder = root / kind.__name__ / "raw"
    return [(folder / file, kind.mirrors[0] + file, md5) for file, md5 in kind.resources]


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """torchvision opens its URLs without a time limit; a silent firewall would hold it for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
