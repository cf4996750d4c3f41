"""TensorRT-RTX as a judge of graphs: it parses and builds without a GPU. Proprietary, a development extra, never vendored."""

from __future__ import annotations

def build(graph: bytes, tile_px: int, batch: int = 2) -> tuple[bytes | None, list[str]]:
    """(plan or None, every log line from warnings up and every parser error) of a graph at tiles of one size."""
    import tensorrt_rtx as trt

    lines: list[str] = []

    class Logger(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, message):
            if severity <= trt.ILogger.Severity.WARNING:
                lines.append(message)

    logger = Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        return None, lines + [parser.get_error(i).desc() for i in range(parser.num_errors)]
    source = network.get_input(0)
    assert network.num_inputs == network.num_outputs == 1 and (source.name, network.get_output(0).name) == ("pixels", "logits")
    assert source.dtype == network.get_output(0).dtype == trt.float32
    profile, bands = builder.create_optimization_profile(), source.shape[1]
    profile.set_shape("pixels", (1, bands, tile_px, tile_px), *[(batch, bands, tile_px, tile_px)] * 2)
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    return (None if plan is None else bytes(plan)), lines


def type_warnings(lines: list[str]) -> list[str]:
    """Lines in which TensorRT says that it took another type than the file's."""
    return [line for line in lines if "default" in line.lower() or "UINT8" in line]
