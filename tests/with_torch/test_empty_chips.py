"""Calibration data of many chips: one without a valid pixel is left out by name and stops nothing."""

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from hfd_edge.errors import ExportError  # noqa: E402
from hfd_edge.export.build_graphs import GraphPlan  # noqa: E402
from hfd_edge.export.foreign import ForeignOptions, package_foreign  # noqa: E402
from hfd_edge.export.parity import Thresholds  # noqa: E402
from hfd_edge.raster_run import RasterOptions  # noqa: E402
from tests.foreign_networks import unet  # noqa: E402
from tests.rasters import write_tif  # noqa: E402
from tests.test_scene_vector import SPEC, told_network  # noqa: E402

FILTER = "floor: -35, speckle_filter: lee_sigma, filter_radius: 3, filter_looks: 4.4,"


def chips(folder, kinds):
    rng = np.random.default_rng(0)
    for number, kind in enumerate(kinds):
        pixels = rng.gamma(4.4, 0.02, (2, 260, 250)).astype(np.float32)
        write_tif(folder / f"chip{number}.tif", pixels if kind == "lit" else np.full_like(pixels, np.nan))
    return folder


@pytest.mark.parametrize("told", [True, False])
def test_a_chip_without_a_valid_pixel_is_left_out_of_calibration_and_gate_and_named(tmp_path, told):
    (tmp_path / "in").mkdir()
    onnx.save(told_network() if told else unet(), tmp_path / "net.onnx")
    description = SPEC if told else SPEC.replace("scene_percentiles: [2, 50, 98]\n", "").replace("floor: -35,", FILTER)
    (tmp_path / "net.yaml").write_text(description)
    files = tmp_path / "net.onnx", tmp_path / "net.yaml", tmp_path / "net.engine"
    plan = GraphPlan((chips(tmp_path / "in", ["lit", "dark", "lit", "dark", "lit"]),), precisions=("fp32", "fp16"),
                     targets=("cpu", "tensorrt"), thresholds=Thresholds(min_pixels=1000), declared=RasterOptions(unit="intensity"))
    report = package_foreign(*files, ForeignOptions(plan=plan, report=tmp_path / "report"))
    assert "2 of 5 scenes left out, not one of their pixels is valid: chip1.tif, chip3.tif" in report.gate
    chips(tmp_path / "in", ["dark"] * 5)
    with pytest.raises(ExportError, match="chip0.tif, chip1.tif, .*: not one pixel is valid.*give other scenes") as refused:
        package_foreign(*files, ForeignOptions(plan=plan, overwrite=True))
    assert "allow" not in str(refused.value)
