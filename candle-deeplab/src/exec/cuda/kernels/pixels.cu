// The beginning of a network: from pixels, 8 bits a channel, to the map that the first layer reads.
//
// An image of another size is resampled as the `image` crate does it: first along the columns, in float, then along the
// rows, rounded to 8 bits. Every operation is rounded as on the CPU, so that the results are the same to the last bit.
#include "number.cuh"

// The normalisation of a channel's values and what lies around the image, which is normalised already.
struct Normalization {
    float mean[3];
    float std[3];
    float padding[3];
};

__device__ inline float normalized(const Normalization& of, float value, u32 channel) {
    return __fdiv_rn(__fsub_rn(value, of.mean[channel]), of.std[channel]);
}

struct Pixels {
    const u8* pixels; // [images, height, width, 3]
    View y;           // Its size is that of the network's input.
    Normalization normalization;
    u32 images;
    u32 height;
    u32 width;
};

template <typename T> __device__ void pixels(const Pixels& op) {
    for (u32 n = first_z(); n < op.images; n += step_z())
    for (u32 y = first_y(); y < op.y.height; y += step_y())
    for (u32 x = first_x(); x < op.y.width; x += step_x()) {
        const u8* from = op.pixels + 3 * (((u64)n * op.height + y) * op.width + x);
        T* to = pixel<T>(op.y, n, y, x);
        const bool inside = y < op.height && x < op.width;
        for (u32 c = 0; c < 3; c++) {
            to[c] = narrow<T>(inside ? normalized(op.normalization, (float)from[c], c) : op.normalization.padding[c]);
        }
    }
}

KERNEL(pixels_f32, Pixels, pixels<float>)
KERNEL(pixels_f16, Pixels, pixels<f16>)
KERNEL(pixels_bf16, Pixels, pixels<bf16>)

// What each output along an axis is a weighted sum of.
struct Taps {
    const u32* starts;    // The first input of each output.
    const u32* counts;    // The number of its inputs.
    const float* weights; // [output][most]
    u32 most;
    u32 outputs;
};

struct Columns {
    const u8* x; // [images, height, line]
    float* y;    // [images, outputs, line]
    Taps taps;
    u32 images;
    u32 height;
    u32 line; // Numbers of a row: three for each pixel.
};

__device__ void columns(const Columns& op) {
    for (u32 n = first_z(); n < op.images; n += step_z())
    for (u32 y = first_y(); y < op.taps.outputs; y += step_y())
    for (u32 i = first_x(); i < op.line; i += step_x()) {
        const u8* x = op.x + ((u64)n * op.height + op.taps.starts[y]) * op.line + i;
        const float* weights = op.taps.weights + (u64)y * op.taps.most;
        float sum = 0.0f;
        for (u32 k = 0; k < op.taps.counts[y]; k++) {
            sum = __fadd_rn(sum, __fmul_rn((float)x[(u64)k * op.line], weights[k]));
        }
        op.y[((u64)n * op.taps.outputs + y) * op.line + i] = sum;
    }
}

KERNEL(resample_columns, Columns, columns)

struct Rows {
    const float* x; // [images, height, width, 3]
    View y;         // Its size is that of the network's input.
    Taps taps;
    Normalization normalization;
    u32 images;
    u32 height;
    u32 width;
};

template <typename T> __device__ void rows(const Rows& op) {
    for (u32 n = first_z(); n < op.images; n += step_z())
    for (u32 y = first_y(); y < op.y.height; y += step_y())
    for (u32 i = first_x(); i < op.y.width; i += step_x()) {
        T* to = pixel<T>(op.y, n, y, i);
        const bool inside = y < op.height && i < op.taps.outputs;
        for (u32 c = 0; c < 3; c++) {
            float value = op.normalization.padding[c];
            if (inside) {
                const float* x = op.x + 3 * (((u64)n * op.height + y) * op.width + op.taps.starts[i]) + c;
                const float* weights = op.taps.weights + (u64)i * op.taps.most;
                float sum = 0.0f;
                for (u32 k = 0; k < op.taps.counts[i]; k++) {
                    sum = __fadd_rn(sum, __fmul_rn(x[3 * k], weights[k]));
                }
                value = normalized(op.normalization, roundf(clamp(sum, 0.0f, 255.0f)), c);
            }
            to[c] = narrow<T>(value);
        }
    }
}

KERNEL(resample_rows_f32, Rows, rows<float>)
KERNEL(resample_rows_f16, Rows, rows<f16>)
KERNEL(resample_rows_bf16, Rows, rows<bf16>)
