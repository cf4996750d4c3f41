"""Which ONNX operators and versions hfd_edge runs.

Every operator here exists up to opset 18 and is run alike by ONNX Runtime and TensorRT. There is no control flow, no random
number, no state, and nothing that reads files; global pooling and instance normalisation are left out because no halo covers
them; layer normalisation runs over channels as a rule. Whether a reduction or a product spans the image is the reach check's business.
"""

from __future__ import annotations

MAX_OPSET = 18     # GridSample of opset 20 is nearest-neighbour in TensorRT 10.13 to 11.1: NVIDIA/TensorRT#4646
MAX_IR = 10        # what the parser of TensorRT 10.3 (JetPack 6) reads

_NETWORK = """
    Conv ConvTranspose BatchNormalization MaxPool AveragePool Resize GridSample Pad Softmax MatMul
    LayerNormalization Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid HardSwish Tanh Elu Softplus Erf
    QuantizeLinear DequantizeLinear
"""
_ELEMENTWISE = """
    Add Sub Mul Div Neg Abs Floor Ceil Round Sign Exp Log Sqrt Reciprocal Pow Min Max Sum Mean Mod
    Where Equal Greater GreaterOrEqual Less LessOrEqual And Or Not
"""
_SHAPE = """
    Identity Constant ConstantOfShape Shape Size Cast Reshape Flatten Transpose Expand Tile Squeeze Unsqueeze Concat Split Slice
    Gather GatherElements GatherND ScatterND Range DepthToSpace SpaceToDepth
    ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL2
"""

# Operators by domain. com.microsoft gets an entry of its own when quantized graphs need one; until then it is refused.
ALLOWED_OPERATORS: dict[str, frozenset[str]] = {"": frozenset(f"{_NETWORK}{_ELEMENTWISE}{_SHAPE}".split())}
