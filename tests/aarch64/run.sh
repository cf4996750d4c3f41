#!/bin/sh
# The native operations on aarch64, cross-compiled and emulated, against this machine's, at 0 ulp.
# Needs the Debian packages g++-aarch64-linux-gnu and qemu-user, and a checkout with the native module built.
#   PYTHON=.venv/bin/python tests/aarch64/run.sh
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
cross=${CROSS_CXX:-aarch64-linux-gnu-g++}
folder=build/aarch64
mkdir -p "$folder"
"$cross" -std=c++17 -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -Wall -Wextra -pthread -static -Icsrc \
  tests/aarch64/replay.cpp csrc/common/thread_pool.cpp csrc/ops/gather.cpp csrc/ops/gather_cpu.cpp csrc/ops/finish.cpp \
  csrc/ops/finish_cpu.cpp csrc/ops/blend.cpp csrc/ops/blend_cpu.cpp csrc/ops/table_power_cpu.cpp \
  csrc/ops/speckle.cpp csrc/ops/speckle_cpu.cpp csrc/ops/row_loops.cpp csrc/ops/row_loops_base.cpp \
  -o "$folder/replay"
PYTHONPATH=. "$python" tests/recorded.py make "$folder/calls.bin"
PYTHONPATH=. "$python" tests/recorded.py run "$folder/calls.bin" "$folder/here.bin"
qemu-aarch64 "$folder/replay" "$folder/calls.bin" "$folder/aarch64.bin"
cmp "$folder/here.bin" "$folder/aarch64.bin"
echo "aarch64 and $(uname -m): $(wc -c < "$folder/here.bin") bytes of output are equal"
