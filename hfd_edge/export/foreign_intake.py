"""A stranger's ONNX file, checked before any library computes with it.

Order matters: size, wire format, external data, operators, inputs and outputs, declared sizes. Nothing runs before all passed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from hfd_edge.engine.graph_scan import GraphScan, TensorInfo, scan
from hfd_edge.engine.operators import ALLOWED_OPERATORS, MAX_OPSET
from hfd_edge.errors import ExportError
from hfd_edge.export.foreign_scene import give_default, take_scene_input
from hfd_edge.export.reach_node import SIZE_INPUTS

MAX_FILE_BYTES = 2**31 - 1              # of a package's member, and of any protobuf message
MAX_TENSOR_BYTES = 2**32                # of one activation at the probed size
MAX_FIXED_SIDE_PX = 4096
_NARROW_PX = 16                         # no image is so narrow and has more bands than columns: those are the bands
MIN_OPSET = 11                          # Resize and Slice of earlier sets mean something else

# Written out or left out before the package is made, so they need not run on every engine.
REWRITTEN = frozenset("GlobalAveragePool GlobalMaxPool Gemm Einsum Mish Selu Celu Dropout LogSoftmax".split())
_OVER_THE_IMAGE = frozenset(("InstanceNormalization", "GroupNormalization"))
_CONTROL_FLOW = frozenset(("Loop", "If", "Scan", "SequenceMap"))
_QUANTIZED = frozenset(("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "DynamicQuantizeLinear"))
_HOW = f"torch.onnx.export(net.eval(), (example,), path, dynamo=True, opset_version={MAX_OPSET}, external_data=False)"
_OTHER_FLOATS = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
_FLOAT32 = onnx.TensorProto.FLOAT
_KINDS = {**{number: name for name, number in onnx.TensorProto.DataType.items()}, 0: "not declared"}


def read_foreign(path: str | Path, scene_numbers: int = 0) -> tuple[onnx.ModelProto, bytes]:
    """A foreign ONNX file as a model, and its bytes as they lie on the disk.

    Args:
        scene_numbers: length of a second input that the spec declares, (batch, n) float32; it becomes an input with zeros as its
            default, named as engines know it. 0 = there is none.
    Raises:
        ExportError: no readable file, too large, with external data, local functions, control flow, custom or unknown
            operators, quantised already, or without exactly one float32 image input and one float32 output.
        EngineError: the bytes are no ONNX model.
    """
    path = Path(path)
    data = _read(path)
    found = scan(data, path.name)
    _check_operators(found)
    vector = take_scene_input(found, scene_numbers) if scene_numbers else None
    _check_ends(found if vector is None else replace(found, inputs=tuple(i for i in found.inputs if i is not vector)))
    try:
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise ExportError(f"{path.name} is no valid ONNX model ({one_line(error)}): export the network again") from error
    _forget_defaults(model)
    if vector is not None:
        give_default(model, vector.name, scene_numbers, path.name)
    _check_pixels(model, path.name)
    return model, data


def image_size(model: onnx.ModelProto) -> tuple[int | None, int | None]:
    """(rows, cols) of the input where the graph fixes them, None where they are open."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims[2:4])


def check_declared_memory(model: onnx.ModelProto, rows: int, cols: int, name: str) -> None:
    """Infer every tensor's size for an image of rows x cols and refuse what no machine should be asked to hold.

    Raises:
        ExportError: a tensor above MAX_TENSOR_BYTES, named.
    """
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    dims = sized.graph.input[0].type.tensor_type.shape.dim
    for dim, size in zip(dims, (1, dims[1].dim_value, rows, cols)):
        dim.dim_value = size
    del sized.graph.value_info[:], sized.graph.output[0].type.tensor_type.shape.dim[:]
    sized.graph.output[0].type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True)
    except Exception as error:  # onnx raises its C++ errors as plain RuntimeError and InferenceError
        raise ExportError(f"{name} contradicts itself at {rows} x {cols} pixels ({one_line(error)}): export the network again") from error
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        size = _bytes_of(value.type.tensor_type)
        if size > MAX_TENSOR_BYTES:
            raise ExportError(f"{name}: tensor {value.name[:60]!a} has {size / 2**30:.1f} GiB for an image of {rows} x {cols}: "
                              f"at most {MAX_TENSOR_BYTES / 2**30:g} GiB are allowed; this is no network for tiles")


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ExportError(f"{path} is no file: give the ONNX file of the network")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ExportError(f"{path} has {size} bytes: an ONNX file with its weights inside has at most {MAX_FILE_BYTES}; use a smaller network")
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from error


