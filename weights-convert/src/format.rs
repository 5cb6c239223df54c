//! The file formats that are read.

use std::fmt;

/// A file format of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// An `.index` and `.data-?????-of-?????` files.
    TfCheckpoint,
    /// A frozen `.pb`.
    TfGraphDef,
    /// A `.tflite`.
    TfLite,
    /// A `.safetensors`.
    Safetensors,
    /// A `.pth` as PyTorch writes it since 1.6: a zip archive.
    TorchZip,
    /// A `.pth` or `.pth.tar` as PyTorch wrote it before: a stream of pickles.
    TorchLegacy,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TfCheckpoint => "TensorFlow V2 checkpoint",
            Self::TfGraphDef => "frozen TensorFlow graph",
            Self::TfLite => "TFLite model",
            Self::Safetensors => "safetensors file",
            Self::TorchZip => "PyTorch checkpoint",
            Self::TorchLegacy => "PyTorch checkpoint of the legacy format",
        })
    }
}
