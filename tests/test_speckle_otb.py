"""Lee, Kuan, Gamma-MAP and Frost against Orfeo ToolBox, which knows no nodata and ends every window at the nearest pixel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hfd_edge import speckle
from tests.rasters import write_tif
from tests.reference_speckle import gamma_map as exact_gamma_map

OTB = shutil.which("otbcli_Despeckle")
pytestmark = [pytest.mark.skipif(OTB is None, reason="Orfeo ToolBox is not installed (Debian: apt-get install otb-bin)"),
              pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")]


def by_otb(image: np.ndarray, folder: Path, name: str, *words: str) -> np.ndarray:
    path, out = write_tif(folder / "in.tif", image[np.newaxis]), folder / "out.tif"
    subprocess.run([OTB, "-in", path, "-filter", name, *words, "-out", out, "float"], check=True, capture_output=True)
    with rasterio.open(out) as dataset:
        return dataset.read(1)


@pytest.fixture(scope="module")
def image():
    """300 x 256 with an edge, zeros and a bright point."""
    image = np.random.default_rng(0).gamma(4.4, 0.05 / 4.4, (300, 256)).astype(np.float32)
    image[:, 128:] *= 4
    image[100:120, 50:80] = 0
    image[200, 200] *= 50
    return image


@pytest.mark.parametrize("radius", [1, 3, 5])
@pytest.mark.parametrize("name", ["lee", "kuan", "gamma_map", "frost"])
def test_orfeo_toolbox_gives_the_same(image, tmp_path, name, radius):
    key = name.replace("_", "")
    numbers = ("deramp", "2") if name == "frost" else ("nblooks", "4.4")
    theirs = by_otb(image, tmp_path, key, f"-filter.{key}.rad", str(radius), f"-filter.{key}.{numbers[0]}", numbers[1])
    looks = None if name == "frost" else 4.4
    ours = getattr(speckle, name)(image, looks=looks, radius=radius, border="nearest")
    scale, compared = np.abs(theirs), np.ones(image.shape, bool)
    if name == "gamma_map":
        scale = speckle.boxcar(image, radius=radius, border="nearest")
        compared = exact_gamma_map(image, np.ones(image.shape, bool), 4.4, radius, "nearest")[1] > 1e-4
        assert compared.mean() > 0.99
    tolerance = 4e-5 if name == "frost" else 2e-5          # 2.0e-5 beside the zeros, where the weights fall to nothing
    assert np.all(np.abs(ours - theirs)[compared] <= tolerance * scale[compared] + 1e-30)


def test_the_test_sees_another_number_of_looks(image, tmp_path):
    theirs = by_otb(image, tmp_path, "lee", "-filter.lee.rad", "3", "-filter.lee.nblooks", "4.4")
    assert np.max(np.abs(speckle.lee(image, looks=4.41, border="nearest") - theirs) / (theirs + 1e-9)) > 2e-4
