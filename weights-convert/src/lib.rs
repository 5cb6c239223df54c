//! Weights of other programs, converted into candle-deeplab's model directories.
//!
//! [`convert()`] reads a file, recognises whose network it is, and writes `config.json`, `model.safetensors` and a
//! model card;
//! [`verify()`] proves that the result is the same network.
//!
//! Below them, [`Checkpoint::open`] takes a path and looks at the content: a TensorFlow V2 checkpoint (any of its
//! files, its prefix, or the folder it lies in), a frozen TensorFlow graph, a TFLite model, a PyTorch checkpoint
//! or a safetensors file. It then lists the tensors under the names, shapes and layouts the file gives them; nothing is
//! renamed, transposed or folded here.
//!
//! ```no_run
//! use weights_convert::Checkpoint;
//!
//! # fn main() -> weights_convert::Result<()> {
//! let checkpoint = Checkpoint::open("deeplabv3_pascal_train_aug/model.ckpt".as_ref())?;
//! for (name, info) in checkpoint.tensors() {
//!     println!("{name}: {} {:?}", info.dtype, info.shape);
//! }
//! let weights = checkpoint.read("xception_65/entry_flow/conv1_1/weights")?.to_f32()?;
//! # Ok(())
//! # }
//! ```
//!
//! A file is hostile input: every length is checked against the file before anything is allocated, every
//! checksum a format has is verified, a pickle is read and never run, and whatever is wrong comes back as an [`Error`] that names the file,
//! the tensor and the way out.

#![forbid(unsafe_code)]

mod axes;
mod card;
mod convert;
mod decision;
mod dtype;
mod error;
pub mod families;
mod format;
mod read;
mod report;
mod shown;
mod verify;
mod version;

pub use axes::AxisOrder;
pub use card::CARD_FILE;
pub use convert::{convert, convert_checkpoint};
pub use decision::Decision;
pub use dtype::DType;
pub use error::{Error, Missing, Result};
pub use families::{Card, Options, WeightType};
pub use format::Format;
pub use read::{Checkpoint, ConvGeometry, Corners, Geometry, InputScale, RawTensor, TensorInfo};
pub use report::{Listed, Renamed, Report};
pub use shown::shown;
pub use verify::{Comparison, verify};
pub use version::{CONVERTER, REVISION};
