// The numbers of feature maps. All arithmetic is in float: 16 bits are only stored.
#pragma once
#include "kernel.cuh"

struct f16 {
    u16 bits;
};

struct bf16 {
    u16 bits;
};

__device__ inline float wide(float x) { return x; }

__device__ inline float wide(f16 x) {
#ifdef __CUDACC__
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
#else
    return half_to_float(x.bits);
#endif
}

__device__ inline float wide(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

// Rounds to the nearest, ties to even.
template <typename T> __device__ T narrow(float x);

template <> __device__ inline float narrow<float>(float x) { return x; }

template <> __device__ inline f16 narrow<f16>(float x) {
    f16 y;
#ifdef __CUDACC__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    y.bits = float_to_half(x);
#endif
    return y;
}

template <> __device__ inline bf16 narrow<bf16>(float x) {
    bf16 y;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    const u32 bits = __float_as_uint(x);
    // Rounding up must not turn a NaN into an infinity.
    y.bits = x != x ? 0x7fff : (u16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
#endif
    return y;
}

// V numbers that lie side by side, 1 or 8. Eight are read and written in words of 16 bytes, on which they must begin.
template <typename T, int V> struct Packet {
    union {
        uint4 words[sizeof(T) * V / 16];
        T numbers[V];
    };
};

template <typename T> struct Packet<T, 1> {
    T numbers[1];
};

template <typename T, int V> __device__ inline void load(const T* from, float (&to)[V]) {
    const Packet<T, V> packet = *(const Packet<T, V>*)from;
#pragma unroll
    for (int i = 0; i < V; i++) {
        to[i] = wide(packet.numbers[i]);
    }
}

template <typename T, int V> __device__ inline void store(T* to, const float (&from)[V]) {
    Packet<T, V> packet;
#pragma unroll
    for (int i = 0; i < V; i++) {
        packet.numbers[i] = narrow<T>(from[i]);
    }
    *(Packet<T, V>*)to = packet;
}

// Defines a kernel for each type of number, with one channel in a thread and with eight.
#define KERNEL_FOR_NUMBERS(name, Args, body) \
    KERNEL(name##_f32, Args, body<float, 1>) \
    KERNEL(name##_f16, Args, body<f16, 1>) \
    KERNEL(name##_bf16, Args, body<bf16, 1>) \
    KERNEL(name##_f32_8, Args, body<float, 8>) \
    KERNEL(name##_f16_8, Args, body<f16, 8>) \
    KERNEL(name##_bf16_8, Args, body<bf16, 8>)
