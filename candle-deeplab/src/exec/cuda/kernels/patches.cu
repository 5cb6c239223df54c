// What the windows of a convolution see, as the rows of a matrix, one for each pixel of the result.
#include "number.cuh"

struct Patches {
    View x;
    void* rows; // [pixel][pixel of the kernel][channel], then zeros up to the pitch.
    Window v;
    Window h;
    u32 height; // Of the result.
    u32 width;
    u32 first; // The first pixel of the result, counted through all images.
    u32 pixels;
    u32 pitch; // Numbers of a row.
};

template <typename T, int V> __device__ void patches(const Patches& op) {
    const u32 groups = op.pitch / V, channels = op.x.channels, inputs = op.v.kernel * op.h.kernel * channels;
    for (u32 i = first_x(); i < groups * op.pixels; i += step_x()) {
        const u32 at = i % groups * V, row = i / groups, output = op.first + row;
        const u32 ox = output % op.width, oy = output / op.width % op.height, n = output / op.width / op.height;
        float values[V] = {};
        if (at < inputs) {
            const u32 tap = at / channels, channel = at % channels;
            const u32 iy = element(op.v, oy, tap / op.h.kernel), ix = element(op.h, ox, tap % op.h.kernel);
            if (iy < op.x.height && ix < op.x.width) {
                load(pixel<const T>(op.x, n, iy, ix) + channel, values);
            }
        }
        store((T*)op.rows + (u64)row * op.pitch + at, values);
    }
}

KERNEL_FOR_NUMBERS(patches, Patches, patches)
