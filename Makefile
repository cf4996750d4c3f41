# make demo          install into .venv and segment a simulated scene into ./demo
# make test          all tests: run-time tier in .venv (no torch), then the torch tier in .venv-train
# make test-quick    run-time tier without the slow tests
# make sanitize      native tests under address and undefined-behaviour sanitizers, CUDA kernels on the host under the thread sanitizer
# make aarch64       native operations cross-compiled and emulated, at 0 ulp (g++-aarch64-linux-gnu, qemu-user)
# make vectors       what the compiler made vectors of, for docs/vectorisation.md
# make certify       everything that needs a GPU, proved on the one at hand (docs/cuda.md); needs no network
# make demo-engine   train and export the shipped demo engines anew (.venv-train)
# make bench         a short form of every benchmark beside its baselines: benchmarks/RESULTS.md (.venv-train)
# make clean         remove what these made

PYTHON ?= python3
RUN = .venv/bin/python
TRAIN = .venv-train/bin/python
# Without build isolation a second install compiles only what changed.
BUILD_DEPS = "setuptools>=77" "pybind11>=2.13" "cmake>=3.20" ninja
# Tests of one file stay together: they share what takes long to make.
PYTEST_JOBS ?= -n 2 --dist loadfile
PIP_FLAGS = --quiet --disable-pip-version-check
NATIVE_SOURCES = setup.py pyproject.toml CMakeLists.txt $(wildcard cmake/* csrc/*.* csrc/*/*)
NATIVE_TESTS = tests/test_thread_pool.py tests/test_gather.py tests/test_gather_refusals.py tests/test_finish.py tests/test_blend.py tests/test_simd.py \
  tests/test_speckle.py tests/test_speckle_tiles.py tests/test_product_tables.py

.PHONY: certify demo test test-run test-torch test-quick sanitize aarch64 vectors demo-engine bench bench-engine clean

# Where there is no GPU, the first map need not wait for kernels for nine of them.
DEMO_CUDA = $(or $(HFD_CUDA),$(if $(wildcard /dev/nvidiactl /dev/nvgpu /dev/nvhost-gpu),AUTO,OFF))

demo: $(RUN)
	@echo "== installing hfd-edge into .venv"
	@rm -f .venv/dev-installed
	@HFD_CUDA=$(DEMO_CUDA) $(RUN) -m pip install $(PIP_FLAGS) -e ".[view]"
	@$(RUN) -I -c "import hfd_edge; print('== native module ready; CUDA module', hfd_edge.build_info()['cuda'])"
	@echo "== segmenting a simulated scene into demo/"
	@.venv/bin/hfd-edge demo --out demo

# The second tier's largest packages are unpacked while the first tier runs.
test:
	@$(MAKE) --no-print-directory -j 2 test-run .venv-train/torch-installed
	@$(MAKE) --no-print-directory test-torch

test-run: .venv/dev-installed
	@echo "== tests of the run-time tier (.venv, no torch)"
	@$(RUN) -m pytest $(PYTEST_JOBS) tests --ignore=tests/with_torch

test-torch: .venv-train/dev-installed
	@echo "== tests of the torch tier (.venv-train)"
	@if [ -d tests/with_torch ]; then $(TRAIN) -m pytest $(PYTEST_JOBS) tests/with_torch; else echo "no tests/with_torch: nothing to run"; fi

test-quick: .venv/dev-installed
	@echo "== quick tests (.venv, no torch)"
	@$(RUN) -m pytest $(PYTEST_JOBS) tests --ignore=tests/with_torch -m "not slow" -x

sanitize: .venv/dev-installed
	@echo "== building the native module with sanitizers in build/sanitize"
	@HFD_SANITIZE=ON HFD_CUDA=OFF HFD_BUILD_DIR=build/sanitize/cmake PATH="$(CURDIR)/.venv/bin:$$PATH" \
	  $(RUN) setup.py --quiet build_ext --build-lib build/sanitize/lib
	@cd hfd_edge && find . -name '*.py' -exec cp --parents {} ../build/sanitize/lib/hfd_edge/ \;
	@echo "== native tests under the sanitizers"
	@cd build/sanitize && LD_PRELOAD="$$($${CXX:-c++} -print-file-name=libasan.so) $$($${CXX:-c++} -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=lib:../.. \
	  ../../$(RUN) -m pytest -q -p no:cacheprovider -c ../../pyproject.toml --rootdir=../.. $(addprefix ../../,$(NATIVE_TESTS))
	@echo "== CUDA kernels compiled for the host under the thread sanitizer"
	@HFD_RACES=1 $(RUN) -m pytest -q tests/test_cuda_twins.py -k no_two_threads

