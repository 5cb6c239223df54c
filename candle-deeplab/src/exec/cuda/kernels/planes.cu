// Between maps and candle's tensors, f32 [images, channels, height, width].
#include "resize.cuh"

struct FromPlanes {
    const float* planes;
    View map;
    u32 images;
};

template <typename T> __device__ void from_planes(const FromPlanes& op) {
    for (u32 n = first_z(); n < op.images; n += step_z())
    for (u32 row = first_y(); row < op.map.channels * op.map.height; row += step_y())
    for (u32 x = first_x(); x < op.map.width; x += step_x()) {
        const u32 channel = row / op.map.height, y = row % op.map.height;
        const u64 plane = (u64)n * op.map.channels + channel;
        const float value = op.planes[(plane * op.map.height + y) * op.map.width + x];
        pixel<T>(op.map, n, y, x)[channel] = narrow<T>(value);
    }
}

KERNEL(from_planes_f32, FromPlanes, from_planes<float>)
KERNEL(from_planes_f16, FromPlanes, from_planes<f16>)
KERNEL(from_planes_bf16, FromPlanes, from_planes<bf16>)

// Resizes on the way, along the columns first, as in `upsample`.
struct ToPlanes {
    View map;
    float* planes;
    Axis v;
    Axis h;
    u32 images;
    u32 height; // Of the planes.
    u32 width;
};

template <typename T> __device__ void to_planes(const ToPlanes& op) {
    for (u32 n = first_z(); n < op.images; n += step_z())
    for (u32 row = first_y(); row < op.map.channels * op.height; row += step_y())
    for (u32 x = first_x(); x < op.width; x += step_x()) {
        const u32 channel = row / op.height, y = row % op.height;
        const Lerp v = lerp(op.v, y), h = lerp(op.h, x);
        const float a = wide(pixel<const T>(op.map, n, v.near, h.near)[channel]);
        const float b = wide(pixel<const T>(op.map, n, v.near, h.far)[channel]);
        const float c = wide(pixel<const T>(op.map, n, v.far, h.near)[channel]);
        const float d = wide(pixel<const T>(op.map, n, v.far, h.far)[channel]);
        const u64 plane = (u64)n * op.map.channels + channel;
        op.planes[(plane * op.height + y) * op.width + x] = blend(h, blend(v, a, c), blend(v, b, d));
    }
}

KERNEL(to_planes_f32, ToPlanes, to_planes<float>)
KERNEL(to_planes_f16, ToPlanes, to_planes<f16>)
KERNEL(to_planes_bf16, ToPlanes, to_planes<bf16>)
