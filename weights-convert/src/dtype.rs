//! Element types, and the numbers that each format writes for them.

use std::fmt;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // the names are the field's own
pub enum DType {
    F32,
    F64,
    F16,
    Bf16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    Complex64,
    Complex128,
    Str,
}

impl DType {
    /// Bytes an element takes; `None` for strings, which differ.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::I8 | Self::U8 | Self::Bool => Some(1),
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => Some(2),
            Self::F32 | Self::I32 | Self::U32 => Some(4),
            Self::F64 | Self::I64 | Self::U64 | Self::Complex64 => Some(8),
            Self::Complex128 => Some(16),
            Self::Str => None,
        }
    }

    /// Whether the elements are real floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::Bf16)
    }

    /// Whether the elements are integers (booleans are not).
    pub fn is_integer(self) -> bool {
        matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64 | Self::U8 | Self::U16 | Self::U32 | Self::U64)
    }

    /// From `tensorflow.DataType` (types.proto).
    pub(crate) fn from_tensorflow(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::F32,
            2 => Self::F64,
            3 => Self::I32,
            4 => Self::U8,
            5 => Self::I16,
            6 => Self::I8,
            7 => Self::Str,
            8 => Self::Complex64,
            9 => Self::I64,
            10 => Self::Bool,
            14 => Self::Bf16,
            17 => Self::U16,
            18 => Self::Complex128,
            19 => Self::F16,
            22 => Self::U32,
            23 => Self::U64,
            _ => return None,
        })
    }

    /// From `tflite.TensorType` (schema.fbs).
    pub(crate) fn from_tflite(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::I32,
            3 => Self::U8,
            4 => Self::I64,
            5 => Self::Str,
            6 => Self::Bool,
            7 => Self::I16,
            8 => Self::Complex64,
            9 => Self::I8,
            10 => Self::F64,
            11 => Self::Complex128,
            12 => Self::U64,
            15 => Self::U32,
            16 => Self::U16,
            18 => Self::Bf16,
            _ => return None,
        })
    }

    /// From the type of a safetensors header.
    pub(crate) fn from_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype;
        Some(match dtype {
            Dtype::BOOL => Self::Bool,
            Dtype::U8 => Self::U8,
            Dtype::I8 => Self::I8,
            Dtype::U16 => Self::U16,
            Dtype::I16 => Self::I16,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::Bf16,
            Dtype::U32 => Self::U32,
            Dtype::I32 => Self::I32,
            Dtype::F32 => Self::F32,
            Dtype::U64 => Self::U64,
            Dtype::I64 => Self::I64,
            Dtype::F64 => Self::F64,
            Dtype::C64 => Self::Complex64,
            _ => return None,
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::Bool => "bool",
            Self::Complex64 => "complex64",
            Self::Complex128 => "complex128",
            Self::Str => "string",
        })
    }
}
