"""Loading a study's data: the digits, test sets, subsets, fingerprints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lamsearch.config import DataConfig
from lamsearch.datasets import DataSet, load
from lamsearch.errors import InputError


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def digits(cache: Path, *, seed: int = 0, n: int = 0, test_share: float = 0.2) -> DataSet:
    return load(DataConfig(n=n, test_share=test_share), seed=seed, cache=cache)


def arrays(path: Path, labels: list[int], **more: np.ndarray) -> DataConfig:
    images = np.arange(len(labels) * 4, dtype=np.uint8).reshape(-1, 2, 2)
    np.savez(path, images=images, labels=np.array(labels), **more)
    return DataConfig(source=f"npz:{path}")


def test_digits_are_torchs_bilinear_upscaling(cache: Path) -> None:
    import torch
    from sklearn.datasets import load_digits
    from torch.nn.functional import interpolate

    raw = load_digits()
    large = interpolate(torch.tensor(raw.images)[:, None], scale_factor=2, mode="bilinear", align_corners=False)
    data = digits(cache)
    assert data.shape == (1, 16, 16)
    assert data.images.dtype == np.float32
    np.testing.assert_array_equal(data.images, large.numpy() / 8 - 1)
    np.testing.assert_array_equal(data.labels, raw.target)
    assert data.class_names == tuple("0123456789")


def test_digits_are_the_same_on_every_machine(cache: Path) -> None:
    """A changed fingerprint would make workers refuse studies that are under way: raise cache.FORMAT then."""
    assert digits(cache).fingerprint == "893482912693ba21091629e3b53919d1b4ef1eef68d0a2a01fd6d83ea6c3bf0f"


def test_a_warm_load_imports_no_heavy_library_and_is_quick(cache: Path) -> None:
    digits(cache)
    code = (
        "import sys, time; from pathlib import Path; from lamsearch.config import DataConfig; "
        "from lamsearch.datasets import load; started = time.perf_counter(); "
        f"load(DataConfig(), seed=0, cache=Path({str(cache)!r})); print(time.perf_counter() - started); "
        "print(*(name for name in ('sklearn', 'scipy', 'torch', 'PIL') if name in sys.modules))"
    )
    seconds, heavy = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert heavy == ""
    assert float(seconds) < 0.5  # 0.003 alone on a machine; it may be busy with other tests


def test_the_test_set_is_stratified_disjoint_and_drawn_by_the_seed(cache: Path) -> None:
    data, other = digits(cache), digits(cache, seed=1)
    assert len(data.test) == round(0.2 * 1797)
    np.testing.assert_array_equal(np.sort(np.concatenate([data.search, data.test])), np.arange(1797))
    share = np.bincount(data.labels[data.test]) / np.bincount(data.labels)
    assert np.abs(share - 0.2).max() < 0.01
    assert set(data.test) != set(other.test)
    assert len(digits(cache, test_share=0.5).test) == round(0.5 * 1797)


def test_a_subset_leaves_the_test_set_alone(cache: Path) -> None:
    data, whole = digits(cache, n=200), digits(cache)
    assert len(data.search) == 200
    assert set(data.search) < set(whole.search)
    np.testing.assert_array_equal(data.test, whole.test)
    assert np.bincount(data.labels[data.search]).min() >= 19


def test_a_subset_larger_than_the_data(cache: Path) -> None:
    with pytest.raises(InputError, match=r"data\.n = 1439: digits has only 1438 images to search"):
        digits(cache, n=1439)


def test_the_fingerprint_covers_images_labels_names_and_indices(cache: Path, tmp_path: Path) -> None:
    base = [0, 1] * 5
    sets = [
        load(config, seed=seed, cache=cache)
        for config, seed in [
            (arrays(tmp_path / "a.npz", base), 0),
            (arrays(tmp_path / "b.npz", base[::-1]), 0),
            (arrays(tmp_path / "c.npz", base, class_names=np.array(["cat", "dog"])), 0),
            (arrays(tmp_path / "d.npz", base), 1),
            (arrays(tmp_path / "e.npz", base).model_copy(update={"n": 4}), 0),
            (arrays(tmp_path / "f.npz", [*base, 0]), 0),
        ]
    ]
    assert len({data.fingerprint for data in sets}) == len(sets)
    again = load(arrays(tmp_path / "g.npz", base), seed=0, cache=tmp_path / "elsewhere")
    assert again.fingerprint == sets[0].fingerprint, "neither file name nor cache may matter"


def test_images_are_writable_memory_that_does_not_reach_the_file(cache: Path) -> None:
    data = digits(cache)
    data.images[0] = 7
    assert digits(cache).images[0].max() <= 1


def test_unknown_source(cache: Path) -> None:
    with pytest.raises(InputError, match=r"data\.source = 'cifar': no such data set; did you mean 'cifar10\d?'\?"):
        load(DataConfig(source="cifar"), seed=0, cache=cache)
    with pytest.raises(InputError, match="'folder:': no such data set"):
        load(DataConfig(source="folder:"), seed=0, cache=cache)


def test_a_class_without_images_is_named(cache: Path, tmp_path: Path) -> None:
    config = arrays(tmp_path / "gap.npz", [0, 1, 3, 3])
    with pytest.raises(InputError, match="no image of class '2'; add some"):
        load(config, seed=0, cache=cache)


def test_one_class_is_nothing_to_learn(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 2"):
        load(arrays(tmp_path / "one.npz", [0, 0, 0]), seed=0, cache=cache)
