"""Which room may import which, and what the run time must do without."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hfd_edge"

# A room and what it may import of hfd_edge, besides itself. Later rooms may use what earlier rooms may.
ORDER = [
    "errors", "text", "extras", "forks", "exits", "durable", "spec", "score", "_native", "_cuda", "build", "tiles", "package", "device", "plan", "radiometry", "speckle", "stitch", "simulate",
    "raster",
    "products", "engine", "source", "results", "pipeline", "run", "segmenter", "raster_run", "scene", "view", "network", "measure", "export", "cli"]
ONLY_HERE = {
    "rasterio": {"raster", "products"}, "torch": {"network", "export"}, "timm": {"network", "export"}, "onnx": {"export"}, "tensorrt": {"engine"},
    "tensorrt_rtx": {"engine"}, "cv2": {"view"}, "sarpy": {"products"}, "h5py": {"products"}, "typer": {"cli"}, "onnxruntime": {"engine", "export", "cli"}}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path):
    """(module, whether it is imported when the file is) of every import in a file; type-checking blocks do not count."""
    tree = ast.parse(path.read_text())
    checked_only = {id(n) for block in ast.walk(tree) if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test) for n in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in checked_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "hfd_edge":
                yield from (f"hfd_edge.{alias.name}" for alias in node.names)
            else:
                yield node.module


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(PACKAGE)) for p in FILES])
def test_every_import_goes_one_way(path):
    room = room_of(path)
    assert room in ORDER, f"{path.name} is in no room: give it one in DESIGN's order"
    for module in imports_of(path):
        top, *rest = module.split(".")
        if top in ONLY_HERE:
            assert room in ONLY_HERE[top], f"{room} imports {top}: only {sorted(ONLY_HERE[top])} may"
        if top == "hfd_edge" and rest and rest[0] != "__version__":
            other = room_of(PACKAGE / f"{rest[0]}.py")
            back = {("results", "raster"), ("segmenter", "raster_run")}        # inside functions: a convenience of the upper room
            assert ORDER.index(other) <= ORDER.index(room) or (room, other) in back, f"{room} imports {other}, which stands above it"


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
"""
HEAVY = ("torch", "onnx", "timm", "tensorrt", "tensorrt_rtx", "onnxscript", "safetensors")


def run_blocked(code: str, names=HEAVY) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", BLOCK.format(names=set(names)) + code], capture_output=True, text=True, cwd=ROOT)


def test_the_run_time_rooms_import_with_torch_onnx_and_tensorrt_blocked():
    rooms = [r for r in ORDER[:ORDER.index("network")] if (PACKAGE / f"{r}.py").exists() or (PACKAGE / r / "__init__.py").exists()]
    done = run_blocked("import importlib\n" + "".join(f"importlib.import_module('hfd_edge.{r}')\n" for r in rooms) + "import hfd_edge.cli; print('ok')")
    assert done.returncode == 0 and done.stdout.strip() == "ok", done.stderr


def test_the_block_itself_works():
    assert "blocked: onnx" in run_blocked("import onnx").stderr
