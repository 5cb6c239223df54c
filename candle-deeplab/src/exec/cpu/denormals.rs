//! Subnormal numbers count as zero while kernels run.
//!
//! Arithmetic with numbers below 1.2e-38 takes a hundred times as long on most x86 processors, so that damaged or hostile
//! weights could make a call last minutes. No network gains anything from such numbers.

use std::marker::PhantomData;

/// While it lives, the vector unit of this thread takes subnormal numbers for zero and makes none.
pub(super) struct Flushed {
    #[cfg(target_arch = "x86_64")]
    before: u32,
    /// The setting is the thread's.
    _here: PhantomData<*const ()>,
}

#[cfg(target_arch = "x86_64")]
#[allow(deprecated)] // the suggested assembly has the same rules: the setting has to be as before where it ends
impl Flushed {
    pub(super) fn here() -> Self {
        use std::arch::x86_64::{_mm_getcsr, _mm_setcsr};
        /// Flush to zero, and denormals are zero.
        const FLUSH: u32 = 1 << 15 | 1 << 6;
        // SAFETY: every x86_64 processor has SSE. Only how subnormal numbers are treated changes, and for as long as kernels
        // run whose results the compiler does not know: it cannot tell a number that was flushed from another input.
        unsafe {
            let before = _mm_getcsr();
            _mm_setcsr(before | FLUSH);
            Self { before, _here: PhantomData }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(deprecated)]
impl Drop for Flushed {
    fn drop(&mut self) {
        // SAFETY: as above; this is the setting that the thread had.
        unsafe { std::arch::x86_64::_mm_setcsr(self.before) }
    }
}

/// Other processors compute with subnormal numbers at full speed.
#[cfg(not(target_arch = "x86_64"))]
impl Flushed {
    pub(super) fn here() -> Self {
        Self { _here: PhantomData }
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn subnormal_numbers_are_zero_for_as_long_as_it_lives() {
        let half = || black_box(f32::MIN_POSITIVE) * black_box(0.5);
        let twice = |x: f32| black_box(x) * black_box(2.0);
        let smallest = half();
        assert!(smallest > 0.0);
        let flushed = Flushed::here();
        assert_eq!((half(), twice(smallest)), (0.0, 0.0));
        {
            let _again = Flushed::here();
        }
        assert_eq!(half(), 0.0);
        drop(flushed);
        assert_eq!((half(), twice(smallest)), (smallest, f32::MIN_POSITIVE));
    }
}
