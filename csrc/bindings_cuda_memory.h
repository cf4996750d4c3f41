#pragma once

#include <pybind11/pybind11.h>

void bind_cuda_memory(pybind11::module_& module);
