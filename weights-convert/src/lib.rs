#![doc = include_str!("../README.md")]
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
