"""What an ONNX file asks for, read without onnx and before any engine library sees it.

`scan` reads the bytes with bounds on depth and work; `check_graph` refuses what hfd_edge does not run: files outside the
package, foreign or unknown operators, an opset or IR version that the engines read differently.

Source of the field numbers: onnx/onnx.proto of ONNX 1.18 (proto2, IR 11).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hfd_edge.engine.operators import ALLOWED_OPERATORS, MAX_IR, MAX_OPSET
from hfd_edge.engine.protobuf_wire import BYTES, VARINT, read_fields
from hfd_edge.errors import EngineError

MAX_DEPTH = 16                 # graphs within attributes of nodes within graphs
MAX_FIELDS = 2_000_000         # protobuf fields looked at; a network of ours has some ten thousand

Shape = tuple[int | str | None, ...]     # a number, a name such as "batch", or None for unknown


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A graph input or output as the file declares it."""

    name: str
    element_type: int          # TensorProto.DataType: 1 float32, 2 uint8, 3 int8, 10 float16; 0 = not given
    shape: Shape | None        # None = not given


@dataclass(frozen=True, slots=True)
class GraphScan:
    """What an ONNX file asks for. Domain "" is ai.onnx; operators of others are written "domain:Operator"."""

    name: str                          # for messages: the member's name
    ir_version: int
    opsets: dict[str, int]             # operator-set version by domain
    op_types: dict[str, int]           # how often each operator stands in the file, also in subgraphs and local functions
    inputs: tuple[TensorInfo, ...]     # without initializers
    outputs: tuple[TensorInfo, ...]
    external_data: list[str]           # files that tensors point to ("" when the path is not given)
    functions: tuple[str, ...]         # local functions, "domain:name"
    training: bool                     # it carries training graphs

    @property
    def opset(self) -> int:
        """Version of the ai.onnx operator set; 0 if the file imports none."""
        return self.opsets.get("", 0)


def scan(data: bytes | memoryview, name: str = "graph") -> GraphScan:
    """Look through an ONNX file.

    Args:
        data: the whole file, e.g. a package's member.
        name: what to call it in messages.
    Raises:
        EngineError: the bytes are no ONNX model, or its nesting or size is beyond any network of ours.
    """
    reader = _Reader()
    try:
        reader.model(memoryview(data).cast("B"))
    except EngineError as error:
        raise EngineError(f"{name} cannot be read as ONNX: {error}; export the network again") from error
    return GraphScan(name, reader.ir_version, reader.opsets, dict(reader.op_types), tuple(reader.inputs), tuple(reader.outputs),
                     reader.external_data, tuple(reader.functions), reader.training)


def check_graph(scan: GraphScan) -> None:
    """Refuse a graph that hfd_edge does not run.

    Raises:
        EngineError: external data, local functions, training graphs, a foreign domain, an operator that is not known to be
            right on every engine, or an IR or operator-set version above the limits.
    """
    if scan.external_data:
        raise EngineError(f"{scan.name} keeps weights in another file ({_some(scan.external_data)}): a graph is one file; "
                          "save it without external data")
    if scan.functions or scan.training:
        what = f"local functions ({_some(scan.functions)})" if scan.functions else "training graphs"
        raise EngineError(f"{scan.name} has {what}: a graph for inference is flat; export it with functions inlined, for inference")
    foreign = sorted({op.rpartition(":")[0] for op in scan.op_types} - {*ALLOWED_OPERATORS})
    if foreign:
        raise EngineError(f"{scan.name} has operators of domain {_some(foreign)}: they need code outside the engines; "
                          "export with ai.onnx operators only")
    if "GridSample" in scan.op_types and scan.opset >= 20:
        raise EngineError(f"{scan.name} has GridSample of opset {scan.opset}: TensorRT reads it as nearest-neighbour from opset "
                          f"20 on (NVIDIA/TensorRT#4646); export with opset {MAX_OPSET}")
    if not 1 <= scan.opset <= MAX_OPSET:
        raise EngineError(f"{scan.name} has opset {scan.opset}: engines in use read 1 to {MAX_OPSET}; export with opset {MAX_OPSET}")
    if not 1 <= scan.ir_version <= MAX_IR:
        raise EngineError(f"{scan.name} has IR version {scan.ir_version}: engines in use read 1 to {MAX_IR}; set ir_version to {MAX_IR}")
    unknown = sorted(op for op in scan.op_types if op.rpartition(":")[2] not in ALLOWED_OPERATORS[op.rpartition(":")[0]])
    if unknown:
        labels = any(op.endswith("ArgMax") for op in unknown)
        way = "it must answer with logits, not labels: export it without its ArgMax" if labels else "change the network"
        raise EngineError(f"{scan.name} has operators {_some(unknown)}: only those in hfd_edge/engine/operators.py are known to "
                          f"run tile by tile on every engine; {way}")


