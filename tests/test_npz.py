"""Arrays of the user: shapes, types, and what is refused."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamsearch import cache, environment
from lamsearch.errors import InputError
from lamsearch.npz import arrays_in, read

LABELS = np.array([0, 1, 1])
GREY = np.array([0, 51, 255, 0], dtype=np.uint8).reshape(1, 2, 2).repeat(3, axis=0)


def saved(tmp_path: Path, **arrays: Any) -> Path:
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


def test_bytes_are_scaled(tmp_path: Path) -> None:
    prepared = read(saved(tmp_path, images=GREY, labels=LABELS))
    assert prepared.images.shape == (3, 1, 2, 2)
    assert prepared.images.dtype == np.float32
    np.testing.assert_allclose(prepared.images[0, 0], [[-1, -0.6], [1, -1]], atol=1e-7)
    assert prepared.labels.tolist() == [0, 1, 1]
    assert prepared.class_names == ("0", "1")
    assert prepared.n_search == 3


def test_floats_are_taken_as_given(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(3, 2, (3, 5, 4, 3))
    prepared = read(saved(tmp_path, images=images, labels=LABELS.astype(np.uint8)))
    np.testing.assert_array_equal(prepared.images, images.transpose(0, 3, 1, 2).astype(np.float32))


def test_channels_may_come_first(tmp_path: Path) -> None:
    assert read(saved(tmp_path, images=np.zeros((3, 3, 7, 5)), labels=LABELS)).images.shape == (3, 3, 7, 5)


def test_class_names(tmp_path: Path) -> None:
    names = np.array(["cat", "dog", "owl"])
    assert read(saved(tmp_path, images=GREY, labels=LABELS, class_names=names)).class_names == ("cat", "dog", "owl")


NAN = np.zeros((3, 2, 2))
NAN[1, 0, 0] = np.nan
REFUSED = {
    "NaN": ({"images": NAN, "labels": LABELS}, "1 images have NaN or infinite pixels, the first is number 1"),
    "overflow": ({"images": np.full((3, 2, 2), 1e300), "labels": LABELS}, "3 images have NaN or infinite"),
    "negative": ({"images": GREY, "labels": LABELS - 1}, "label -1 is out of range"),
    "too large": ({"images": GREY, "labels": np.array([0, 1, 2**40])}, "label 1099511627776 is out of range"),
    "no int64": ({"images": GREY, "labels": np.array([0, 1, 2**64 - 1], dtype=np.uint64)}, "is out of range"),
    "beyond the names": (
        {"images": GREY, "labels": LABELS, "class_names": np.array(["cat"])},
        "label 1 is out of range; class_names has 1 entries",
    ),
    "float labels": ({"images": GREY, "labels": LABELS + 0.5}, "labels of type float64; give integers"),
    "label shape": ({"images": GREY, "labels": np.eye(3, dtype=int)}, r"labels of shape \(3, 3\); give one number"),
    "lengths": ({"images": GREY, "labels": LABELS[:2]}, "3 images and 2 labels"),
    "flat images": ({"images": GREY.reshape(3, 4), "labels": LABELS}, r"images of shape \(3, 4\); give"),
    "five channels": ({"images": np.zeros((3, 5, 6, 7)), "labels": LABELS}, r"images of shape \(3, 5, 6, 7\)"),
    "no images": ({"images": GREY[:0], "labels": LABELS[:0]}, "hold no pixels"),
    "int images": ({"images": GREY.astype(int), "labels": LABELS}, "images of type int64; give uint8 or float32"),
    "no labels": ({"images": GREY}, "lacks labels; it has images"),
    "objects": ({"images": GREY, "labels": np.array([0, 1, None])}, "no intact .npz of plain arrays"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: Path, case: str) -> None:
    arrays, message = REFUSED[case]
    path = saved(tmp_path, **arrays)
    with pytest.raises(InputError, match=message) as raised:
        read(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_pickles_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("images.npy", pickle.dumps(Bomb()))
        archive.writestr("labels.npy", pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="images and labels: no plain array"):
        read(tmp_path / "data.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0, 100, -60])
def test_truncated_files(tmp_path: Path, keep: int) -> None:
    path = saved(tmp_path, images=GREY, labels=LABELS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"no intact \.npz"):
        read(path)


def test_a_plain_array_file(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", GREY)
    with pytest.raises(InputError, match=r"no intact \.npz"):
        read(tmp_path / "data.npy")


def test_an_archive_that_unpacks_too_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 1000)
    np.savez_compressed(tmp_path / "data.npz", images=np.zeros((3, 100, 100), dtype=np.uint8), labels=LABELS)
    with pytest.raises(InputError, match="use fewer or smaller images"):
        read(tmp_path / "data.npz")


@pytest.mark.parametrize("free", [20_000, 60_000])
def test_more_than_the_memory_that_is_free_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    """30 kB unpacked, 120 kB as float32."""
    monkeypatch.setattr(environment, "free_memory", lambda: free)
    path = saved(tmp_path, images=np.zeros((3, 100, 100), dtype=np.uint8), labels=LABELS)
    with pytest.raises(InputError, match=r"0\.[01] MiB may be taken here; use fewer or smaller images, or a machine"):
        read(path)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\)"):
        arrays_in(tmp_path / "data.npz")


def test_a_changed_file_has_another_stem(tmp_path: Path) -> None:
    stem, _ = arrays_in(saved(tmp_path, images=GREY, labels=LABELS))
    assert arrays_in(tmp_path / "data.npz")[0] == stem
    assert arrays_in(saved(tmp_path, images=GREY[:2], labels=LABELS[:2]))[0] != stem
