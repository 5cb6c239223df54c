// All kernels, in the order in which the program joins their sources (`SOURCES` in mod.rs). For compilers that read
// files: `nvcc -cubin -arch=sm_90a all.cu`.
#include "depthwise.cu"
#include "depthwise_planes.cu"
#include "labels.cu"
#include "patches.cu"
#include "pixels.cu"
#include "planes.cu"
#include "pointwise.cu"
#include "pool.cu"
#include "resize.cu"
