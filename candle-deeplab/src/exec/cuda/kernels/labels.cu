// The class of each pixel from logits of another size, by the rules of `upsample::winners`.
//
// If one class is the greatest at all four logits around a pixel, it is the pixel's. Otherwise the logits are
// interpolated, and the first of the greatest wins. NaN never does.
#include "resize.cuh"

struct Labels {
    View x;
    u8* ids;         // [images, height, width]
    u8* not_finite;  // Becomes 1 if a logit that is read is not finite.
    Axis v;
    Axis h;
    u32 images;
    u32 height;
    u32 width;
};

struct Best {
    u32 id;
    float value;
};

__device__ inline void offer(Best& best, u32 id, float value) {
    if (value > best.value) {
        best.id = id;
        best.value = value;
    }
}

template <typename T> __device__ void labels(const Labels& op) {
    for (u32 n = first_z(); n < op.images; n += step_z())
    for (u32 oy = first_y(); oy < op.height; oy += step_y())
    for (u32 ox = first_x(); ox < op.width; ox += step_x()) {
        const Lerp v = lerp(op.v, oy), h = lerp(op.h, ox);
        const T* corners[4] = {
            pixel<const T>(op.x, n, v.near, h.near), pixel<const T>(op.x, n, v.near, h.far),
            pixel<const T>(op.x, n, v.far, h.near), pixel<const T>(op.x, n, v.far, h.far),
        };
        Best between = {0, -infinity()}, at[4] = {between, between, between, between};
        bool finite = true;
        for (u32 id = 0; id < op.x.channels; id++) {
            float logits[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                logits[i] = wide(corners[i][id]);
                // Neither an infinity nor NaN, from which nothing follows but NaN.
                finite = finite && logits[i] - logits[i] == 0.0f;
                offer(at[i], id, logits[i]);
            }
            offer(between, id, blend(h, blend(v, logits[0], logits[2]), blend(v, logits[1], logits[3])));
        }
        const bool unanimous = at[0].id == at[1].id && at[0].id == at[2].id && at[0].id == at[3].id;
        op.ids[((u64)n * op.height + oy) * op.width + ox] = (u8)(unanimous ? at[0].id : between.id);
        // Whichever threads write it, they write the same.
        if (!finite) *op.not_finite = 1;
    }
}

KERNEL(labels_f32, Labels, labels<float>)
KERNEL(labels_f16, Labels, labels<f16>)
KERNEL(labels_bf16, Labels, labels<bf16>)
