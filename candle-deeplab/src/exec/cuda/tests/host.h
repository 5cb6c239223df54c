// Makes C++ of the kernels: what they need of CUDA, on one thread of the CPU. It comes in front of their sources.
//
// A kernel becomes a C function of its name, which takes a pointer to its arguments and six numbers: the sizes of the
// grid and of a block. It runs the kernel for each thread in turn.
#include <cmath>
#include <cstdint>
#include <cstring>

#define __device__
#define __global__

struct Dim3 {
    unsigned x, y, z;
};
static thread_local Dim3 gridDim, blockDim, blockIdx, threadIdx;

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

static inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    return bits;
}

// Plain operations, if the compiler may not contract them (-ffp-contract=off).
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }

static inline float half_to_float(uint16_t bits) {
    const unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 0x1f, mantissa = bits & 0x3ff;
    if (exponent == 0x1f) return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0) return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
    // A subnormal number is its mantissa in units of 2^-24.
    const float x = ldexpf((float)mantissa, -24);
    return sign ? -x : x;
}

// Rounds to the nearest, ties to even, as the FPU does (rintf).
static inline uint16_t float_to_half(float x) {
    const uint16_t sign = __float_as_uint(x) >> 16 & 0x8000;
    const float size = fabsf(x);
    if (x != x) return 0x7fff;
    // Halfway between the greatest half and the power of two that would come next.
    if (size >= 65520.0f) return sign | 0x7c00;
    // Below the least normal number, halves are 2^-24 apart; above it, 2^-10 of their power of two.
    if (size < 0x1p-14f) return sign | (uint16_t)rintf(ldexpf(size, 24));
    int exponent;
    frexpf(size, &exponent);
    // A mantissa that is rounded up to the next power of two carries into the exponent.
    return sign | (uint16_t)(((exponent + 14) << 10) + ((int)rintf(ldexpf(size, 11 - exponent)) - 1024));
}

// The loops are the threads. Who keeps a launch for later copies as many bytes of arguments as `name_size` says.
#define KERNEL(name, Args, ...) \
    extern "C" const unsigned name##_size = sizeof(Args); \
    extern "C" void name(const Args* args, const unsigned* geometry) { \
        gridDim = {geometry[0], geometry[1], geometry[2]}; \
        blockDim = {geometry[3], geometry[4], geometry[5]}; \
        for (blockIdx.z = 0; blockIdx.z < gridDim.z; blockIdx.z++) \
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++) \
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++) \
        for (threadIdx.z = 0; threadIdx.z < blockDim.z; threadIdx.z++) \
        for (threadIdx.y = 0; threadIdx.y < blockDim.y; threadIdx.y++) \
        for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) { \
            __VA_ARGS__(*args); \
        } \
    }
