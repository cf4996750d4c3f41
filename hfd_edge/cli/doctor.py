"""`hfd-edge doctor`: what this machine can run, and the proof of it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from hfd_edge.cli.report import print_json, print_lines


def doctor(
    engine: Annotated[Path | None, typer.Argument(metavar="[ENGINE]", help="To test; default: the shipped one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one line of JSON.")] = False,
) -> None:
    """Tell versions, processor, which engines can run here and why others cannot, and run a golden tile.

    hfd-edge doctor model.engine
    """
    from hfd_edge.errors import EngineError

    record = {"versions": _versions(), "native": _native(), "cpu": _cpu(), "engines": _engines(), "self_test": _self_test(engine)}
    if as_json:
        print_json(record)
    else:
        cuda = record["native"].pop("cuda_module", {})
        print_lines({
            **{name: text for name, text in record["versions"].items()},
            "native": ", ".join(f"{key} {value}" for key, value in record["native"].items()),
            "cuda module": cuda.get("error") or f"{len(cuda.get('devices', []))} devices" if cuda else "not known",
            "processor": f"{record['cpu']['model']}, {record['cpu']['threads']} threads for this process, "
            f"{' '.join(record['cpu']['features'])}",
            **{f"engine {name}": text for name, text in record["engines"].items()},
            "self-test": record["self_test"]["text"]})
    if record["self_test"]["passed"] is False:
        raise EngineError(f"the self-test failed: {record['self_test']['text']}")


def _versions() -> dict[str, str]:
    versions = {"hfd_edge": _try(_own_version), "python": f"{sys.version.split()[0]} on {platform.system()} {platform.machine()}"}
    for name in ("numpy", "onnxruntime", "typer", "rich"):
        versions[name] = _installed(name)
    versions["raster"] = _try(_raster_version)
    versions["opencv"] = _installed("opencv-python-headless", "opencv-python", "opencv-contrib-python") if find_spec("cv2") else \
        "not installed: no pictures; pip install 'hfd-edge[view]'"
    return versions


def _own_version() -> str:
    from hfd_edge.build import __version__
    return __version__


def _raster_version() -> str:
    from hfd_edge.raster import gdal_version
    return ", ".join(f"{name} {version}" for name, version in gdal_version().items())


def _native() -> dict[str, Any]:
    try:
        from hfd_edge.build import build_info
    except ImportError as error:
        return {"error": str(error)}
    return build_info()


def _cpu() -> dict[str, Any]:
    """What decides about speed: threads this process may use, and the vector instructions."""
    from hfd_edge.device import available_memory_bytes, thread_budget

    info = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in info)}
    known = ("sse4_2", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd",
             "asimddp", "i8mm", "bf16")
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {"model": fields.get("model name") or platform.processor() or platform.machine(), "cores": os.cpu_count(),
            "threads": thread_budget(None),
            "features": [flag for flag in known if flag in flags], "memory_free_bytes": available_memory_bytes()}


def _engines() -> dict[str, str]:
    """Each engine and whether it can run here."""
    engines = {}
    try:
        import onnxruntime
        providers = onnxruntime.get_available_providers()
        there = "CPUExecutionProvider" in providers
        engines["onnxruntime cpu"] = f"can run: {onnxruntime.__version__}" if there else f"cannot: only {providers}"
    except ImportError as error:
        engines["onnxruntime cpu"] = f"cannot: {error}; pip install onnxruntime"
    engines["cuda"] = _try(_why_no_cuda)
    engines["tensorrt"] = "cannot: this version of hfd_edge has no TensorRT engine yet" + (
        "" if find_spec("tensorrt") else ", and tensorrt is not installed")
    return engines


def _why_no_cuda() -> str:
    from hfd_edge.device import resolve_device
    from hfd_edge.errors import DeviceError
    try:
        return f"can run: {resolve_device('cuda:0')}"
    except DeviceError as error:
        return f"cannot: {error}"


def _self_test(path: Path | None) -> dict[str, Any]:
    """The golden tile of an engine, run here."""
    from hfd_edge.cli.demo import DEMO_ENGINE
    from hfd_edge.errors import HfdError

    if path is None and not DEMO_ENGINE.is_file():
        return {"passed": None, "text": "not run: no engine was given and none is shipped; hfd-edge doctor model.engine"}
    path = path or DEMO_ENGINE
    try:
        from hfd_edge.segmenter import Segmenter
        with Segmenter(path) as segmenter:              # loading it runs the golden tile
            return {"passed": True, "engine": str(path),
                    "text": f"passed: {path.name} answers its golden tile on {segmenter.device}, {segmenter.engine}"}
    except (HfdError, ImportError) as error:
        return {"passed": False, "engine": str(path), "text": str(error)}


def _installed(*names: str) -> str:
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "there, version not known" if find_spec(names[0].split("-")[0]) else "not installed"


def _try(ask: Callable[[], str]) -> str:
    """What it says, or why it cannot: a doctor must not fall ill itself."""
    try:
        return ask()
    except (ImportError, OSError) as error:
        return f"not usable: {error}"
