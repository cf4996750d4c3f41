"""The measured edge error: by hand where it can be, and what it is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hfd_edge.errors import GridError, PackageError, SpecError
from hfd_edge.measure.edge_error import edge_error, edge_error_of_scene
from hfd_edge.measure.seams import SeamStudy
from hfd_edge.measure.tiling import stitched_logits, whole_request
from hfd_edge.package import Package
from hfd_edge.package.again import write_again
from hfd_edge.plan import PlanRequest
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from hfd_edge.spec import ModelSpec
from tests.engines import levels_engine, make_spec, random_engine

SPEC = make_spec(1, 2, 4, 4, 12)


def sums_above(batch: np.ndarray) -> np.ndarray:
    """Per cell of 4 x 4 pixels its first pixel, and the sum of the first pixels of the cells one, two and three above it; nothing
    comes from the other sides."""
    first = batch[0, 0, ::4, ::4].astype(np.float64)
    padded = np.vstack([np.zeros((3, first.shape[1])), first])
    above = sum(padded[k:k + len(first)] for k in range(3))
    return np.stack([first + above, -first - above])[np.newaxis]


def test_the_error_of_a_network_that_looks_up_is_counted_by_hand():
    """Only the upper end cuts anything off: 3, 2, 1 cells at distances 0, 1, 2. A quarter of it, for four ends count alike."""
    pixels = np.ones((1, 48, 48), np.float32)
    found = edge_error(sums_above, [(pixels, np.zeros((48, 48), np.uint8))], SPEC)
    assert found.values == (9 / 4, 4 / 4, 1 / 4) and found.mean_square == 16 and found.patches == 1
    assert found.cells == 4 * 6
    holes = np.zeros((48, 48), np.uint8)
    holes[:, :30] = 1
    assert edge_error(sums_above, [(pixels, holes)], SPEC).cells < found.cells


def test_what_all_classes_share_is_no_error():
    def shifted(batch):
        logits = sums_above(batch)
        return np.stack([logits[0, 0], logits[0, 0]])[np.newaxis]
    assert edge_error(shifted, [(np.ones((1, 48, 48), np.float32), np.zeros((48, 48), np.uint8))], SPEC).values == (0.0,)


def test_small_or_empty_patches_and_networks_without_halo_are_refused():
    small = np.ones((1, 32, 32), np.float32), np.zeros((32, 32), np.uint8)
    with pytest.raises(GridError, match="0 patches.*larger scene"):
        edge_error(sums_above, [small], SPEC)
    with pytest.raises(GridError, match="1 patches"):
        edge_error(sums_above, [(np.ones((1, 48, 48), np.float32), np.ones((48, 48), np.uint8))], SPEC)
    with pytest.raises(GridError, match="exact halo is 0"):
        edge_error(sums_above, [small], make_spec(1, 2, 4, 4, 0))


def test_the_profile_falls_from_the_end_inwards_and_precision_uses_it(tmp_path):
    path, scene = random_engine(tmp_path / "a.engine"), np.random.default_rng(0).normal(size=(2, 400, 420)).astype(np.float32)
    found = edge_error_of_scene(path, ArraySource(scene, 2), SourceRadiometry("dn"))
    assert len(found.values) <= 10 and found.values[0] > 10 * found.values[-1] > 0
    with Package.open(path) as package:
        write_again(package, tmp_path / "b.engine", replace(package.spec, edge_error=found.values), {"edge_error": found.to_dict()})
    with Segmenter(tmp_path / "b.engine") as segmenter:
        assert segmenter.spec.edge_error == found.values
        whole = stitched_logits(segmenter, scene, whole_request(segmenter, 400, 420))
        errors = {mode: float(np.mean((stitched_logits(segmenter, scene, PlanRequest(tile=96, halo=16, stitch=mode)) - whole) ** 2))
                  for mode in ("crop", "precision", "hann", "gaussian", "constant")}
        study = SeamStudy.of(segmenter, scene, "dn")
        crop, precision = (study.measure(PlanRequest(tile=96, halo=24, stitch=mode)).whole.flips for mode in ("crop", "precision"))
    assert min(errors, key=errors.get) == "precision", errors
    assert crop > 20 and precision < crop / 4, "crop's up-sampling reads a logit of the halo, precision the neighbour's"


def test_a_graph_of_one_size_is_measured_with_two_tiles_of_it(tmp_path):
    scene = np.random.default_rng(0).normal(size=(2, 400, 420)).astype(np.float32)
    open_ = random_engine(tmp_path / "a.engine", tile_px=128)
    fixed = random_engine(tmp_path / "b.engine", tile_px=128, fixed_tile=True)
    first, second = (edge_error_of_scene(path, ArraySource(scene, 2), SourceRadiometry("dn")) for path in (open_, fixed))
    np.testing.assert_allclose(first.values, second.values, rtol=0.2, atol=0.01 * first.values[0])


def test_a_package_written_again_is_the_same_but_for_its_spec(tmp_path):
    path = levels_engine(tmp_path / "a.engine")
    with Package.open(path) as package:
        write_again(package, tmp_path / "b.engine", package.spec, {})
        with pytest.raises(PackageError, match="exists"):
            write_again(package, tmp_path / "b.engine", package.spec, {})
    assert (tmp_path / "b.engine").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("values", [(), (1.0,) * 4, (float("nan"),), (-1.0,)])
def test_a_profile_that_cannot_be_is_refused(values):
    with pytest.raises(SpecError, match="edge_error"):
        replace(SPEC, edge_error=values)


def test_old_packages_have_no_profile_and_say_nothing_of_it():
    record = SPEC.to_dict()
    assert "edge_error" not in record and ModelSpec.from_dict(record) == SPEC
    measured = replace(SPEC, edge_error=(2.0, 1.0))
    assert ModelSpec.from_dict(measured.to_dict()) == measured
