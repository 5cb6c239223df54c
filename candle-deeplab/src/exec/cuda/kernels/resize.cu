// Bilinear resize of a map: along the columns first, as in `upsample`.
#include "resize.cuh"

struct Resize {
    View x;
    View y;
    Axis v;
    Axis h;
    u32 images;
};

template <typename T, int V> __device__ void resize(const Resize& op) {
    const u32 groups = divide_up(op.y.channels, V);
    for (u32 n = first_z(); n < op.images; n += step_z())
    for (u32 oy = first_y(); oy < op.y.height; oy += step_y())
    for (u32 i = first_x(); i < groups * op.y.width; i += step_x()) {
        const u32 channel = i % groups * V, ox = i / groups;
        const Lerp v = lerp(op.v, oy), h = lerp(op.h, ox);
        float a[V], b[V], c[V], d[V], y[V];
        load(pixel<const T>(op.x, n, v.near, h.near) + channel, a);
        load(pixel<const T>(op.x, n, v.near, h.far) + channel, b);
        load(pixel<const T>(op.x, n, v.far, h.near) + channel, c);
        load(pixel<const T>(op.x, n, v.far, h.far) + channel, d);
#pragma unroll
        for (int k = 0; k < V; k++) {
            y[k] = blend(h, blend(v, a[k], c[k]), blend(v, b[k], d[k]));
        }
        store(pixel<T>(op.y, n, oy, ox) + channel, y);
    }
}

KERNEL_FOR_NUMBERS(resize, Resize, resize)
