"""Files and folders of another user: an error of ours that names them, whatever was to be done with them."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from hfd_edge import Mosaic
from hfd_edge.errors import RasterError
from hfd_edge.products import SceneRequest, open_scene
from hfd_edge.raster.output import check_output
from hfd_edge.segmenter import Segmenter
from tests.rasters import ramp, write_tif

NOBODY = 65534


@contextmanager
def as_nobody():
    """Root may read everything: of root's files another user stands for whoever may not. What is imported by then stays so."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def folder():
    """Where every user may go, unlike pytest's own folders, with what none but its owner may read or, if that is us, nobody."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    scene = write_tif(made / "open.tif", ramp(), tags={"HFD_UNIT": "intensity"})
    scene.chmod(0o644)
    (made / "shut").mkdir()
    for name in ("shut.tif", "shut.h5", "shut.ntf", "shut/scene.tif", "shut/product.xml"):
        shutil.copy(scene, made / name)
        (made / name).chmod(0)
    (made / "link.tif").symlink_to(made / "shut" / "map.tif")
    with open_scene(scene, SceneRequest()):                     # imports what it needs
        check_output(made / "a.tif", False)
    (made / "shut").chmod(0)
    yield made
    (made / "shut").chmod(0o755)
    shutil.rmtree(made)


@pytest.mark.parametrize("name", ["shut.tif", "shut.h5", "shut.ntf", "shut/scene.tif", "shut", "shut/product.xml"])
def test_a_scene_that_may_not_be_read_is_refused_by_name(folder, name):
    """It was a PermissionError of Python's, which `except HfdError` lets through."""
    with as_nobody(), pytest.raises(RasterError, match=f"{folder / name}.* cannot be read.*Permission denied.*check its permissions"):
        open_scene(folder / name, SceneRequest())


@pytest.mark.parametrize("name", ["shut.tif", "shut/scene.tif", "shut"])
def test_a_tile_of_a_mosaic_that_may_not_be_read_is_refused_by_name(folder, name):
    with as_nobody(), pytest.raises(RasterError, match=f"{folder / name} cannot be read: Permission denied; check its permissions"):
        open_scene(Mosaic(folder / name))


@pytest.mark.parametrize("name", ["shut/map.tif", "link.tif"])
def test_a_map_where_this_user_may_not_go_is_refused_by_name(folder, name):
    with as_nobody(), pytest.raises(RasterError, match=f"{folder / name} cannot be written: Permission denied; change the permissions"):
        check_output(folder / name, overwrite=True)


def test_a_result_is_not_saved_where_this_user_may_not_go(folder, db_engine):
    power = np.random.default_rng(0).gamma(4.4, 0.01, (2, 20, 30)).astype(np.float32)
    with Segmenter(db_engine, threads=1) as seg:
        result = seg.run(power, unit="intensity")
    for name in ("a.npy", "a.tif"):
        with as_nobody(), pytest.raises(RasterError, match="Permission denied"):
            result.save(folder / "shut" / name)
