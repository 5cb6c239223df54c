// What every kernel is made of: an entry point, the share of a thread, and maps in memory.
//
// The kernels are plain CUDA C: no shared memory, no barriers, no atomics, no headers. Each is right for any number of
// threads and blocks, since a thread takes its share by stepping over all the work. Compiled as C++ with `host.h` in front
// of them, they run on a CPU, where tests compare them with the reference.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// The largest number of threads in a block.
#define BLOCK 256

#ifdef __CUDACC__
// Defines an entry point, which takes one struct by value. The last argument is the function that does the work.
#define KERNEL(name, Args, ...) \
    extern "C" __global__ void __launch_bounds__(BLOCK) name(const Args args) { __VA_ARGS__(args); }
#endif

// Work has three axes. The x axis is the one whose neighbours lie side by side in memory; y and z are mostly rows and
// images.
__device__ inline u32 first_x() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline u32 step_x() { return gridDim.x * blockDim.x; }
__device__ inline u32 first_y() { return blockIdx.y; }
__device__ inline u32 step_y() { return gridDim.y; }
__device__ inline u32 first_z() { return blockIdx.z; }
__device__ inline u32 step_z() { return gridDim.z; }

// Some channels of maps [images, height, width, channels]. What lies around them in memory belongs to others.
struct View {
    void* data; // The first channel of the first pixel.
    u32 pitch;  // Numbers from one pixel to the next.
    u32 row;    // Pixels from one row to the next.
    u32 image;  // Pixels from one image to the next.
    u32 channels;
    u32 height;
    u32 width;
};

// The first channel of a pixel.
template <typename T> __device__ inline T* pixel(const View& view, u32 n, u32 y, u32 x) {
    return (T*)view.data + (u64)view.pitch * ((u64)n * view.image + (u64)y * view.row + x);
}

// Sliding windows along one axis.
struct Window {
    u32 kernel;
    u32 stride;
    u32 dilation;
    u32 before; // Padding before the first element.
};

// The element number `at` of a window. It lies in the padding if it is not less than the length of the axis: what
// would be negative wraps around.
__device__ inline u32 element(const Window& window, u32 output, u32 at) {
    return output * window.stride + at * window.dilation - window.before;
}

// Without a header there is no INFINITY.
__device__ inline float infinity() { return __uint_as_float(0x7f800000u); }

// NaN stays NaN.
__device__ inline float clamp(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

__device__ inline u32 divide_up(u32 a, u32 b) { return (a + b - 1) / b; }
