"""A copy of a package's network for the QGIS plugin Deepness: everything that hfd_edge does around a graph, inside the graph.

Deepness gives (pixel / 255 - mean) / std, expects probabilities at full resolution, and cuts tiles of one fixed size. It knows
no decibels, no clipping and no nodata, so all of that is put in front of the network, with mean 0 and std 1 in the metadata.
Source of the keys and of what is done with them: PUTvision/qgis-plugin-deepness, model_base.py, segmentor.py and map_processor_segmentation.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hfd_edge.errors import ExportError, RasterError
from hfd_edge.package import Package
from hfd_edge.package.manifest import FP32
from hfd_edge.raster import check_output, write_bytes
from hfd_edge.spec import ModelSpec, Unit
from hfd_edge.tiles import round_up

MAX_PIXEL = 255.0           # what Deepness divides every pixel by, whatever its type
MOST_TILE_PX = 4096
_TINY_POWER = 1e-30         # its logarithm lies far below every floor
_PREFIX = "qgis_"


def check_target(path: Path, overwrite: bool, inputs: Sequence[Path]) -> None:
    """Everything that can be known to fail before any work.

    Raises:
        RasterError: the file exists, cannot be written, or is one of the inputs.
    """
    if path.suffix.lower() != ".onnx":
        raise RasterError(f"--qgis {path} would be an ONNX file, which Deepness looks for by its name: give it the suffix .onnx")
    if path.resolve() in {each.resolve() for each in inputs}:
        raise RasterError(f"--qgis {path} is a file of this run already: give the copy for QGIS a name of its own")
    check_output(path, overwrite, inputs=list(inputs))


def write_qgis(engine: str | Path, path: str | Path, overwrite: bool = False, unit: Unit | str | None = None) -> dict[str, str]:
    """Write the network of a package as an ONNX file for Deepness.

    Args:
        engine: the package; its FP32 graph is taken.
        path: the file to write.
        unit: what the pixels of the layers in QGIS are; None = the unit that the network was trained on.
    Returns:
        the metadata that was written, by key; values are JSON.
    Raises:
        PackageError: the package cannot be read.
        ExportError: no FP32 graph, a unit that cannot be converted, or a halo that no overlap of Deepness covers.
        RasterError: the file cannot be written.
    """
    with Package.open(engine) as package:
        if FP32 not in package.graph_names:
            raise ExportError(f"{engine} holds no {FP32}: the copy for QGIS is made from the float graph; export it with fp32")
        data, metadata = qgis_graph(bytes(package.read(FP32)), package.spec, Unit(unit) if unit else None)
    write_bytes(path, data, overwrite)
    return metadata


def qgis_graph(graph: bytes, spec: ModelSpec, unit: Unit | None = None) -> tuple[bytes, dict[str, str]]:
    """The graph with normalisation in front, up-sampling and softmax behind, and the metadata as properties."""
    unit = unit or spec.unit
    if unit is Unit.COMPLEX or (unit is not spec.unit and Unit.DN in (unit, spec.unit)):
        raise ExportError(f"unit={unit} for a network trained on {spec.unit}: layers in QGIS can be {spec.unit}"
                          + ("" if spec.unit is Unit.DN else ", or one of intensity, amplitude and db") + "; convert the layer")
    tile, overlap = tile_and_overlap(spec)
    model = onnx.load_from_string(graph)
    _apart(model)
    front = _front(spec, unit, model.graph.input[0].name)
    behind = _behind(spec, model.graph.output[0].name)
    nodes = [*front.nodes, *model.graph.node, *behind.nodes]
    del model.graph.node[:], model.graph.input[:], model.graph.output[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*front.weights, *behind.weights])
    for holder, name, channels in ((model.graph.input, "image", len(spec.bands)), (model.graph.output, "probabilities",
                                                                                   len(spec.classes))):
        holder.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, channels, tile, tile)))
    metadata = make_metadata(spec, tile, overlap)
    helper.set_model_props(model, metadata)
    model.doc_string = f"{spec.name}: bands {', '.join(spec.bands)} as {unit}, one layer band each, in this order"
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True), metadata


def make_metadata(spec: ModelSpec, tile_px: int, overlap_percent: int) -> dict[str, str]:
    """The keys that Deepness reads, values in JSON."""
    bands = len(spec.bands)
    record = {"model_type": "Segmentor", "class_names": {str(i): name for i, name in enumerate(spec.classes)},
              "tile_size": tile_px, "tiles_size": tile_px,  # the plugin's code reads the one, its documentation says the other
              "tiles_overlap": overlap_percent, "seg_thresh": 0.0,  # the best class wins, however unsure
              "seg_small_segment": 0,                       # no median filter over the map
              "standardization_mean": [0.0] * bands, "standardization_std": [1.0] * bands}
    if spec.pixel_spacing_m is not None:
        record["resolution"] = 100 * spec.pixel_spacing_m   # centimetres per pixel
    return {key: json.dumps(value) for key, value in record.items()}


def tile_and_overlap(spec: ModelSpec) -> tuple[int, int]:
    """(side in pixels, overlap in percent) so that the halo is covered: neighbours share two halos, each keeps half of them.

    Raises:
        ExportError: the tile would be larger than MOST_TILE_PX.
    """
    wanted = round_up(max(spec.tile_px, 4 * spec.halo_px, 2 * spec.stride_px), spec.stride_px)
    tile = spec.tile_px if spec.fixed_tile else wanted
    if tile > MOST_TILE_PX:
        raise ExportError(f"Deepness would need tiles of {tile} px for a halo of {spec.halo_px} px: at most {MOST_TILE_PX} are "
                          "sensible there; use hfd-edge predict, or a network of smaller reach")
    return tile, math.ceil(100 * 2 * spec.halo_px / tile)


@dataclass(slots=True)
class _Part:
    """Nodes in a row; `x` is the newest tensor."""

    x: str
    name: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def op(self, op_type: str, *inputs: str, **attributes: object) -> str:
        output = f"{_PREFIX}{self.name}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=output, **attributes))
        self.x = output
        return output

    def constant(self, values: object, shape: tuple[int, ...] = ()) -> str:
        name = f"{_PREFIX}{self.name}_constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32).reshape(shape), name))
        return name

    def end(self, name: str) -> _Part:
        """Give the newest tensor the name that others know it by."""
        self.nodes[-1].output[0] = name
        return self


def _front(spec: ModelSpec, unit: Unit, name: str) -> _Part:
    """Pixels over 255 to network input; what is not a number becomes 0, as nodata does in hfd_edge."""
    part, per_band = _Part("image", "in"), (1, len(spec.bands), 1, 1)
    part.op("Mul", part.x, part.constant(MAX_PIXEL))
    known = part.op("Not", part.op("IsNaN", part.x))
    part.x = part.nodes[0].output[0]
    _convert(part, unit, spec.unit)
    if spec.input.floor is not None:
        part.op("Max", part.x, part.constant(spec.input.floor))
    if spec.input.clip is not None:
        low, high = zip(*spec.input.clip)
        part.op("Min", part.op("Max", part.x, part.constant(low, per_band)), part.constant(high, per_band))
    part.op("Sub", part.x, part.constant(spec.input.mean, per_band))
    part.op("Div", part.x, part.constant(spec.input.std, per_band))
    part.op("Where", known, part.x, part.constant(0))
    return part.end(name)


def _convert(part: _Part, given: Unit, wanted: Unit) -> None:
    """Between intensity, amplitude and decibel, by way of intensity."""
    if given is wanted:
        return
    if given is Unit.AMPLITUDE:
        part.op("Mul", part.x, part.x)
    elif given is Unit.DB:
        part.op("Exp", part.op("Mul", part.x, part.constant(math.log(10) / 10)))
    if wanted is Unit.AMPLITUDE:
        part.op("Sqrt", part.op("Max", part.x, part.constant(0)))
    elif wanted is Unit.DB:
        part.op("Mul", part.op("Log", part.op("Max", part.x, part.constant(_TINY_POWER))), part.constant(10 / math.log(10)))


def _behind(spec: ModelSpec, name: str) -> _Part:
    """Logits to probabilities at full resolution, up-sampled as hfd_edge does it."""
    part = _Part(name, "out")
    if spec.logit_stride_px > 1:
        scales = part.constant([1, 1, spec.logit_stride_px, spec.logit_stride_px], (4,))
        part.op("Resize", part.x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
    part.op("Softmax", part.x, axis=1)
    return part.end("probabilities")


def _apart(model: onnx.ModelProto) -> None:
    """Rename what in the network has a name that the new parts use."""
    taken = {"image", "probabilities"}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [f"network_{name}" if name in taken or name.startswith(_PREFIX) else name for name in names]
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        if value.name in taken or value.name.startswith(_PREFIX):
            value.name = f"network_{value.name}"