def _some(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(ascii(name[:60]) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


@dataclass(slots=True)
class _Reader:
    """Collects while it walks down the messages; one method a message type of onnx.proto."""

    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    op_types: Counter[str] = field(default_factory=Counter)
    inputs: list[TensorInfo] = field(default_factory=list)
    outputs: list[TensorInfo] = field(default_factory=list)
    external_data: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    training: bool = False
    fields_left: int = field(default_factory=lambda: MAX_FIELDS)

    def model(self, data: memoryview) -> None:
        message = self.read(data, single={1: VARINT, 7: BYTES}, many=(8, 20, 25))
        if 7 not in message:
            raise EngineError("it has no graph")
        self.ir_version = message.get(1, 0)
        for item in message[8]:
            self.opset(item)
        self.graph(message[7], depth=0)
        for item in message[20]:
            self.training = True
            for graph in self.read(item, many=(1, 2)).values():
                for part in graph:
                    self.graph(part, depth=1)
        for item in message[25]:
            self.function(item)

    def opset(self, data: memoryview) -> None:
        message = self.read(data, single={1: BYTES, 2: VARINT})
        domain, version = _domain(message.get(1)), message.get(2, 0)
        if self.opsets.setdefault(domain, version) != version:
            raise EngineError(f"it imports operator set {domain or 'ai.onnx'!a} in versions {self.opsets[domain]} and {version}")

    def graph(self, data: memoryview, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise EngineError(f"its graphs are nested more than {MAX_DEPTH} deep")
        message = self.read(data, many=(1, 5, 11, 12, 15))
        initializers = {self.tensor(item) for item in message[5]} | {self.sparse_tensor(item) for item in message[15]}
        for item in message[1]:
            self.node(item, depth)
        if depth == 0:
            self.inputs = [info for info in map(self.value_info, message[11]) if info.name not in initializers]
            self.outputs = [self.value_info(item) for item in message[12]]

    def function(self, data: memoryview) -> None:
        message = self.read(data, single={1: BYTES, 10: BYTES}, many=(7, 9, 11))
        self.functions.append(f"{_domain(message.get(10))}:{_text(message.get(1))}")
        for item in message[9]:
            self.opset(item)
        for item in message[7]:
            self.node(item, depth=1)
        for item in message[11]:
            self.attribute(item, depth=1)

    def node(self, data: memoryview, depth: int) -> None:
        message = self.read(data, single={4: BYTES, 7: BYTES}, many=(5,))
        domain, operator = _domain(message.get(7)), _text(message.get(4))
        if ":" in domain + operator:
            raise EngineError(f"operator {operator[:60]!a} of domain {domain[:60]!a} has a colon in its name")
        self.op_types[f"{domain}:{operator}" if domain else operator] += 1
        for item in message[5]:
            self.attribute(item, depth)

    def attribute(self, data: memoryview, depth: int) -> None:
        message = self.read(data, many=(5, 6, 10, 11, 22, 23))
        for item in message[5] + message[10]:
            self.tensor(item)
        for item in message[22] + message[23]:
            self.sparse_tensor(item)
        for item in message[6] + message[11]:
            self.graph(item, depth + 1)

    def sparse_tensor(self, data: memoryview) -> str:
        message = self.read(data, many=(1, 2))
        names = [self.tensor(item) for item in message[1]]
        for item in message[2]:
            self.tensor(item)
        return names[0] if names else ""

    def tensor(self, data: memoryview) -> str:
        message = self.read(data, single={8: BYTES, 14: VARINT}, many=(13,))
        entries = [self.read(item, single={1: BYTES, 2: BYTES}) for item in message[13]]
        places = [_text(entry.get(2)) for entry in entries if _text(entry.get(1)) == "location"]
        if entries or message.get(14, 0):
            self.external_data += places or [""]
        return _text(message.get(8))

    def value_info(self, data: memoryview) -> TensorInfo:
        message = self.read(data, single={1: BYTES, 2: BYTES})
        kind = self.read(message.get(2, b""), single={1: BYTES})
        tensor = self.read(kind.get(1, b""), single={1: VARINT, 2: BYTES})
        if 2 not in tensor:
            return TensorInfo(_text(message.get(1)), tensor.get(1, 0), None)
        sizes = [self.read(item, single={1: VARINT, 2: BYTES}) for item in self.read(tensor[2], many=(1,))[1]]
        shape = tuple(size[1] if 1 in size else _text(size[2]) if 2 in size else None for size in sizes)
        return TensorInfo(_text(message.get(1)), tensor.get(1, 0), shape)

    def read(self, data: memoryview | bytes, single: dict[int, int] | None = None, many: tuple[int, ...] = ()) -> dict:
        """The wanted fields of a message: a value for each of `single` that is there, a list for each of `many`.

        A wanted field of another wire type, or a `single` one that stands twice, is refused: libraries differ on them.
        """
        single = single or {}
        found: dict = {number: [] for number in many}
        for number, wire, value in read_fields(memoryview(data)):
            self.fields_left -= 1
            if self.fields_left < 0:
                raise EngineError(f"it has more than {MAX_FIELDS} fields")
            if number not in single and number not in many:
                continue
            if wire != single.get(number, BYTES) or (number in single and number in found):
                raise EngineError(f"field {number} has wire type {wire} or stands twice")
            if number in single:
                found[number] = value
            else:
                found[number].append(value)
        return found


def _text(value: memoryview | None) -> str:
    try:
        return bytes(value or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise EngineError(f"a name is not UTF-8 ({error.reason})") from error


def _domain(value: memoryview | None) -> str:
    text = _text(value)
    return "" if text == "ai.onnx" else text
