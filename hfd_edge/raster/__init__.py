"""Rasters on disk: windows in, windows out. The only room that knows rasterio; everything else sees arrays and records."""

from hfd_edge.raster.abilities import WRITE_DRIVERS, compressions_written, drivers_present
from hfd_edge.raster.cog import COMPRESSIONS, CogForm
from hfd_edge.raster.georeference import GeoReference
from hfd_edge.raster.guard import GDAL_CACHE_BYTES, READ_DRIVERS, RasterLimits, gdal_version
from hfd_edge.raster.map import MapWriter
from hfd_edge.raster.mosaic import MosaicRules, MosaicSource
from hfd_edge.raster.output import check_different, check_output, made_folder, write_bytes
from hfd_edge.raster.part import RasterPart
from hfd_edge.raster.product import RasterProfile, RasterWriter, write_raster
from hfd_edge.raster.selection import OTHER_COLOR, OTHER_LABEL, Legend, Selection, select_classes
from hfd_edge.raster.source import RasterSource
from hfd_edge.raster.truth import TruthSource

__all__ = ["COMPRESSIONS", "GDAL_CACHE_BYTES", "OTHER_COLOR", "OTHER_LABEL", "READ_DRIVERS", "WRITE_DRIVERS", "CogForm", "GeoReference", "Legend",
           "MapWriter", "MosaicRules", "MosaicSource", "RasterLimits", "RasterPart", "RasterProfile", "RasterSource", "RasterWriter", "Selection", "TruthSource",
           "check_different", "check_output", "compressions_written", "drivers_present", "gdal_version", "made_folder", "select_classes",
           "write_bytes", "write_raster"]
