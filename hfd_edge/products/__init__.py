"""SAR products as scenes: what their own metadata says of the pixels. One file a product; docs/products.md has the table."""

from hfd_edge.products.mosaic import Mosaic
from hfd_edge.products.scene import SceneRequest, open_scene, product_folder, run_notes
from hfd_edge.products.sentinel1 import Sentinel1Options, Sentinel1Source

__all__ = ["Mosaic", "SceneRequest", "Sentinel1Options", "Sentinel1Source", "open_scene", "product_folder", "run_notes"]
