// Max pooling, and the mean over a map.
#include "number.cuh"

struct MaxPool {
    View x;
    View y;
    Window v;
    Window h;
    u32 images;
};

// Neither padding nor NaN ever wins.
template <typename T, int V> __device__ void max_pool(const MaxPool& op) {
    const u32 groups = divide_up(op.y.channels, V);
    for (u32 n = first_z(); n < op.images; n += step_z())
    for (u32 oy = first_y(); oy < op.y.height; oy += step_y())
    for (u32 i = first_x(); i < groups * op.y.width; i += step_x()) {
        const u32 channel = i % groups * V, ox = i / groups;
        float most[V];
#pragma unroll
        for (int c = 0; c < V; c++) {
            most[c] = -infinity();
        }
        for (u32 ky = 0; ky < op.v.kernel; ky++) {
            const u32 iy = element(op.v, oy, ky);
            if (iy >= op.x.height) continue;
            for (u32 kx = 0; kx < op.h.kernel; kx++) {
                const u32 ix = element(op.h, ox, kx);
                if (ix >= op.x.width) continue;
                float x[V];
                load(pixel<const T>(op.x, n, iy, ix) + channel, x);
#pragma unroll
                for (int c = 0; c < V; c++) {
                    most[c] = x[c] > most[c] ? x[c] : most[c];
                }
            }
        }
        store(pixel<T>(op.y, n, oy, ox) + channel, most);
    }
}

KERNEL_FOR_NUMBERS(max_pool, MaxPool, max_pool)

// The mean is found in two launches, so that there are enough threads, and always in the same order: first the sums of
// strips of pixels, then their sum.
struct Sums {
    View x;
    float* sums; // [images, strips, channels], with a multiple of 8 channels.
    u32 images;
    u32 strips;
};

template <typename T, int V> __device__ void sums(const Sums& op) {
    const u32 groups = divide_up(op.x.channels, V), padded = divide_up(op.x.channels, 8) * 8;
    const u32 pixels = op.x.height * op.x.width, strip = divide_up(pixels, op.strips);
    for (u32 n = first_z(); n < op.images; n += step_z())
    for (u32 s = first_y(); s < op.strips; s += step_y())
    for (u32 i = first_x(); i < groups; i += step_x()) {
        const u32 channel = i * V, first = s * strip, end = first + strip < pixels ? first + strip : pixels;
        float sums[V] = {};
        for (u32 p = first; p < end; p++) {
            float x[V];
            load(pixel<const T>(op.x, n, p / op.x.width, p % op.x.width) + channel, x);
#pragma unroll
            for (int c = 0; c < V; c++) {
                sums[c] += x[c];
            }
        }
        store(op.sums + ((u64)n * op.strips + s) * padded + channel, sums);
    }
}

KERNEL_FOR_NUMBERS(sums, Sums, sums)

struct Mean {
    const float* sums;
    View y; // One pixel an image.
    u32 images;
    u32 strips;
    u32 pixels;
};

template <typename T> __device__ void mean(const Mean& op) {
    const u32 padded = divide_up(op.y.channels, 8) * 8;
    for (u32 n = first_z(); n < op.images; n += step_z())
    for (u32 c = first_x(); c < op.y.channels; c += step_x()) {
        double sum = 0.0;
        for (u32 s = 0; s < op.strips; s++) {
            sum += op.sums[((u64)n * op.strips + s) * padded + c];
        }
        pixel<T>(op.y, n, 0, 0)[c] = narrow<T>((float)(sum / op.pixels));
    }
}

KERNEL(mean_f32, Mean, mean<float>)
KERNEL(mean_f16, Mean, mean<f16>)
KERNEL(mean_bf16, Mean, mean<bf16>)
