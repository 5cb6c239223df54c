//! Loops that are compiled once for each instruction set and chosen at run time, written once for f32 and f64.

use std::ops::Neg;

use candle_core::WithDType;

/// How many numbers a loop handles at once: a vector of the widest instruction set. Sums are kept in as many parts.
pub(super) const LANES: usize = 16;

/// f32 or f64.
pub(super) trait Float: WithDType + Neg<Output = Self> + Default {
    /// Whether loops are compiled for each instruction set. Only f32 has to be fast; f64 is for checks.
    const FAST: bool;
    /// `self · factor + sum`. With `FUSED` in one instruction, which exists where the caller says so.
    fn times_plus<const FUSED: bool>(self, factor: Self, sum: Self) -> Self;
    /// The same number as f64.
    fn wide(self) -> f64;
    /// The nearest number to `x`.
    fn of(x: f64) -> Self;
    fn is_nan(self) -> bool;
}

macro_rules! float {
    ($float:ty, $fast:literal) => {
        impl Float for $float {
            const FAST: bool = $fast;
            #[inline(always)]
            fn times_plus<const FUSED: bool>(self, factor: Self, sum: Self) -> Self {
                if FUSED { self.mul_add(factor, sum) } else { self * factor + sum }
            }
            #[inline(always)]
            fn wide(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $float
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                <$float>::is_nan(self)
            }
        }
    };
}

float!(f32, true);
float!(f64, false);

/// Defines functions that are compiled for AVX-512, for AVX2 with FMA, and for the target's own instructions, and
/// that run in the best version that the machine has; f64 has only the last. In a body, `FUSED` says whether
/// multiply-add is one instruction.
macro_rules! vectorised {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident<$T:ident $(, $G:ident: $bound:path)*>(
        $($arg:ident: $type:ty),* $(,)?
    ) $(-> $out:ty)? $body:block)+) => {$(
        $(#[$meta])*
        $vis fn $name<$T: $crate::ops::simd::Float $(, $G: $bound)*>($($arg: $type),*) $(-> $out)? {
            #[inline(always)]
            #[allow(clippy::extra_unused_type_parameters, reason = "not every body asks for FUSED")]
            fn body<$T: $crate::ops::simd::Float, $($G: $bound,)* const FUSED: bool>(
                $($arg: $type),*
            ) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn avx512<$T: $crate::ops::simd::Float $(, $G: $bound)*>($($arg: $type),*) $(-> $out)? {
                    body::<$T, $($G,)* true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2<$T: $crate::ops::simd::Float $(, $G: $bound)*>($($arg: $type),*) $(-> $out)? {
                    body::<$T, $($G,)* true>($($arg),*)
                }
                if <$T as $crate::ops::simd::Float>::FAST {
                    match $crate::ops::simd::Set::best() {
                        // SAFETY: the set has been detected.
                        $crate::ops::simd::Set::Avx512 => return unsafe { avx512::<$T $(, $G)*>($($arg),*) },
                        // SAFETY: the set has been detected.
                        $crate::ops::simd::Set::Avx2 => return unsafe { avx2::<$T $(, $G)*>($($arg),*) },
                        $crate::ops::simd::Set::Base => {}
                    }
                }
                body::<$T, $($G,)* false>($($arg),*)
            }
            #[cfg(not(target_arch = "x86_64"))]
            body::<$T, $($G,)* { cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    )+};
}
pub(super) use vectorised;

/// The instruction sets that loops are compiled for.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) enum Set {
    Avx512,
    Avx2,
    Base,
}

#[cfg(target_arch = "x86_64")]
impl Set {
    /// The best set that this machine has. The answer is cached by the standard library.
    #[inline]
    pub(super) fn best() -> Self {
        let fused = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq");
        match (fused, wide) {
            (true, true) => Self::Avx512,
            (true, false) => Self::Avx2,
            _ => Self::Base,
        }
    }
}

vectorised! {
    /// `(Σ x, Σ x²)`, added up in f64.
    pub(super) fn moments<T>(x: &[T]) -> (f64, f64) {
        let (chunks, rest) = x.as_chunks::<LANES>();
        let (mut sums, mut squares) = ([0f64; LANES], [0f64; LANES]);
        for chunk in chunks {
            for i in 0..LANES {
                let x = chunk[i].wide();
                sums[i] += x;
                squares[i] = x.times_plus::<FUSED>(x, squares[i]);
            }
        }
        let add = |(sum, square): (f64, f64), x: f64| (sum + x, square + x * x);
        rest.iter().fold((sums.iter().sum(), squares.iter().sum()), |sums, x| add(sums, x.wide()))
    }

    /// `Σ x`, added up in f64.
    pub(super) fn sum<T>(x: &[T]) -> f64 {
        let (chunks, rest) = x.as_chunks::<LANES>();
        let mut sums = [0f64; LANES];
        for chunk in chunks {
            for i in 0..LANES {
                sums[i] += chunk[i].wide();
            }
        }
        rest.iter().fold(sums.iter().sum(), |sum, x| sum + x.wide())
    }

    /// `Σ x · y`, added up in f64.
    pub(super) fn dot<T>(x: &[T], y: &[T]) -> f64 {
        let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
        let mut sums = [0f64; LANES];
        for (x, y) in xs.iter().zip(ys) {
            for i in 0..LANES {
                sums[i] = x[i].wide().times_plus::<FUSED>(y[i].wide(), sums[i]);
            }
        }
        x_rest.iter().zip(y_rest).fold(sums.iter().sum(), |sum, (x, y)| sum + x.wide() * y.wide())
    }

    /// `out ← a + b`
    pub(super) fn sum_of<T>(out: &mut [T], a: &[T], b: &[T]) -> () {
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = *a + *b);
    }

    /// `to ← to + x`
    pub(super) fn add_to<T>(to: &mut [T], x: &[T]) -> () {
        to.iter_mut().zip(x).for_each(|(to, x)| *to += *x);
    }

    /// `out ← x · factor`
    pub(super) fn scaled<T>(out: &mut [T], x: &[T], factor: T) -> () {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = *x * factor);
    }

    /// `out ← a · b`
    pub(super) fn product_of<T>(out: &mut [T], a: &[T], b: &[T]) -> () {
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = *a * *b);
    }

    /// `to ← to + x` for one number `x`.
    pub(super) fn add_constant<T>(to: &mut [T], x: T) -> () {
        to.iter_mut().for_each(|to| *to += x);
    }
}