aarch64: .venv/dev-installed
	@echo "== native operations on an emulated aarch64"
	@PYTHON=$(RUN) tests/aarch64/run.sh

vectors:
	@for flags in "" "-mavx2" "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512"; do \
	  echo "== $${flags:-the base of the architecture}"; \
	  $${CXX:-c++} -std=c++17 -O3 -fPIC -ffp-contract=off -fno-math-errno -fno-trapping-math $$flags -Icsrc -fopt-info-vec \
	    -c csrc/ops/row_loops_base.cpp -o /dev/null 2>&1 | grep -oE "csrc/ops/(gather|finish|speckle)_[a-z_]*.h:[0-9]+:.*vectorized.*" | \
	    sed -E "s/:[0-9]+: optimized: +/: /" | sort | uniq -c; done

# Built for the GPU at hand alone, by whatever Python is there: .venv-train's torch drives the pipeline, else that of python3.
CERTIFY ?= $(firstword $(wildcard .venv-train/bin/python .venv/bin/python) $(PYTHON))
certify:
	@$(CERTIFY) -c "import pybind11, setuptools as s; raise SystemExit(int(s.__version__.split('.')[0]) < 77)" 2>/dev/null || { echo "compiled here, with what $(CERTIFY) has: $(CERTIFY) -m pip install" '$(BUILD_DEPS)' >&2; exit 1; }
	@$(CERTIFY) -c "import ctypes; raise SystemExit(bool(ctypes.CDLL('libcuda.so.1').cuInit(0)))" 2>/dev/null || { echo "nothing can be certified here: NVIDIA's driver (libcuda.so.1) has no GPU for this process; use a machine where nvidia-smi lists one" >&2; exit 2; }
	@echo "== building the CUDA module for this GPU"
	@HFD_CUDA=ON HFD_BUILD_DIR=build/certify CMAKE_ARGS="-DCMAKE_CUDA_ARCHITECTURES=native $$CMAKE_ARGS" PATH="$(abspath $(dir $(CERTIFY))):$$PATH" \
	  $(CERTIFY) setup.py --quiet build_ext --inplace
	@echo "== certifying"
	@$(CERTIFY) benchmarks/certify_gpu.py $(CERTIFY_ARGS)

demo-engine: .venv-train/dev-installed
	@echo "== training and exporting the demo engines"
	@$(TRAIN) -m training.demo
	@$(TRAIN) -m training.demo --light

# The shipped demo students with INT8 beside FP32, and as checkpoints for PyTorch: what the benchmarks run on.
bench-engine: .venv-train/dev-installed
	@$(TRAIN) benchmarks/demo_student.py --out runs/bench

# Peers that are not in .venv-train are named in the result: .venv-train/bin/pip install -r benchmarks/requirements.txt
bench: bench-engine
	@echo "== benchmarks"
	@$(TRAIN) benchmarks/run_all.py $(BENCH)

clean:
	@echo "== removing environments, builds and outputs"
	@rm -rf .venv .venv-train build dist demo *.egg-info .pytest_cache .hypothesis hfd_edge/*.so

$(RUN):
	@echo "== making .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv

$(TRAIN):
	@echo "== making .venv-train with $(PYTHON)"
	@$(PYTHON) -m venv .venv-train

.venv/dev-installed: $(RUN) $(NATIVE_SOURCES)
	@echo "== installing hfd-edge for development into .venv"
	@$(RUN) -m pip install $(PIP_FLAGS) $(BUILD_DEPS)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" $(RUN) -m pip install $(PIP_FLAGS) --no-build-isolation -e ".[dev,view]"
	@touch $@

.venv-train/torch-installed: $(TRAIN) constraints-test.txt
	@echo "== installing torch into .venv-train"
	@$(TRAIN) -m pip install $(PIP_FLAGS) $(BUILD_DEPS) -c constraints-test.txt torch torchvision timm lightning
	@touch $@

.venv-train/dev-installed: .venv-train/torch-installed $(NATIVE_SOURCES)
	@echo "== installing hfd-edge with torch into .venv-train"
	@PATH="$(CURDIR)/.venv-train/bin:$$PATH" $(TRAIN) -m pip install $(PIP_FLAGS) --no-build-isolation \
	  -c constraints-test.txt -e ".[dev,view,export,train,legality]"
	@touch $@
