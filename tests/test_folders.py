"""Folders of the user's images: what is read, and what is refused before it is decoded."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamsearch import cache, folders
from lamsearch.cache import Prepared
from lamsearch.config import DataConfig
from lamsearch.datasets import load
from lamsearch.errors import InputError
from lamsearch.folders import images_in


def picture(path: Path, value: int = 0, *, mode: str = "L", size: tuple[int, int] = (4, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for number in range(3):
        picture(tmp_path / "pets" / "dog" / f"{number}.png", number)
        picture(tmp_path / "pets" / "cat" / f"{number}.png", 10 + number)
    return tmp_path / "pets"


def built(root: Path) -> Prepared:
    return images_in(root)[1]()


def refusal(root: Path) -> str:
    with pytest.raises(InputError, match="folder:") as raised:
        built(root)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_classes_are_subfolders_in_the_order_of_their_names(pets: Path) -> None:
    prepared = built(pets)
    assert prepared.class_names == ("cat", "dog")
    assert prepared.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert prepared.images.shape == (6, 1, 3, 4)
    assert prepared.images.dtype == np.float32
    np.testing.assert_allclose(prepared.images[:, 0, 0, 0], np.array([10, 11, 12, 0, 1, 2]) / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("suffix", ["png", "PNG", "jpg", "jpeg", "bmp", "gif", "webp"])
def test_formats(pets: Path, suffix: str) -> None:
    for file in pets.rglob("*.png"):
        image = Image.open(file).convert("RGB")
        file.unlink()
        image.save(file.with_suffix(f".{suffix}"))
    assert built(pets).images.shape == (6, 3, 3, 4)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("LA", 1), ("P", 3), ("RGBA", 3)])
def test_modes(tmp_path: Path, mode: str, channels: int) -> None:
    picture(tmp_path / "a" / "x.png", mode=mode)
    assert built(tmp_path).images.shape == (1, channels, 3, 4)


def test_hidden_files_and_folders_are_ignored(pets: Path) -> None:
    (pets / ".ipynb_checkpoints").mkdir()
    (pets / "cat" / ".DS_Store").write_text("x")
    (pets / "README.txt").write_text("x")
    assert len(built(pets).labels) == 6


def test_all_bad_files_are_listed_at_once(pets: Path, tmp_path: Path) -> None:
    (pets / "cat" / "notes.txt").write_text("x")
    (pets / "cat" / "empty.png").touch()
    for suffix in ("png", "jpg", "bmp", "gif", "webp"):
        file = pets / "dog" / f"half.{suffix}"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
        os.truncate(file, file.stat().st_size // 2)
    (pets / "dog" / "evil.svg").write_text("<svg/>")
    Image.new("L", (4, 3)).save(pets / "dog" / "tiff.png", format="TIFF")
    Image.new("I;16", (4, 3)).save(pets / "dog" / "deep.png")
    (pets / "dog" / "more").mkdir()
    os.mkfifo(pets / "dog" / "pipe.png")
    (pets / "dog" / "broken.png").symlink_to("nowhere.png")
    picture(pets / "loose.png")
    message = refusal(pets)
    assert "14 files that cannot be used" in message
    for part in (
        *("'cat/notes.txt' is none of .bmp", "'cat/empty.png' is no intact image"),
        *(f"'dog/half.{suffix}' is no intact image" for suffix in ("png", "jpg", "bmp", "gif", "webp")),
        *("'dog/evil.svg' is none of", "'dog/tiff.png' is no intact image", "'dog/deep.png' has pixels of mode I;16"),
        *("'dog/more' is a folder inside", "'dog/pipe.png' is no regular file", "'dog/broken.png' is no regular file"),
        "'loose.png' lies in no class folder",
    ):
        assert part in message


def test_long_lists_are_cut(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LISTED", 2)
    for number in range(5):
        (pets / "cat" / f"{number}.txt").touch()
    assert refusal(pets).endswith("'cat/1.txt' is none of .bmp, .gif, .jpeg, .jpg, .png, .webp; and 3 more")


def test_names_cannot_break_the_line(pets: Path) -> None:
    (pets / "cat" / "a\n\x1b[31m.txt").touch()
    assert r"cat/a\n\x1b[31m.txt" in refusal(pets)


def test_links_out_of_the_folder_are_refused(pets: Path, tmp_path: Path) -> None:
    picture(tmp_path / "secret" / "x.png")
    (pets / "cat" / "link.png").symlink_to(tmp_path / "secret" / "x.png")
    (pets / "linked").symlink_to(tmp_path / "secret")
    message = refusal(pets)
    assert "'cat/link.png' is a link that leaves the folder" in message
    assert "'linked' is a link that leaves the folder" in message


def test_links_within_the_folder_and_to_it_are_followed(pets: Path, tmp_path: Path) -> None:
    (pets / "cat" / "link.png").symlink_to(pets / "dog" / "0.png")
    (tmp_path / "elsewhere").symlink_to(pets)
    assert len(built(tmp_path / "elsewhere").labels) == 7


def png_bomb(side: int) -> bytes:
    """A PNG of a few kB that unpacks to side² pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [2001, 12_000, 60_000])
def test_pixels_are_counted_before_they_are_unpacked(pets: Path, side: int) -> None:
    (pets / "cat" / "bomb.png").write_bytes(png_bomb(side))
    message = refusal(pets)
    assert "'cat/bomb.png'" in message
    assert f"has {side}×{side} pixels" in message or "decompression bomb" in message


def test_different_shapes(pets: Path) -> None:
    picture(pets / "cat" / "wide.png", size=(9, 3))
    picture(pets / "dog" / "red.png", mode="RGB")
    message = refusal(pets)
    assert "bring them to the usual 4×3 grey: 'cat/wide.png' 9×3 grey; 'dog/red.png' 4×3 colour" in message


def test_too_many_images_for_memory(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 100)
    assert refusal(pets).endswith("may be taken; use fewer or smaller images")


def test_a_class_without_images_is_named(pets: Path, tmp_path: Path) -> None:
    (pets / "owl").mkdir()
    with pytest.raises(InputError, match="no image of class 'owl'"):
        load(DataConfig(source=f"folder:{pets}"), seed=0, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists(), "nothing is written for bad input"


def test_no_folder(tmp_path: Path) -> None:
    assert "name a folder with one subfolder per class" in refusal(tmp_path / "absent")
    (tmp_path / "file").touch()
    assert "cannot be read" in refusal(tmp_path / "file")


def test_no_subfolders(tmp_path: Path) -> None:
    assert "has no subfolders" in refusal(tmp_path)


def test_a_changed_image_is_read_again(pets: Path, tmp_path: Path) -> None:
    config = DataConfig(source=f"folder:{pets}", test_share=0.5)
    first = load(config, seed=0, cache=tmp_path / "cache")
    assert load(config, seed=0, cache=tmp_path / "cache").fingerprint == first.fingerprint
    picture(pets / "cat" / "0.png", 200)
    assert load(config, seed=0, cache=tmp_path / "cache").fingerprint != first.fingerprint
