//! Reads a file as named tensors, and does nothing else to them.
//!
//! `checkpoint` has a format's module open the file that `locate` found. Opening checks everything but the tensors' bytes;
//! the format's `reader` then reads one tensor at a time.
//!
//! | format | modules |
//! |---|---|
//! | TensorFlow V2 checkpoint | `tf_bundle`, `tf_table` (its index), `tf_shard` (its data), `tf_slices` |
//! | frozen TensorFlow graph | `tf_graphdef`, `tf_const`, `tf_geometry` |
//! | TFLite model | `tflite`, `tflite_constants`, `tflite_geometry`, `quantization`, `flatbuffer` |
//! | safetensors | `safetensors` |
//! | several files with an index | `shards` |
//! | PyTorch checkpoint | `torch`, `torch_zip` or `torch_legacy`; `pickle` (the description); `torch_state`, `torch_module` and `torch_entries` (which of its values are the weights); `torch_tensor` and `torch_record` (where their bytes are) |

mod checkpoint;
mod file;
mod flatbuffer;
mod locate;
mod pickle;
mod protobuf;
mod quantization;
mod reader;
mod safetensors;
mod shards;
mod tensor;
mod tf_bundle;
mod tf_const;
mod tf_geometry;
mod tf_graphdef;
mod tf_node;
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
pub(crate) use locate::HUB_CONFIG_FILE;
pub(crate) use tensor::MAX_UNFOLDED;
pub use tensor::{ConvGeometry, Corners, Geometry, InputScale, RawTensor, TensorInfo};
