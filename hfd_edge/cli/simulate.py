"""`hfd-edge simulate`: a SAR scene with its truth, of any size."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hfd_edge.cli.options import QuietOption
from hfd_edge.cli.report import print_json, print_lines, progress_bar
from hfd_edge.spec import NODATA_LABEL, Unit

if TYPE_CHECKING:
    from hfd_edge.simulate import SceneConfig, SceneWindow

CALIBRATION_FACTOR = 1e-6                   # of amplitude products: sigma0 = CF DN^2
_EAST, _NORTH, _ROW_OF_PLACES = 500_000.0, 5_300_000.0, 1_000_000.0           # metres in a UTM zone


class Product(str, Enum):
    """The forms in which a SAR product may hold a scene."""

    LINEAR = "linear"
    DB = "db"
    AMPLITUDE = "amplitude"
    COMPLEX = "complex"


def simulate(  # an option of the command line is an argument here: more than six are meant
    folder: Annotated[Path, typer.Argument(metavar="FOLDER",
                                           help="Made if it is not there; gets scene.tif, truth.tif and eo.tif.")],
    rows: Annotated[int, typer.Option(help="Height in pixels.")] = 2048,
    cols: Annotated[int, typer.Option(help="Width in pixels.")] = 2048,
    seed: Annotated[int, typer.Option(help="Another seed is other ground in another place; the same one the same pixels.")] = 0,
    looks: Annotated[float | None, typer.Option(help="Equivalent number of looks; default 4.4, for complex 1.")] = None,
    product: Annotated[Product, typer.Option(help="What scene.tif holds.")] = Product.LINEAR,
    border: Annotated[int, typer.Option(help="Widest extent of the nodata wedges at both sides, in pixels.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    quiet: QuietOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as one line of JSON.")] = False,
) -> None:
    """Simulate a SAR scene with its truth and an optical image of the same ground, streamed.

    hfd-edge simulate scene1 --rows 4096 --cols 4096 --seed 7 --product db
    """
    from hfd_edge.raster import made_folder
    from hfd_edge.simulate import SceneConfig

    looks = looks if looks is not None else 1.0 if product is Product.COMPLEX else 4.4
    config = SceneConfig(rows, cols, seed=seed, looks=looks, border_px=border)
    with made_folder(folder), progress_bar("simulating", quiet or as_json) as progress:
        write_scene(folder, config, product, overwrite=overwrite, progress=progress)
    files = {name: str(folder / f"{name}.tif") for name in ("scene", "truth", "eo")}
    if as_json:
        print_json({"rows": rows, "cols": cols, "seed": seed, "looks": looks, "product": product.value, **files})
    elif not quiet:
        print_lines({"pixels": f"{rows} x {cols}, seed {seed}, {looks:g} looks", "product": product.value, **files})


def write_scene(folder: Path, config: SceneConfig, kind: Product = Product.LINEAR, *, eo: bool = True, overwrite: bool = False,
                progress: Callable[[int, int], None] | None = None, watch: Callable[[SceneWindow], None] | None = None) -> None:
    """Write scene.tif, truth.tif and (eo) eo.tif into a folder, strip by strip; each appears when it is complete.

    Args:
        watch: called with every strip as it passes.
    Raises:
        RasterError: a file exists, or cannot be written.
    """
    from contextlib import ExitStack

    import numpy as np

    from hfd_edge.raster import MapWriter, RasterWriter
    from hfd_edge.simulate import Scene
    from hfd_edge.simulate import product as product_of

    scene_profile, eo_profile, legend = _profiles(config, kind)
    with ExitStack() as stack:
        scene = stack.enter_context(RasterWriter(folder / "scene.tif", scene_profile, overwrite))
        truth = stack.enter_context(MapWriter(
            folder / "truth.tif", config.rows, config.cols, scene_profile.geo, legend, eo_profile.tags, overwrite))
        optical = stack.enter_context(RasterWriter(folder / "eo.tif", eo_profile, overwrite)) if eo else None
        for window in Scene(config).strips(eo=eo):
            scene.write(window.row, product_of(window, _unit(kind), CALIBRATION_FACTOR))
            truth.write(window.row, np.where(window.valid, window.labels, np.uint8(NODATA_LABEL)))
            if optical is not None:
                optical.write(window.row, window.eo)
            if watch is not None:
                watch(window)
            if progress is not None:
                progress(window.row + window.labels.shape[0], config.rows)


def _unit(kind: Product) -> Unit:
    return Unit.INTENSITY if kind is Product.LINEAR else Unit(kind.value)


def _place(seed: int) -> tuple[str, float, float]:
    """(CRS, east, north) of a scene's first corner: neighbours in seed lie in neighbouring UTM zones, 60 seeds in a row, and five rows 1000 km apart."""
    return f"EPSG:{32601 + (32 + seed) % 60}", _EAST, _NORTH - _ROW_OF_PLACES * (seed // 60 % 5)


def _profiles(config: SceneConfig, kind: Product) -> tuple:
    from types import SimpleNamespace

    from hfd_edge.raster import GeoReference, RasterProfile
    from hfd_edge.simulate import BANDS, CLASS_COLORS, CLASS_NAMES, EO_BANDS, PRODUCT_NODATA

    unit, geo = _unit(kind), GeoReference.north_up(*_place(config.seed), config.spacing_m)
    dtype = {Product.AMPLITUDE: "uint16", Product.COMPLEX: "complex64"}.get(kind, "float32")
    made = {"HFD_SIMULATED": f"seed {config.seed}, {config.looks:g} looks"}
    scene = RasterProfile(
        config.rows, config.cols, 2, dtype, PRODUCT_NODATA[unit], BANDS, ("dB", "dB") if kind is Product.DB else (),
        scale=CALIBRATION_FACTOR ** 0.5 if kind is Product.AMPLITUDE else 1.0,
        tags={**made, "HFD_UNIT": unit.value, "HFD_QUANTITY": "sigma0"}, geo=geo)
    eo = RasterProfile(config.rows, config.cols, 4, "float32", None, EO_BANDS, ("reflectance",) * 4, tags=made, geo=geo)
    return scene, eo, SimpleNamespace(classes=CLASS_NAMES, colors=CLASS_COLORS)
