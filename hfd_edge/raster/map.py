"""The map a run leaves: classes and colours, georeference, and which engine made it."""

from __future__ import annotations

import json
from pathlib import Path

from hfd_edge.build import __version__
from hfd_edge.raster.attribute_table import attribute_table
from hfd_edge.raster.georeference import GeoReference
from hfd_edge.raster.cog import CogForm, CogWriter
from hfd_edge.raster.product import RasterProfile
from hfd_edge.raster.pyramid import mean_valid, most_frequent
from hfd_edge.raster.selection import Legend, Selection
from hfd_edge.spec import NODATA_LABEL


class MapWriter(CogWriter):
    """A uint8 COG, nodata 255, written row by row; it appears when the block ends without an exception.

    With a legend: class labels, with a colour table and the names as band tags CLASS_0, CLASS_1, ... and, as JSON, HFD_CLASSES; and
    beside it NAME.aux.xml, from which GIS programs take the legend.
    Of a Selection: the colours and names of the chosen classes and of "other"; HFD_CLASSES_KEPT names the chosen ones.
    Of a score (`hfd_edge.score`): 0..254 for 0..1, with the scale in GDAL's tags; the band's description and HFD_SCORE say which.
    Overviews hold the most frequent class, or the mean.
    """

    def __init__(self, path: str | Path, rows: int, cols: int, geo: GeoReference | None, legend: Legend | str,
                 tags: dict[str, str], overwrite: bool = False, form: CogForm = CogForm()) -> None:
        """Check that the file can be written.

        Args:
            geo: of the scene; the files it was read from are never replaced. None = no georeference.
            legend: of class labels; the name of a score.
            tags: of the whole file, such as the engine's hash.
        Raises:
            RasterError: as `check_output`.
        """
        tags = {"HFD_EDGE_VERSION": __version__, "TIFFTAG_SOFTWARE": f"hfd_edge {__version__}", **tags}
        profile = {"rows": rows, "cols": cols, "count": 1, "dtype": "uint8", "nodata": NODATA_LABEL, "geo": geo}
        if isinstance(legend, str):
            tags["HFD_SCORE"] = legend
            super().__init__(path, RasterProfile(**profile, descriptions=(legend,), scale=1 / 254, tags=tags), mean_valid, overwrite, form)
            return
        values = getattr(legend, "values", range(len(legend.classes)))
        names = {f"CLASS_{value}": name for value, name in zip(values, legend.classes)}
        tags["HFD_CLASSES"] = json.dumps(list(getattr(legend, "all_classes", legend.classes)))
        if isinstance(legend, Selection):
            tags["HFD_CLASSES_KEPT"] = json.dumps(legend.classes[:-1])
        super().__init__(path, RasterProfile(
            **profile, descriptions=("class",), colors=dict(zip(values, legend.colors)), band_tags=names, tags=tags),
            most_frequent, overwrite, form, attribute_table([*zip(values, legend.classes, legend.colors)]))
