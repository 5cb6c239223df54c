//! The numbers that feature maps are stored in. Kernels compute in f32, whatever they are.

#[cfg(feature = "cuda")]
use candle_core::DType;
use half::{bf16, f16};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    F32,
    F16,
    Bf16,
}

impl Number {
    /// The numbers of a tensor, if there are kernels for them.
    #[cfg(feature = "cuda")]
    pub(crate) fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            DType::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Bytes of a number.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// What the names of its kernels end in.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Appends numbers as they lie in memory, rounded to nearest.
    pub(crate) fn write(self, values: impl IntoIterator<Item = f32>, to: &mut Vec<u8>) {
        let values = values.into_iter();
        match self {
            Self::F32 => to.extend(values.flat_map(f32::to_ne_bytes)),
            Self::F16 => to.extend(values.flat_map(|value| f16::from_f32(value).to_ne_bytes())),
            Self::Bf16 => to.extend(values.flat_map(|value| bf16::from_f32(value).to_ne_bytes())),
        }
    }
}
