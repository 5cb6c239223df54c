//! A file → named tensors, nothing else.
//!
//! `locate` finds the file that a path means and tells its format; each format has a module that opens it,
//! which checks everything but the tensors' bytes, and that reads one tensor at a time:
//!
//! | format | modules |
//! |---|---|
//! | TensorFlow V2 checkpoint | `tf_bundle`, `tf_table` (its index), `tf_shard` (its data), `tf_slices` |
//! | frozen TensorFlow graph | `tf_graphdef`, `tf_const`, `tf_geometry` |
//! | TFLite model | `tflite`, `tflite_geometry`, `quantization`, `flatbuffer` |
//! | safetensors | `safetensors` |
//! | several of them with an index | `shards` |
//! | PyTorch checkpoint | `torch_zip` or `torch_legacy`, `pickle` (its description), `torch_state` and `torch_module` (which of its values are the weights), `torch_tensor`, `torch` |

mod checkpoint;
mod file;
mod flatbuffer;
mod locate;
mod pickle;
mod quantization;
mod reader;
mod safetensors;
mod shards;
mod tensor;
mod tf_bundle;
mod tf_const;
mod tf_geometry;
mod tf_graphdef;
mod tf_proto;
mod tf_shard;
mod tf_slices;
mod tf_table;
mod tflite;
mod tflite_constants;
mod tflite_geometry;
mod torch;
mod torch_entries;
mod torch_legacy;
mod torch_module;
mod torch_record;
mod torch_state;
mod torch_tensor;
mod torch_zip;
mod varint;

pub use checkpoint::Checkpoint;
pub(crate) use file::read_small;
pub use tensor::{ConvGeometry, Corners, Geometry, InputScale, RawTensor, TensorInfo};
