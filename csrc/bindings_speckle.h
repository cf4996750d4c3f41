// The speckle filters' part of hfd_edge._native.
#pragma once

#include <pybind11/pybind11.h>

void bind_speckle(pybind11::module_& module);
