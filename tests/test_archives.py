"""Published data sets, from small archives in their real formats, read by the real code."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from lamsearch import archives
from lamsearch.archives import read_idx
from lamsearch.config import DataConfig
from lamsearch.datasets import DataSet, load
from lamsearch.errors import InputError

CLASSES = ["airplane", "automobile", "bird"]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of archives; no test reaches the network."""

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setenv("LAMSEARCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(archives, "DEBIAN_FOLDER", tmp_path / "no-debian")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def loaded(name: str, root: Path) -> DataSet:
    return load(DataConfig(source=name), seed=0, cache=root.parent / "cache")


def refusal(name: str, root: Path) -> str:
    with pytest.raises(InputError, match=name) as raised:
        loaded(name, root)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def batch(seed: int, n: int) -> dict[str, object]:
    """One pickled CIFAR batch: rows of 3,072 bytes, all red, then all green, then all blue, row by row."""
    data = np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)
    return {"data": data, "labels": [number % 3 for number in range(n)], "batch_label": "x", "filenames": ["x"] * n}


@pytest.fixture
def cifar(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small ``cifar-10-python.tar.gz`` in the real format, with its checksums in place of the real ones."""
    source = tmp_path / "cifar-10-batches-py"
    source.mkdir()
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for seed, name in enumerate(names):
        (source / name).write_bytes(pickle.dumps(batch(seed, 6), protocol=2))
    (source / "batches.meta").write_bytes(pickle.dumps({"label_names": CLASSES, "num_vis": 3072}, protocol=2))
    archive = root / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source, arcname=source.name)
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[name, md5(source / name)] for name in names[:5]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [[name, md5(source / name)] for name in names[5:]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(source / "batches.meta")}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(archive))
    return archive


def test_cifar10_from_its_archive(cifar: Path, root: Path) -> None:
    data = loaded("cifar10", root)
    assert data.shape == (3, 32, 32)
    assert data.class_names == tuple(CLASSES)
    assert data.search.tolist() == list(range(30))
    assert data.test.tolist() == list(range(30, 36))
    assert data.labels.tolist() == [0, 1, 2] * 12
    first = np.asarray(batch(0, 6)["data"])[0].reshape(3, 32, 32)
    np.testing.assert_allclose(data.images[0], first / 127.5 - 1, atol=1e-6)
    last = np.asarray(batch(5, 6)["data"])[5].reshape(3, 32, 32)
    np.testing.assert_allclose(data.images[35], last / 127.5 - 1, atol=1e-6)


def test_cifar10_from_the_unpacked_folder(cifar: Path, root: Path) -> None:
    with tarfile.open(cifar) as tar:
        tar.extractall(root, filter="data")
    cifar.unlink()
    assert len(loaded("cifar10", root).labels) == 36


def test_once_prepared_the_archive_is_not_needed(cifar: Path, root: Path) -> None:
    first = loaded("cifar10", root)
    cifar.unlink()
    assert loaded("cifar10", root).fingerprint == first.fingerprint


def test_a_truncated_archive_is_named(cifar: Path, root: Path) -> None:
    cifar.write_bytes(cifar.read_bytes()[:-100])
    message = refusal("cifar10", root)
    assert f"truncated or altered download: {cifar} has md5" in message
    assert "put https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz there" in message


def test_a_foreign_pickle_is_never_opened(cifar: Path, root: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for name, _ in [*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list]:
        (folder / name).write_bytes(pickle.dumps(Bomb()))
    cifar.unlink()
    refusal("cifar10", root)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "archive", "where"),
    [
        ("cifar10", "cifar-10-python.tar.gz (md5 c58f30108f718f92721af3b95e74349a)", "data"),
        ("cifar100", "cifar-100-python.tar.gz (md5 eb9058c3a382ffc7106e4002c42a8d85)", "data"),
        ("fashion-mnist", "train-images-idx3-ubyte.gz (md5 8d4fb7e6c68d591d4c3dfef9ec88bf0d)", "data/FashionMNIST/raw"),
        ("svhn", "train_32x32.mat (md5 e26dedcc434d2e4c54c9b2d4a06d8373)", "data"),
    ],
)
def test_without_network_it_says_which_archive_belongs_where(root: Path, name: str, archive: str, where: str) -> None:
    message = refusal(name, root)
    assert f"{name}: not in {root.parent / where} and no download" in message
    assert archive in message
    assert "LAMSEARCH_DATA" in message
    assert ("dataset-fashion-mnist" in message) == (name == "fashion-mnist")


def idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def fashion(root: Path) -> Path:
    folder = root / "fashion-mnist"
    for part, n in (("train", 30), ("t10k", 10)):
        images = np.random.default_rng(n).integers(0, 256, (n, 28, 28), dtype=np.uint8)
        idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(n) % 10)
    return folder


def test_fashion_mnist_from_idx_files(fashion: Path, root: Path) -> None:
    data = loaded("fashion-mnist", root)
    assert data.shape == (1, 28, 28)
    assert data.class_names[-1] == "Ankle boot"
    assert (len(data.search), len(data.test)) == (30, 10)
    raw = np.random.default_rng(10).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    np.testing.assert_allclose(data.images[30:, 0], raw / 127.5 - 1, atol=1e-6)
    assert data.labels[data.test].tolist() == list(range(10))


def test_fashion_mnist_from_torchvisions_folder(fashion: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idx_set = loaded("fashion-mnist", root)
    raw = root / "FashionMNIST" / "raw"
    raw.parent.mkdir()
    fashion.rename(raw)
    monkeypatch.setattr(datasets.FashionMNIST, "resources", [(file.name, md5(file)) for file in sorted(raw.iterdir())])
    data = loaded("fashion-mnist", root)
    assert data.fingerprint == idx_set.fingerprint, "both ways give the same data"


@pytest.mark.parametrize("keep", [0, 5, -10])
def test_a_truncated_idx_file_is_named(fashion: Path, root: Path, keep: int) -> None:
    file = fashion / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:keep])
    message = refusal("fashion-mnist", root)
    assert str(file) in message
    assert "put an intact copy there" in message


def test_idx_files_that_do_not_belong_together(fashion: Path, root: Path) -> None:
    idx(fashion / "t10k-labels-idx1-ubyte.gz", np.arange(9))
    assert "do not belong together" in refusal("fashion-mnist", root)


@pytest.mark.parametrize("raw", [b"", b"\0\0\x08\x01", b"\0\0\x08\x01\0\0\0\x05abcd", b"\0\0\x0d\x01\0\0\0\x01abcd"])
def test_no_idx_file(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(raw))
    with pytest.raises(InputError, match=r"x\.gz: not an IDX file of bytes with 1 axes"):
        read_idx(tmp_path / "x.gz", 1)


def test_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
    for part in ("train", "test"):
        savemat(root / f"{part}_32x32.mat", {"X": pixels, "y": (np.arange(20) % 10 + 1).astype(np.uint8)[:, None]})
    entries = {
        part: ["http://host", f"{part}_32x32.mat", md5(root / f"{part}_32x32.mat")] for part in ("train", "test")
    }
    monkeypatch.setattr(datasets.SVHN, "split_list", entries)
    data = loaded("svhn", root)
    assert data.labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    np.testing.assert_allclose(data.images[3], pixels[:, :, :, 3].transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


def test_debians_fashion_mnist() -> None:
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    images = read_idx(folder / "t10k-images-idx3-ubyte.gz", 3)
    labels = read_idx(folder / "t10k-labels-idx1-ubyte.gz", 1)
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(labels).tolist() == [1000] * 10
