"""Drives CMake from setuptools; everything else about the package is in pyproject.toml."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
FOUND = "hfd_edge: _cuda"       # CMake's line about CUDA, shown to whoever installs


class CMakeBuild(build_ext):
    """Both modules in one CMake run in build/cmake-<tag>, so that a second run compiles only what changed."""

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        made = self._cmake_dir() / "lib" / target.name
        if ext.name.endswith("_native"):
            self._run_cmake(made.parent)
        target.unlink(missing_ok=True)
        if made.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(made, target)
        elif not ext.optional:
            raise RuntimeError(f"CMake did not make {made}: see its messages above")

    def copy_extensions_to_source(self) -> None:
        for old in (ROOT / "hfd_edge").glob("_cuda.*.so"):      # made when there was a CUDA compiler
            old.unlink()
        super().copy_extensions_to_source()

    def _cmake_dir(self) -> Path:
        return Path(os.environ.get("HFD_BUILD_DIR", ROOT / "build" / f"cmake-{sysconfig.get_config_var('SOABI')}")).resolve()

    def _run_cmake(self, output: Path) -> None:
        import pybind11
        configure = ["cmake", "-S", str(ROOT), "-B", str(self._cmake_dir()), f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={output}",
                     f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
                     f"-DHFD_VERSION={self.distribution.get_version()}", f"-DHFD_CUDA={os.environ.get('HFD_CUDA', 'AUTO')}",
                     f"-DHFD_SANITIZE={os.environ.get('HFD_SANITIZE', 'OFF')}"]
        if ninja := shutil.which("ninja"):          # named each time: an isolated build's ninja is gone at the next one
            configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        configure += os.environ.get("CMAKE_ARGS", "").split()
        said = subprocess.run(configure, check=False, text=True, stdout=subprocess.PIPE)
        print(said.stdout if said.returncode else "\n".join(s for s in said.stdout.splitlines() if FOUND in s), flush=True)
        said.check_returncode()
        subprocess.run(["cmake", "--build", str(self._cmake_dir()), "--parallel"], check=True)


setup(ext_modules=[Extension("hfd_edge._native", []), Extension("hfd_edge._cuda", [], optional=True)],
      cmdclass={"build_ext": CMakeBuild})
