// The part of CUDA's driver that hfd_edge uses: which context is the calling thread's, and whose memory is.
#pragma once

enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1, CUDA_ERROR_NO_DEVICE = 100, CUDA_ERROR_INVALID_DEVICE = 101 };
using CUdevice = int;
enum CUpointer_attribute { CU_POINTER_ATTRIBUTE_CONTEXT = 1 };
using CUcontext = struct CUctx_st*;
using CUdeviceptr = unsigned long long;

CUresult cuInit(unsigned flags);
CUresult cuDeviceGet(CUdevice* device, int ordinal);
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device);
CUresult cuCtxGetCurrent(CUcontext* context);
CUresult cuCtxSetCurrent(CUcontext context);
CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr pointer);