def _check_operators(found: GraphScan) -> None:
    if found.external_data:
        raise ExportError(f"{found.name} keeps weights in another file ({found.external_data[0][:60]!a}): a package holds "
                          f"single files; export with {_HOW}, or save it with onnx.save(model, path, save_as_external_data=False)")
    plain = {op for op in found.op_types if ":" not in op}
    if plain & _CONTROL_FLOW:
        raise ExportError(f"{found.name} has {', '.join(sorted(plain & _CONTROL_FLOW))}: a network for tiles has no loops or "
                          "branches; export with torch.onnx.export(dynamo=True), or without scripting")
    if found.functions or found.training:
        raise ExportError(f"{found.name} has {'local functions' if found.functions else 'training graphs'}: a graph for "
                          "inference is flat; inline them with onnx.inliner.inline_local_functions")
    foreign = sorted(op for op in found.op_types if ":" in op)
    if foreign:
        raise ExportError(f"{found.name} has custom operators {', '.join(ascii(op[:60]) for op in foreign[:5])}: no engine "
                          "here knows them; export with operators of ai.onnx alone")
    if plain & _QUANTIZED:
        raise ExportError(f"{found.name} is quantised already ({', '.join(sorted(plain & _QUANTIZED))}): give the float32 "
                          "graph, hfd_edge quantises it itself with real data")
    if "ArgMax" in plain:
        raise ExportError(f"{found.name} has an ArgMax: it answers labels, and hfd_edge takes logits (or a last Softmax or Sigmoid) and takes "
                          "the argmax itself; export it before the argmax")
    if plain & _OVER_THE_IMAGE:
        raise ExportError(f"{found.name} has {', '.join(sorted(plain & _OVER_THE_IMAGE))} (torch's GroupNorm and InstanceNorm are written with it): "
                          "mean and spread of the whole image differ from tile to tile, and no halo covers them; train with BatchNorm, or a "
                          "LayerNorm over the channels")
    unknown = sorted(plain - ALLOWED_OPERATORS[""] - REWRITTEN)
    if unknown:
        raise ExportError(f"{found.name} has operators {', '.join(ascii(op[:60]) for op in unknown[:8])}: only those in "
                          "hfd_edge/engine/operators.py are known to run alike on every engine; change the network")
    if not MIN_OPSET <= found.opset <= MAX_OPSET:
        raise ExportError(f"{found.name} has opset {found.opset}: {MIN_OPSET} to {MAX_OPSET} are read alike by every engine; "
                          f"export with {_HOW}")


