// Depthwise convolution of candle's tensors [images, channels, height, width] and its gradients, for training and for
// the eager executor.
//
// Every number of a result is summed up by one thread, or by the threads of two launches in a fixed order, so that a run
// can be repeated to the last bit.
#include "number.cuh"

struct DepthwisePlanes {
    const void* x;       // [images, channels, height, width]
    const void* weights; // [channels, 1, kernel, kernel]
    const void* dy;      // [images, channels, out_height, out_width], for gradients.
    void* result;
    float* parts; // [channels, pixel of the kernel, parts], for the gradient of the weights.
    Window v;
    Window h;
    u32 images;
    u32 channels;
    u32 height;
    u32 width;
    u32 out_height;
    u32 out_width;
    u32 part_count;
};

// x, weights → y
template <typename T> __device__ void planes_forward(const DepthwisePlanes& op) {
    const u32 area = op.v.kernel * op.h.kernel;
    for (u32 plane = first_z(); plane < op.images * op.channels; plane += step_z())
    for (u32 oy = first_y(); oy < op.out_height; oy += step_y())
    for (u32 ox = first_x(); ox < op.out_width; ox += step_x()) {
        const T* x = (const T*)op.x + (u64)plane * op.height * op.width;
        const T* weights = (const T*)op.weights + (u64)(plane % op.channels) * area;
        float sum = 0.0f;
        for (u32 ky = 0; ky < op.v.kernel; ky++) {
            const u32 iy = element(op.v, oy, ky);
            if (iy >= op.height) continue;
            for (u32 kx = 0; kx < op.h.kernel; kx++) {
                const u32 ix = element(op.h, ox, kx);
                if (ix >= op.width) continue;
                sum = fmaf(wide(x[(u64)iy * op.width + ix]), wide(weights[ky * op.h.kernel + kx]), sum);
            }
        }
        ((T*)op.result)[((u64)plane * op.out_height + oy) * op.out_width + ox] = narrow<T>(sum);
    }
}

// The window whose element number `at` is `input`; more than there are windows if there is none.
__device__ inline u32 window_of(const Window& window, u32 input, u32 at) {
    // What would be negative wraps around to the upper half of the numbers.
    const u32 from = input + window.before - at * window.dilation;
    return from >= 0x80000000u || from % window.stride != 0 ? 0xffffffffu : from / window.stride;
}

// weights, dy → dx
template <typename T> __device__ void planes_input(const DepthwisePlanes& op) {
    const u32 area = op.v.kernel * op.h.kernel;
    for (u32 plane = first_z(); plane < op.images * op.channels; plane += step_z())
    for (u32 iy = first_y(); iy < op.height; iy += step_y())
    for (u32 ix = first_x(); ix < op.width; ix += step_x()) {
        const T* dy = (const T*)op.dy + (u64)plane * op.out_height * op.out_width;
        const T* weights = (const T*)op.weights + (u64)(plane % op.channels) * area;
        float sum = 0.0f;
        for (u32 ky = 0; ky < op.v.kernel; ky++) {
            const u32 oy = window_of(op.v, iy, ky);
            if (oy >= op.out_height) continue;
            for (u32 kx = 0; kx < op.h.kernel; kx++) {
                const u32 ox = window_of(op.h, ix, kx);
                if (ox >= op.out_width) continue;
                sum = fmaf(wide(dy[(u64)oy * op.out_width + ox]), wide(weights[ky * op.h.kernel + kx]), sum);
            }
        }
        ((T*)op.result)[((u64)plane * op.height + iy) * op.width + ix] = narrow<T>(sum);
    }
}

// x, dy → parts of the sums of dweights. The x axis is the part: neighbouring threads read neighbouring pixels.
template <typename T> __device__ void planes_parts(const DepthwisePlanes& op) {
    const u32 area = op.v.kernel * op.h.kernel;
    for (u32 channel = first_z(); channel < op.channels; channel += step_z())
    for (u32 tap = first_y(); tap < area; tap += step_y())
    for (u32 part = first_x(); part < op.part_count; part += step_x()) {
        float sum = 0.0f;
        for (u32 n = 0; n < op.images; n++) {
            const u64 plane = (u64)n * op.channels + channel;
            const T* x = (const T*)op.x + plane * op.height * op.width;
            const T* dy = (const T*)op.dy + plane * op.out_height * op.out_width;
            for (u32 at = part; at < op.out_height * op.out_width; at += op.part_count) {
                const u32 iy = element(op.v, at / op.out_width, tap / op.h.kernel);
                const u32 ix = element(op.h, at % op.out_width, tap % op.h.kernel);
                if (iy >= op.height || ix >= op.width) continue;
                sum = fmaf(wide(x[(u64)iy * op.width + ix]), wide(dy[at]), sum);
            }
        }
        op.parts[((u64)channel * area + tap) * op.part_count + part] = sum;
    }
}

// parts → dweights
template <typename T> __device__ void planes_weights(const DepthwisePlanes& op) {
    const u32 weights = op.channels * op.v.kernel * op.h.kernel;
    for (u32 i = first_x(); i < weights; i += step_x()) {
        double sum = 0.0;
        for (u32 part = 0; part < op.part_count; part++) {
            sum += op.parts[(u64)i * op.part_count + part];
        }
        ((T*)op.result)[i] = narrow<T>((float)sum);
    }
}

#define PLANES_KERNELS(number, T) \
    KERNEL(planes_forward_##number, DepthwisePlanes, planes_forward<T>) \
    KERNEL(planes_input_##number, DepthwisePlanes, planes_input<T>) \
    KERNEL(planes_parts_##number, DepthwisePlanes, planes_parts<T>) \
    KERNEL(planes_weights_##number, DepthwisePlanes, planes_weights<T>)

PLANES_KERNELS(f32, float)
PLANES_KERNELS(f16, f16)
PLANES_KERNELS(bf16, bf16)
