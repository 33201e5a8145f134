"""The user's own images: a folder with one subfolder per class. Every file is checked before it is decoded."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamsearch.cache import Prepared, digest, room, too_large
from lamsearch.errors import InputError
from lamsearch.pixels import scaled

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
"""Pillow's names of the decoders that may run, whatever a file calls itself."""
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
MAX_PIXELS = 4_000_000
"""Per image, read from the header before anything is unpacked: a PNG of 10 kB can unpack to 400 MB."""
GREY, COLOUR = ("1", "L", "LA"), ("CMYK", "P", "PA", "RGB", "RGBA", "YCbCr")
"""Pillow's 8-bit modes, read as 1 and as 3 channels. Transparency is dropped."""
LISTED = 100
"""Files named in one message; further ones are counted."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies in a folder: per class its files, sorted, and what cannot be used, each with its reason."""

    root: Path
    classes: dict[str, list[Path]]
    bad: list[str]


class _Unusable(Exception):
    """One bad file; collected, so that all of them are named at once."""


def images_in(root: Path) -> tuple[str, Callable[[], Prepared]]:
    """(stem of its cache files, how to build it). The stem changes when a file is added, removed or written to.

    Classes are the subfolders, by name; hidden ones are ignored. Raises InputError if ``root`` is no such folder.
    """
    found = listing(root)
    try:
        stats = [
            [str(file), (info := file.stat()).st_size, info.st_mtime_ns, info.st_ctime_ns]
            for files in found.classes.values()
            for file in files
        ]
    except OSError as error:
        raise InputError(f"folder:{root} changed while it was read ({error}); try again") from None
    key = digest([str(root.resolve()), list(found.classes), found.bad, stats])
    return f"folder-{key[:24]}", lambda: read(found)


def listing(root: Path) -> Listing:
    """The classes of a folder and their files. Raises InputError if there is no readable folder or no subfolder."""
    classes: dict[str, list[Path]] = {}
    bad: list[str] = []
    try:
        inside = root.resolve()
        for entry in _visible(root):
            if _leaves(entry, inside):
                bad.append(f"{entry.name!r} is a link that leaves the folder")
            elif entry.is_dir():
                problems = {file: _problem(file, inside) for file in _visible(entry)}
                classes[entry.name] = [file for file, problem in problems.items() if not problem]
                bad += [f"{_short(file, root)} {problem}" for file, problem in problems.items() if problem]
            elif entry.suffix.lower() in SUFFIXES:
                bad.append(f"{entry.name!r} lies in no class folder")
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        raise InputError(
            f"folder:{root} cannot be read ({error}); name a folder with one subfolder per class"
        ) from None
    if not classes and not bad:
        raise InputError(f"folder:{root} has no subfolders; put the images of each class into a subfolder of its own")
    return Listing(root=root, classes=classes, bad=bad)


def read(found: Listing) -> Prepared:
    """Decode all images. Raises InputError that names all bad files at once, or the shapes if they differ."""
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    names: list[str] = []
    bad = [*found.bad]
    n_bytes, limit = 0, room()
    for label, files in enumerate(found.classes.values()):
        for file in files:
            try:
                images.append(_decoded(file))
            except _Unusable as problem:
                bad.append(f"{_short(file, found.root)} {problem}")
                continue
            labels.append(label)
            names.append(_short(file, found.root))
            # As decoded, in one array, and as float32; and what the list of them takes.
            n_bytes += images[-1].size * (np.dtype(np.float32).itemsize + 2 * images[-1].itemsize) + 256
            if n_bytes > limit:
                raise too_large(f"folder:{found.root}", n_bytes, limit)
    if bad:
        raise InputError(
            f"folder:{found.root} holds {len(bad)} files that cannot be used, repair or remove them: {_listed(bad)}"
        )
    shapes = Counter(image.shape for image in images)
    if len(shapes) > 1:
        usual = shapes.most_common(1)[0][0]
        others = [
            f"{name} {_size(image.shape)}" for name, image in zip(names, images, strict=True) if image.shape != usual
        ]
        raise InputError(
            f"folder:{found.root} holds images of different shapes; "
            f"bring them to the usual {_size(usual)}: {_listed(others)}"
        )
    stacked = np.stack(images) if images else np.empty((0, 1, 1, 1), dtype=np.uint8)
    return Prepared(
        images=scaled(stacked),
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(found.classes),
        n_search=len(stacked),
    )


def _visible(folder: Path) -> list[Path]:
    """By name, so that class numbers and image numbers are the same on every file system."""
    return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda path: path.name)


def _leaves(entry: Path, inside: Path) -> bool:
    return entry.is_symlink() and not entry.resolve().is_relative_to(inside)


def _problem(file: Path, inside: Path) -> str:
    """Why this entry of a class folder cannot be used, without opening it; empty if nothing speaks against it."""
    if _leaves(file, inside):
        return "is a link that leaves the folder"
    if file.is_dir():
        return "is a folder inside a class folder"
    if file.suffix.lower() not in SUFFIXES:
        return f"is none of {', '.join(SUFFIXES)}"
    return "" if file.is_file() else "is no regular file"


def _decoded(file: Path) -> NDArray[np.uint8]:
    """(channel, row, column); of an animation the first frame."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 (0.1 s; needed only when the cache is cold)

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=FORMATS) as image:
            columns, rows = image.size
            if rows * columns > MAX_PIXELS:
                raise _Unusable(f"has {columns}×{rows} pixels, more than {MAX_PIXELS:,} in all")
            if image.mode not in GREY + COLOUR:
                raise _Unusable(f"has pixels of mode {image.mode}, not of 8 bits")
            if image.mode in GREY:
                return np.asarray(image.convert("L"))[None]
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except _Unusable:
        raise
    except UnidentifiedImageError:
        raise _Unusable(f"is no intact image of format {', '.join(FORMATS)}") from None
    except Exception as error:  # decoders of foreign bytes raise anything, SyntaxError and struct.error included
        raise _Unusable(f"is no intact image ({' '.join(str(error).split()) or type(error).__name__})") from None


def _short(file: Path, root: Path) -> str:
    """Quoted, so that a name cannot bring line breaks or terminal codes into a message."""
    return repr(str(file.relative_to(root)))


def _size(shape: tuple[int, ...]) -> str:
    channels, rows, columns = shape
    return f"{columns}×{rows} {'grey' if channels == 1 else 'colour'}"


def _listed(items: Sequence[str]) -> str:
    more = f"; and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return "; ".join(items[:LISTED]) + more
