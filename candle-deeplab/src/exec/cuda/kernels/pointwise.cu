// What is computed number by number: sums, products, activations and copies.
#include "number.cuh"

// As `Combination` and `Function` in Rust.
enum { ALONE, PLUS, TIMES, TIMES_CHANNEL };
enum { CLAMP, HARD_SWISH, HARD_SIGMOID };

struct Pointwise {
    View x;
    View other; // One pixel an image for TIMES_CHANNEL; not read for ALONE.
    View y;     // May be x itself.
    u32 images;
    u32 combination;
    u32 function;
    float low;
    float high;
};

__device__ inline float applied(const Pointwise& op, float x) {
    if (op.function == CLAMP) return clamp(x, op.low, op.high);
    const float gate = clamp(x + 3.0f, 0.0f, 6.0f);
    return (op.function == HARD_SWISH ? x * gate : gate) / 6.0f;
}

template <typename T, int V> __device__ void pointwise(const Pointwise& op) {
    const u32 groups = divide_up(op.y.channels, V);
    for (u32 n = first_z(); n < op.images; n += step_z())
    for (u32 y = first_y(); y < op.y.height; y += step_y())
    for (u32 i = first_x(); i < groups * op.y.width; i += step_x()) {
        const u32 channel = i % groups * V, x = i / groups;
        float values[V], others[V];
        load(pixel<const T>(op.x, n, y, x) + channel, values);
        if (op.combination != ALONE) {
            const bool single = op.combination == TIMES_CHANNEL;
            load(pixel<const T>(op.other, n, single ? 0 : y, single ? 0 : x) + channel, others);
#pragma unroll
            for (int c = 0; c < V; c++) {
                values[c] = op.combination == PLUS ? values[c] + others[c] : values[c] * others[c];
            }
        }
#pragma unroll
        for (int c = 0; c < V; c++) {
            values[c] = applied(op, values[c]);
        }
        store(pixel<T>(op.y, n, y, x) + channel, values);
    }
}

KERNEL_FOR_NUMBERS(pointwise, Pointwise, pointwise)
