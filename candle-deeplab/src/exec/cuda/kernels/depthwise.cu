// Depthwise convolution of maps, with bias and clamp, and a ReLU in front of it.
#include "number.cuh"

struct Depthwise {
    View x;
    View y;
    const float* weights; // [pixel of the kernel][channel], with a multiple of 8 channels.
    const float* bias;    // As many.
    Window v;
    Window h;
    u32 images;
    u32 relu_input;
    float low;
    float high;
};

// A thread computes V channels of P neighbouring columns, for which it reads the weights once.
template <typename T, int V, int P> __device__ void depthwise(const Depthwise& op) {
    const u32 groups = divide_up(op.y.channels, V), columns = divide_up(op.y.width, P);
    const u32 padded = divide_up(op.y.channels, 8) * 8;
    for (u32 n = first_z(); n < op.images; n += step_z())
    for (u32 oy = first_y(); oy < op.y.height; oy += step_y())
    for (u32 i = first_x(); i < groups * columns; i += step_x()) {
        const u32 channel = i % groups * V, left = i / groups * P;
        float sums[P][V];
        load(op.bias + channel, sums[0]);
#pragma unroll
        for (int p = 1; p < P; p++) {
#pragma unroll
            for (int c = 0; c < V; c++) {
                sums[p][c] = sums[0][c];
            }
        }
        for (u32 ky = 0; ky < op.v.kernel; ky++) {
            const u32 iy = element(op.v, oy, ky);
            if (iy >= op.x.height) continue;
            for (u32 kx = 0; kx < op.h.kernel; kx++) {
                float weights[V];
                load(op.weights + (ky * op.h.kernel + kx) * padded + channel, weights);
#pragma unroll
                for (int p = 0; p < P; p++) {
                    const u32 ix = element(op.h, left + p, kx);
                    if (ix >= op.x.width) continue;
                    float x[V];
                    load(pixel<const T>(op.x, n, iy, ix) + channel, x);
#pragma unroll
                    for (int c = 0; c < V; c++) {
                        // NaN stays NaN.
                        const float value = op.relu_input && x[c] < 0.0f ? 0.0f : x[c];
                        sums[p][c] = fmaf(value, weights[c], sums[p][c]);
                    }
                }
            }
        }
#pragma unroll
        for (int p = 0; p < P; p++) {
            if (left + p >= op.y.width) continue;
#pragma unroll
            for (int c = 0; c < V; c++) {
                sums[p][c] = clamp(sums[p][c], op.low, op.high);
            }
            store(pixel<T>(op.y, n, oy, left + p) + channel, sums[p]);
        }
    }
}

// Four columns for large maps; single ones where there would be too few threads.
template <typename T, int V> __device__ void depthwise_1(const Depthwise& op) { depthwise<T, V, 1>(op); }
template <typename T, int V> __device__ void depthwise_4(const Depthwise& op) { depthwise<T, V, 4>(op); }
KERNEL_FOR_NUMBERS(depthwise_1, Depthwise, depthwise_1)
KERNEL_FOR_NUMBERS(depthwise_4, Depthwise, depthwise_4)