def _check_ends(found: GraphScan) -> None:
    for what, infos in (("inputs", found.inputs), ("outputs", found.outputs)):
        if len(infos) != 1:
            names = ", ".join(ascii(info.name[:40]) for info in infos[:6])
            raise ExportError(f"{found.name} has {len(infos)} {what} ({names}): it must have one, an image in and logits out; "
                              "drop the others with onnx.utils.extract_model")
    image, logits = found.inputs[0], found.outputs[0]
    for what, info in (("input", image), ("output", logits)):
        if info.element_type != _FLOAT32:
            kind = _KINDS.get(info.element_type, f"of unknown type {info.element_type}")
            labels = what == "output" and kind.startswith(("INT", "UINT", "BOOL"))
            hint = "; logits are wanted, not labels: export it before the ArgMax, threshold or rounding at its end" if labels else ""
            raise ExportError(f"{found.name}: {what} {info.name[:40]!a} is {kind}: it must be FLOAT (float32){hint}")
    if image.shape is None or len(image.shape) != 4:
        raise ExportError(f"{found.name}: input {image.name[:40]!a} has shape {_shape(image)}: it must be (batch, bands, rows, cols)")
    bands = image.shape[1]
    if isinstance(bands, int) and isinstance(image.shape[3], int) and image.shape[3] < min(bands, _NARROW_PX):
        raise ExportError(f"{found.name}: input {image.name[:40]!a} has shape {_shape(image)}: it looks as if the bands came last, and they "
                          "come second (batch, bands, rows, cols); transpose the input")
    if not isinstance(bands, int) or not 1 <= bands <= 64:
        raise ExportError(f"{found.name}: input {image.name[:40]!a} has shape {_shape(image)}: the second size is the number "
                          "of bands, 1 to 64 (NCHW); transpose a network with bands last, and fix the number of bands")
    batch, rows, cols = image.shape[0], image.shape[2], image.shape[3]
    if isinstance(batch, int) and batch > 1:
        raise ExportError(f"{found.name}: the batch is fixed at {batch}: export with batch 1 or an open batch")
    for side in (rows, cols):
        if isinstance(side, int) and side > MAX_FIXED_SIDE_PX:
            raise ExportError(f"{found.name}: the input is fixed at {rows} x {cols} pixels: a side has at most "
                              f"{MAX_FIXED_SIDE_PX}; export with open sizes, or for a tile")
    if isinstance(rows, int) != isinstance(cols, int):
        raise ExportError(f"{found.name}: the input is {rows} x {cols} pixels: fix both sizes or leave both open")


def _forget_defaults(model: onnx.ModelProto) -> None:
    """Weights that are listed as inputs too, as older exporters do, become weights alone: nobody gives others."""
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _check_pixels(model: onnx.ModelProto, name: str) -> None:
    """Refuse sizes that are made from pixels, and pixels in another precision."""
    pixels, image = {value.name for value in model.graph.input}, {model.graph.input[0].name}
    for node in model.graph.node:
        if node.op_type in ("Shape", "Size"):
            continue
        if node.op_type == "Cast" and image.intersection(node.input) and (to := onnx.helper.get_node_attr_value(node, "to")) in _OTHER_FLOATS:
            raise ExportError(f"{name} computes in {_KINDS[to]} from {node.op_type} {node.name[:60]!a} on: it must compute in FLOAT (float32), other "
                              "precisions are made and judged here; export the network after net.float()")
        for index in SIZE_INPUTS.get(node.op_type, ()):
            if index < len(node.input) and node.input[index] in pixels:
                raise ExportError(f"{name}: the size in {node.op_type} {node.name[:60]!a} is computed from pixel values: sizes "
                                  "may depend on the image's size alone; change the network")
        for known in (pixels, image):
            if known.intersection(node.input):
                known.update(node.output)
    if model.graph.output[0].name not in image:
        raise ExportError(f"{name}: output {model.graph.output[0].name[:40]!a} does not depend on the input: this is no network")


def _bytes_of(kind: onnx.TypeProto.Tensor) -> int:
    if not kind.HasField("shape"):
        return 0
    size = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize if kind.elem_type else 4
    for dim in kind.shape.dim:
        size *= max(dim.dim_value, 1)
    return size


def _shape(info: TensorInfo) -> str:
    return "not declared" if info.shape is None else f"({', '.join(str(size)[:20] for size in info.shape)})"


def one_line(error: Exception) -> str:
    """An error's text on one line, cut to what fits a message."""
    return " ".join(str(error).split())[:300]
