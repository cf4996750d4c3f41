"""`hfd-edge doctor`: what this machine can run, and the proof of it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from hfd_edge.cli.report import print_json, print_lines

_FEATURES = ("sse4_2", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd",
             "asimddp", "i8mm", "bf16", "sve")


def doctor(
    engine: Annotated[Path | None, typer.Argument(metavar="[ENGINE]", help="To test; default: the shipped one.")] = None,
    threads: Annotated[int | None, typer.Option(help="For the self-test; default: all cores of this process.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one line of JSON.")] = False,
) -> None:
    """Tell versions, processor, memory, disk, formats, which engines can run here and why others cannot; then test an engine.

    The self-test takes up to ten seconds; if it fails the exit code is 1.

    hfd-edge doctor model.engine
    """
    from hfd_edge.errors import EngineError

    record = {"versions": _versions(), "native": _native(), "cpu": _cpu(), "memory": _memory(), "disk": _disk(),
              "rasters": _rasters(), "engines": _engines(), "self_test": _self_test(engine, threads)}
    if as_json:
        print_json(record)
    else:
        print_lines(_lines(record))
    if record["self_test"]["passed"] is False:
        raise EngineError(f"the self-test failed: {record['self_test']['text']}")


def _lines(record: dict[str, Any]) -> dict[str, str]:
    native, cpu, memory = dict(record["native"]), record["cpu"], record["memory"]
    cuda, built = native.pop("cuda_module", {}), native.pop("cuda", "")
    steps = {f"test {step['name']}": f"{_WORDS[step['passed']]}, {step['seconds']:.1f} s: {step['text']}"
             for step in record["self_test"].get("steps", ())}
    return {
        **record["versions"],
        "native": ", ".join(f"{key} {_listed(value)}" for key, value in native.items()),
        "cuda module": _cuda_words(cuda, built),
        "processor": f"{cpu['model']}, {cpu['threads']} threads for this process of {cpu['cores']} cores, {' '.join(cpu['features'])}",
        "memory": f"{_gib(memory['free_bytes'])} free; a run takes up to {_gib(memory['budget_bytes'])} (--memory)",
        **{f"disk {name}": f"{_gib(found['free_bytes'])} free in {found['folder']}" for name, found in record["disk"].items()},
        "rasters": record["rasters"]["text"],
        **{f"engine {name}": text for name, text in record["engines"].items()},
        **steps, "self-test": record["self_test"]["text"]}


def _cuda_words(cuda: dict[str, Any], built: str) -> str:
    """How the module was built, and what it sees; why it is not there, once."""
    if not cuda:
        return "not known"
    seen = cuda["error"] or f"{len(cuda['devices'])} devices"
    return f"{built}; {seen}" if cuda["imported"] else seen


_WORDS = {True: "passed", False: "FAILED", None: "not tried"}


def _listed(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"


def _versions() -> dict[str, str]:
    versions = {"hfd_edge": _try(_own_version), "python": f"{sys.version.split()[0]} on {platform.system()} {platform.machine()}"}
    for name in ("numpy", "onnxruntime", "typer", "rich"):
        versions[name] = _installed(name)
    versions["raster"] = _try(_raster_version)
    versions["opencv"] = _installed("opencv-python-headless", "opencv-python", "opencv-contrib-python") if find_spec("cv2") else \
        "not installed: no pictures (--quicklook); pip install 'hfd-edge[view]'"
    versions["torch"] = f"{_installed('torch')} (only for export and training)"
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
    from hfd_edge.device import thread_budget

    info = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in info)}
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {"model": fields.get("model name") or platform.processor() or platform.machine(), "cores": os.cpu_count(),
            "threads": thread_budget(None), "features": [flag for flag in _FEATURES if flag in flags]}


def _memory() -> dict[str, int]:
    from hfd_edge.device import available_memory_bytes
    from hfd_edge.plan import memory_budget_bytes
    return {"free_bytes": available_memory_bytes(), "budget_bytes": memory_budget_bytes(None)}


def _disk() -> dict[str, dict[str, Any]]:
    """Free space where maps are made (beside their names) and in the folder for temporary files."""
    folders = {"here": os.getcwd(), "temporary": tempfile.gettempdir()}
    return {name: {"folder": folder, "free_bytes": shutil.disk_usage(folder).free} for name, folder in folders.items()}


def _rasters() -> dict[str, Any]:
    """GDAL drivers and compressions, each tried."""
    try:
        from hfd_edge.raster import READ_DRIVERS, WRITE_DRIVERS, compressions_written, drivers_present
        with tempfile.TemporaryDirectory(prefix="hfd-edge-doctor-") as folder:
            drivers, written = drivers_present(), compressions_written(Path(folder))
    except (ImportError, OSError) as error:
        return {"text": f"not usable: {error}"}
    missing = [name for name, there in drivers.items() if not there]
    reads, writes = (" ".join(name for name in names if drivers[name]) for names in (READ_DRIVERS, WRITE_DRIVERS))
    text = f"reads {reads}; writes with {writes}"
    text += f"; missing: {' '.join(missing)}" if missing else ""
    return {"drivers": drivers, "compress": written,
            "text": f"{text}; --compress {', '.join(f'{name} {answer}' for name, answer in written.items())}"}


def _engines() -> dict[str, str]:
    """Each engine and whether it can run here."""
    engines = {}
    try:
        import onnxruntime
        providers = onnxruntime.get_available_providers()
        there = "CPUExecutionProvider" in providers
        engines["onnxruntime cpu"] = (f"can run: {onnxruntime.__version__}, " if there else "cannot: ") + \
            f"providers {', '.join(providers)}" + (" (only CPUExecutionProvider is used)" if len(providers) > 1 else "")
    except ImportError as error:
        engines["onnxruntime cpu"] = f"cannot: {error}; pip install onnxruntime"
    engines["cuda"] = _try(_why_no_cuda)
    for name in ("tensorrt", "tensorrt_rtx"):
        engines[name] = _try(lambda: _tensorrt(name))
    engines["plans"] = _try(_plans)
    return engines


def _tensorrt(name: str) -> str:
    """Whether this TensorRT can run plans here, and whether it can build them."""
    from hfd_edge.engine.tensorrt_capabilities import load_tensorrt
    from hfd_edge.errors import EngineError
    try:
        found = load_tensorrt(name)
    except EngineError as error:
        return f"cannot: {error}; {_cuda_driver()}"
    builds = "builds plans (hfd-edge build)" if found.builds_without_gpu else "cannot build either"
    if _native().get("cuda_module", {}).get("devices"):
        return f"can run: {found.version}, on {_cuda_driver()}"
    return f"cannot: {name} {found.version} is there and {builds}, but there is nothing to run them on: {_cuda_driver()}"


def _plans() -> str:
    """What the cache of TensorRT plans holds."""
    from hfd_edge.engine.tensorrt_cache import PlanCache
    cache = PlanCache()
    plans = cache.plans()
    return f"{len(plans)} built, {sum(cached.size for cached in plans) / 1e6:.1f} MB in {cache.folder}"


def _why_no_cuda() -> str:
    from hfd_edge.engine.choose import why_not_cuda
    missing = why_not_cuda()
    why = _native().get("cuda_module", {}).get("error")
    missing = [text.removesuffix(f" ({why})") for text in missing]            # the line of the CUDA module says it
    return f"cannot; missing: {'; '.join(missing)}; {_cuda_driver()}" if missing else "can run: cuda:0, with a graph for TensorRT in the engine"


def _cuda_driver() -> str:
    """Whether there is an NVIDIA driver, as the native CUDA module or the system sees it."""
    cuda = _native().get("cuda_module", {})
    if version := cuda.get("driver_version"):
        return f"CUDA driver {version // 1000}.{version % 1000 // 10}, {len(cuda['devices'])} devices"
    if not any(Path("/dev").glob("nvidia[0-9]*")) and not Path("/dev/nvhost-ctrl-gpu").exists():
        return "no NVIDIA device file in /dev, so no GPU with a driver"
    if cuda and not cuda["imported"]:
        return "a GPU's device file is there, but no CUDA module to ask it"
    return f"no CUDA driver: {cuda.get('error') or 'its library does not answer'}"


def _self_test(path: Path | None, threads: int | None) -> dict[str, Any]:
    """The golden tile of an engine, through every stage."""
    from hfd_edge.cli.demo import DEMO_ENGINE

    if path is None and not DEMO_ENGINE.is_file():
        return {"passed": None, "text": "not run: no engine was given and none is shipped; hfd-edge doctor model.engine"}
    try:
        from hfd_edge.cli.self_test import run_self_test
        return run_self_test(path or DEMO_ENGINE, threads)
    except ImportError as error:
        return {"passed": False, "engine": str(path or DEMO_ENGINE), "text": str(error)}


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
