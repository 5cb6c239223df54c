// Bilinear interpolation along an axis, by the operations of `graph::Axis`, each rounded as there.
#pragma once
#include "number.cuh"

struct Axis {
    float scale; // Inputs for each output.
    float half;  // 0 if corners are aligned; otherwise 0.5, since positions are at the centres of pixels.
    u32 inputs;
};

struct Lerp {
    u32 near;
    u32 far;
    float weight;
};

__device__ inline Lerp lerp(const Axis& axis, u32 output) {
    const float last = (float)(axis.inputs - 1);
    const float position = __fsub_rn(__fmul_rn(__fadd_rn((float)output, axis.half), axis.scale), axis.half);
    const float inside = clamp(position, 0.0f, last);
    const u32 near = (u32)floorf(inside);
    return {near, near + 1 < axis.inputs ? near + 1 : near, __fsub_rn(inside, (float)near)};
}

// A `far` of weight 0 is ignored even if it is infinite.
__device__ inline float blend(const Lerp& of, float near, float far) {
    return of.weight == 0.0f ? near : __fadd_rn(near, __fmul_rn(__fsub_rn(far, near), of.weight));
}
