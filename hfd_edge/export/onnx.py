"""An HFD-Net as one ONNX file: opset 18, any batch, any rows and columns that are multiples of the stride."""

from __future__ import annotations

import copy
import warnings

import onnx
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hfd_edge.engine.operators import MAX_IR
from hfd_edge.engine.operators import MAX_OPSET as OPSET
from hfd_edge.errors import ExportError
from hfd_edge.export.names import name_after_modules
from hfd_edge.network.hfdnet import HFDNet

INPUT_NAME = "pixels"
OUTPUT_NAME = "logits"
_MAX_CELLS = 4096   # torch.export wants an upper bound of each size; the graph itself has none


def to_onnx(net: HFDNet) -> bytes:
    """The network as a single ONNX file, batch norm folded, nodes named after their modules, without traces of this machine.

    Args:
        net: the network, in any mode and on any device; it is not changed.
    Returns:
        a serialised ModelProto: input "pixels" (batch, bands, rows, cols) float32, output "logits"
        (batch, classes, rows / logit_stride_px, cols / logit_stride_px) float32.
    Raises:
        ExportError: torch cannot export the network, or what comes out breaks the rules above.
    """
    ready = _folded(copy.deepcopy(net).cpu().float().eval())
    size = net.stride_px
    example = torch.zeros(2, net.config.in_bands, 6 * size, 10 * size)      # no two sizes alike, or torch takes them for one
    batch, rows, cols = (torch.export.Dim(name, min=1, max=_MAX_CELLS) for name in ("batch", "row_cells", "col_cells"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                                 # of torch about itself; nothing for the user to do
            program = torch.onnx.export(ready, (example,), dynamo=True, opset_version=OPSET, input_names=[INPUT_NAME],
                                        output_names=[OUTPUT_NAME], external_data=False, verbose=False,
                                        dynamic_shapes=({0: batch, 2: size * rows, 3: size * cols},))
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, NotImplementedError) as error:
        raise ExportError(f"encoder={net.config.encoder!r} cannot be exported to ONNX opset {OPSET}: {_reason(error)}; "
                          "use an encoder of plain convolutions, e.g. resnet18") from error
    model = program.model_proto
    _clean(model, net)
    _check(model)
    return model.SerializeToString(deterministic=True)


def _folded(net: nn.Module) -> nn.Module:
    """Batch norm folded into the convolution before it, wherever the two stand side by side; torch folds most of the others."""
    for module in net.modules():
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                if isinstance(module[i], nn.Conv2d) and type(module[i + 1]) is nn.BatchNorm2d:
                    module[i], module[i + 1] = fuse_conv_bn_eval(module[i], module[i + 1]), nn.Identity()
    return net


def _clean(model: onnx.ModelProto, net: HFDNet) -> None:
    """Plain names; no stack traces, source paths or inferred shapes of the exporter."""
    name_after_modules(model)
    classes = net.config.classes
    for value, shape in ((model.graph.input[0], ("batch", net.config.in_bands, "rows", "cols")),
                         (model.graph.output[0], ("batch", classes, "logit_rows", "logit_cols"))):
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, shape))
    del model.graph.value_info[:]
    for holder in (model, model.graph, *model.graph.node, *model.graph.initializer):
        holder.doc_string = ""
        del holder.metadata_props[:]
    model.graph.name = "hfdnet"


def _check(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    opsets = {o.domain: o.version for o in model.opset_import}
    if opsets != {"": OPSET} or model.ir_version > MAX_IR or len(model.functions):
        raise ExportError(f"the exported graph has opsets {opsets}, IR {model.ir_version}, {len(model.functions)} functions: "
                          f"only opset {OPSET} with IR up to {MAX_IR} runs on every engine; use the torch of pyproject.toml")
    names = [v.name for v in (*model.graph.input, *model.graph.output)]
    if names != [INPUT_NAME, OUTPUT_NAME]:
        raise ExportError(f"the exported graph has inputs and outputs {names}: it must have the input {INPUT_NAME!r} and "
                          f"the output {OUTPUT_NAME!r} alone; export an HFDNet")
    external = [t.name for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if external:
        raise ExportError(f"the exported graph keeps {external[:3]} outside the file: a package holds single files; shrink the network")


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
