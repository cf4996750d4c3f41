#pragma once

#include <pybind11/pybind11.h>

void bind_cuda_ops(pybind11::module_& module);      // gather, finish, saturated pixels
void bind_cuda_speckle(pybind11::module_& module);  // speckle filters, scene counts
void bind_cuda_blend(pybind11::module_& module);    // blending of overlapping tiles
