"""Named data → images, labels, search and test indices. Knows nothing of folds and λ."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamsearch.archives import TORCHVISION, published
from lamsearch.cache import Prepared, cache_folders, cached, digest, writable
from lamsearch.config import DataConfig, nearest
from lamsearch.errors import InputError
from lamsearch.folders import images_in
from lamsearch.npz import arrays_in
from lamsearch.pixels import Images, doubled
from lamsearch.splits import Indices, derived_seed, stratified_holdout


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Images with true labels. ``images``: float32 (image, channel, row, column) in [−1, 1], memory-mapped.

    ``search`` and ``test`` are disjoint, sorted indices into them; nothing but the final test may look at ``test``.
    ``fingerprint`` is a SHA-256 over pixels, labels, class names, search and test indices: two workers with the
    same one hold the same data.
    """

    name: str
    images: Images
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    search: Indices
    test: Indices
    fingerprint: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channel, row, column) of one image."""
        _, channels, rows, columns = self.images.shape
        return channels, rows, columns

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def compact(data: DataSet) -> DataSet:
    """Only the images that are searched or tested, in their order: for a device where the others would be a burden.

    Folds, batches and results are the same: they depend on the images' order, not on their numbers.
    """
    used = np.union1d(data.search, data.test)
    if len(used) == len(data.labels):
        return data
    search, test = (np.searchsorted(used, which) for which in (data.search, data.test))
    return replace(data, images=data.images[used], labels=data.labels[used], search=search, test=test)


def load(data: DataConfig, *, seed: int, cache: Path | None = None) -> DataSet:
    """The data of a study whose seed is ``seed``: the same on every machine that has the same files.

    Raises InputError if the source is unknown, absent, damaged or unsuitable, or smaller than ``data.n``.
    """
    folders = cache_folders(cache)
    stem, build = _source(data.source, folders)
    prepared, content = cached(stem, lambda: _usable(build(), data.source), folders)
    labels = np.asarray(prepared.labels)
    search = np.arange(prepared.n_search, dtype=np.int64)
    test = np.arange(prepared.n_search, len(labels), dtype=np.int64)
    if len(test) == 0:
        search, test = stratified_holdout(labels, data.test_share, derived_seed("test", seed))
    if data.n > len(search):
        raise InputError(
            f"data.n = {data.n}: {data.source} has only {len(search)} images to search; use 0 for all of them"
        )
    if data.n:
        search = search[stratified_holdout(labels[search], data.n, derived_seed("subset", seed))[1]]
    return DataSet(
        name=data.source,
        images=prepared.images,
        labels=labels,
        class_names=prepared.class_names,
        search=search,
        test=test,
        fingerprint=digest([content, search.tolist(), test.tolist()]),
    )


def _source(source: str, folders: tuple[Path, ...]) -> tuple[str, Callable[[], Prepared]]:
    """(stem of its cache files, how to build it)."""
    if source == "digits":
        return source, _digits
    if source in TORCHVISION:
        return published(source, _archive_root(folders))
    kind, _, place = source.partition(":")
    if kind in ("folder", "npz") and place:
        path = Path(place).expanduser()
        return images_in(path) if kind == "folder" else arrays_in(path)
    known = ["digits", *TORCHVISION]
    raise InputError(
        f"data.source = {source!r}: no such data set{nearest(source, known)} "
        f"(known: {', '.join(known)}, folder:PATH, npz:PATH)"
    )


def _archive_root(folders: tuple[Path, ...]) -> Path:
    """Where archives are looked for and downloads go: $LAMSEARCH_DATA, else beside the cache."""
    named = os.environ.get("LAMSEARCH_DATA")
    return Path(named).expanduser() if named else (writable(folders) or folders[0]) / "data"


def _usable(prepared: Prepared, source: str) -> Prepared:
    """The data set, if it has classes to tell apart and images of each. Raises InputError."""
    names = prepared.class_names
    counts = np.bincount(prepared.labels, minlength=len(names))
    empty = [repr(name) for name, count in zip(names, counts, strict=True) if count == 0]
    if empty:
        shown = ", ".join(empty[:10]) + (", …" if len(empty) > 10 else "")
        raise InputError(f"{source}: no image of class {shown}; add some, or leave the class out")
    if len(names) < 2:
        raise InputError(f"{source}: {len(names)} class(es); at least 2 are needed to learn anything")
    return prepared


def _digits() -> Prepared:
    """scikit-learn's 1,797 digits (8×8, 0…16), upscaled to 16×16 so that the article's network applies."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 (1.4 s; needed only when the cache is cold)

    digits = load_digits()
    # Every value is a multiple of 1/128: exact in float32, so the fingerprint is the same on every machine.
    images = (doubled(digits.images)[:, None] / 128 - 1).astype(np.float32)
    return Prepared(
        images=images,
        labels=digits.target.astype(np.int64),
        class_names=tuple(str(name) for name in digits.target_names),
        n_search=len(images),
    )
