"""Prepared data sets on disk: found again, checked, and never a reason to fail."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lamsearch import cache as cache_module
from lamsearch.cache import Prepared, cache_folders, cached, writable


class Builder:
    """Builds the same small data set and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Prepared:
        self.calls += 1
        images = np.linspace(-1, 1, 3 * 4, dtype=np.float32).reshape(3, 1, 2, 2)
        return Prepared(images=images, labels=np.array([0, 1, 1]), class_names=("cat", "ébène"), n_search=2)


def only(folder: Path, pattern: str) -> Path:
    (file,) = folder.glob(pattern)
    return file


def test_the_second_time_it_is_read(tmp_path: Path) -> None:
    build = Builder()
    first, content = cached("small", build, [tmp_path])
    again, content_again = cached("small", build, [tmp_path])
    assert build.calls == 1
    assert isinstance(again.images, np.memmap)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (again.class_names, again.n_search) == (("cat", "ébène"), 2)
    assert content == content_again
    assert cached("other", build, [tmp_path])[0].n_search == 2
    assert build.calls == 2


def flip_last_byte(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)


def rename_a_class(file: Path) -> None:
    stored = json.loads(file.read_text())
    stored["content"]["class_names"][0] = "dog"
    file.write_text(json.dumps(stored))


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "bit flipped": ("*.images.npy", flip_last_byte),
    "labels flipped": ("*.labels.npy", flip_last_byte),
    "truncated": ("*.images.npy", lambda file: os.truncate(file, 140)),
    "empty": ("*.images.npy", lambda file: os.truncate(file, 0)),
    "absent": ("*.images.npy", Path.unlink),
    "other names": ("*.json", rename_a_class),
    "no JSON": ("*.json", lambda file: file.write_text("{")),
    "other JSON": ("*.json", lambda file: file.write_text("[1]")),
    "pickled objects": ("*.labels.npy", lambda file: np.save(file, np.array([{}], dtype=object))),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_built_again(tmp_path: Path, damage: str) -> None:
    build = Builder()
    whole, _ = cached("small", build, [tmp_path])
    pattern, spoil = DAMAGES[damage]
    spoil(only(tmp_path, pattern))
    repaired, _ = cached("small", build, [tmp_path])
    assert build.calls == 2
    np.testing.assert_array_equal(repaired.images, build().images)
    assert repaired.class_names == whole.class_names
    cached("small", build, [tmp_path])
    assert build.calls == 3, "the repaired files are read (the third call is the line above)"


def test_another_format_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Builder()
    cached("small", build, [tmp_path])
    monkeypatch.setattr(cache_module, "FORMAT", cache_module.FORMAT + 1)
    cached("small", build, [tmp_path])
    assert build.calls == 2


def test_the_next_folder_serves_when_the_first_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    build = Builder()
    for _ in range(2):
        cached("small", build, [blocked / "cache", tmp_path / "second"])
    assert build.calls == 1
    assert writable([blocked / "cache", tmp_path / "second"]) == tmp_path / "second"


def test_without_a_writable_folder_the_data_stay_in_memory(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    prepared, content = cached("small", Builder(), [blocked / "cache"])
    assert prepared.images.shape == (3, 1, 2, 2)
    assert content == cached("small", Builder(), [tmp_path / "free"])[1]


def test_a_full_disk_leaves_no_half_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    prepared, _ = cached("small", Builder(), [tmp_path])
    assert len(prepared.labels) == 3
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_when_building_fails(tmp_path: Path) -> None:
    def fails() -> Prepared:
        raise ValueError("bad file")

    with pytest.raises(ValueError, match="bad file"):
        cached("small", fails, [tmp_path / "cache"])
    assert not (tmp_path / "cache").exists()


def test_folders_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.delenv("LAMSEARCH_CACHE", raising=False)
    assert cache_folders()[0] == Path("/xdg/lamsearch")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folders()[0] == Path("/home/me/.cache/lamsearch")
    monkeypatch.setenv("LAMSEARCH_CACHE", "/named")
    assert cache_folders()[0] == Path("/named")
    assert cache_folders(tmp_path)[0] == tmp_path
    assert cache_folders()[-1].parent == Path(tempfile.gettempdir())


def test_a_temporary_folder_of_somebody_else_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "lamsearch-0").mkdir()
    os.chmod(tmp_path / "lamsearch-0", 0o777)
    build = Builder()
    for _ in range(2):
        cached("small", build, [tmp_path / "lamsearch-0"])
    assert build.calls == 2
    os.chmod(tmp_path / "lamsearch-0", 0o700)
    for _ in range(2):
        cached("small", build, [tmp_path / "lamsearch-0"])
    assert build.calls == 3
