//! What can be wrong with a file, and what to do about it.

use std::path::PathBuf;

use crate::dtype::DType;
use crate::format::Format;
use crate::shown::{in_message, shown};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file or a tensor could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields say what they are, and the messages say it in words
pub enum Error {
    // ---- the path ----
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },

    /// Neither a file, nor a folder, nor the prefix of a checkpoint.
    #[error("{}: no such file, folder or checkpoint ({}.index is not there either)", path.display(), path.display())]
    NotFound { path: PathBuf },

    /// A pipe, a device or a folder where a file is wanted.
    #[error("{}: not a regular file", path.display())]
    NotAFile { path: PathBuf },

    /// A folder with nothing in it that can be read.
    #[error("{}: no weights in this folder (looked for `checkpoint`, *.index, *.pb, *.tflite, *.safetensors, *.pth, *.pth.tar and *.pt)", path.display())]
    NoWeights { path: PathBuf },

    /// A folder with several files that could be meant.
    #[error("{}: several files could be meant, name one of them: {}", path.display(), candidates.join(", "))]
    Ambiguous { path: PathBuf, candidates: Vec<String> },

    /// A `checkpoint` state file that does not name a checkpoint beside it.
    #[error("{}: {what}; give the path of the checkpoint itself (…/model.ckpt)", path.display())]
    CheckpointState { path: PathBuf, what: String },

    // ---- the kind of file ----
    /// The file has zero bytes.
    #[error("{}: the file is empty; was its download cut short? fetch it again", path.display())]
    Empty { path: PathBuf },

    /// A Git-LFS pointer where the file itself should be.
    #[error("{}: a Git-LFS pointer, not the file itself; fetch the real file with `git lfs pull`", path.display())]
    LfsPointer { path: PathBuf },

    /// A tarball or another archive.
    #[error("{}: a {kind} archive; unpack it first (`tar xf`) and give what was in it", path.display())]
    Archive { path: PathBuf, kind: &'static str },

    /// A format that is recognised but not read.
    #[error("{}: {kind}: {way_out}", path.display())]
    Foreign { path: PathBuf, kind: &'static str, way_out: &'static str },

    /// The content is of no format that this crate recognises.
    #[error(
        "{}: not a format this program knows; it reads TensorFlow V2 checkpoints, \
         frozen TensorFlow graphs (.pb), TFLite models, safetensors and PyTorch checkpoints",
        path.display()
    )]
    UnknownFormat { path: PathBuf },

    // ---- the file as a whole ----
    /// Larger than any sound file of its kind.
    #[error("{}: {size} bytes, more than the {limit} that such a file may have", path.display())]
    FileTooLarge { path: PathBuf, size: u64, limit: u64 },

    /// The file ends before the bytes that are wanted; it is or became too short.
    #[error("{}: the file ends early (wanted {wanted} bytes at offset {offset}); fetch it again", path.display())]
    Truncated { path: PathBuf, offset: u64, wanted: u64 },

    /// The structure of the file does not hold together.
    #[error("{}: damaged {format}: {what}; fetch the file again", path.display())]
    Malformed { path: PathBuf, format: Format, what: String },

    /// The file uses something that its format allows and this crate does not read.
    #[error("{}: {what}", path.display())]
    Unsupported { path: PathBuf, what: String },

    /// A block of a checkpoint's index does not have the checksum that is stored with it.
    #[error(
        "{}: the index block at offset {offset} is damaged (crc32c {computed:#010x}, \
         stored {stored:#010x}); fetch the file again",
        path.display()
    )]
    BlockChecksum { path: PathBuf, offset: u64, stored: u32, computed: u32 },

    /// A pickle asks for something that is not part of any weights.
    #[error(
        "{}: its pickle asks for `{global}`, which no weights need; it was refused and nothing was run. \
         If you know who made the file, let their program save only the weights: \
         `torch.save(model.state_dict(), path)`",
        path.display()
    )]
    ForbiddenGlobal { path: PathBuf, global: String },

    /// A PyTorch file without a state dict.
    #[error(
        "{}: no state dict in this file, its root is {found}; save one with `torch.save(model.state_dict(), path)`",
        path.display()
    )]
    NoStateDict { path: PathBuf, found: String },

    /// A PyTorch file with several state dicts, none of them under a name that says it is the model's.
    #[error(
        "{}: several of its entries could be the weights: {}; say which with `state`",
        path.display(),
        candidates.join(", ")
    )]
    SeveralStateDicts { path: PathBuf, candidates: Vec<String> },

    /// A file without the state that was asked for.
    #[error("{}: `state`: no weights are called `{state}` in it; it has {}", path.display(), listed(states))]
    NoSuchState { path: PathBuf, state: String, states: Vec<String> },

    /// A record of a PyTorch file does not have the checksum that is stored with it.
    #[error(
        "{}: the record `{record}` is damaged (crc32 {computed:#010x}, stored {stored:#010x}); fetch the file again, \
         or save it again if it was saved with `set_crc32_options(False)`",
        path.display()
    )]
    RecordChecksum { path: PathBuf, record: String, stored: u32, computed: u32 },

    /// The index of several files does not describe them.
    #[error("{}: {what}; fetch the folder again", path.display())]
    BadIndex { path: PathBuf, what: String },

    /// A file that transformers keeps beside the weights contradicts them, or asks for what is not supported.
    #[error("{}: {what}", path.display())]
    TransformersConfig { path: PathBuf, what: String },

    /// One of a checkpoint's data files is not there.
    #[error("{}: this data file of the checkpoint is missing; put it beside its index", path.display())]
    MissingShard { path: PathBuf },

    /// A data file lies without its index.
    #[error("{}: the checkpoint's index is missing; put it beside its data files", path.display())]
    MissingIndex { path: PathBuf },

    // ---- one tensor ----
    /// No tensor of this name.
    #[error("{}: no tensor named `{tensor}`", path.display())]
    UnknownTensor { path: PathBuf, tensor: String },

    /// Two tensors of one name.
    #[error("{}: two tensors are named `{tensor}`", path.display())]
    DuplicateTensor { path: PathBuf, tensor: String },

    /// A tensor whose description makes no sense.
    #[error("{}: tensor `{tensor}`: {what}", path.display())]
    BadTensor { path: PathBuf, tensor: String, what: String },

    /// A data type that this crate has no name for.
    #[error("{}: tensor `{tensor}` has the data type {code}, which is not read", path.display())]
    UnknownDType { path: PathBuf, tensor: String, code: String },

    /// A dimension below zero.
    #[error("{}: tensor `{tensor}`: dimension {axis} is {size}", path.display())]
    NegativeDim { path: PathBuf, tensor: String, axis: usize, size: i64 },

    /// A shape with more elements than can be counted.
    #[error("{}: tensor `{tensor}`: the shape {shape:?} is too large for any computer", path.display())]
    ShapeOverflow { path: PathBuf, tensor: String, shape: Vec<usize> },

    /// The bytes of a tensor are not as many as its shape and type call for.
    #[error(
        "{}: tensor `{tensor}` of type {dtype} and shape {shape:?} takes {expected} bytes, but the file has {found}",
        path.display()
    )]
    SizeMismatch { path: PathBuf, tensor: String, dtype: DType, shape: Vec<usize>, expected: u64, found: u64 },

    /// A tensor that would lie beyond the end of its file.
    #[error(
        "{}: tensor `{tensor}` would take bytes {offset} to {offset}+{size}, but the file has {file_size}; \
         was its download cut short? fetch it again",
        path.display()
    )]
    OutOfFile { path: PathBuf, tensor: String, offset: i64, size: i64, file_size: u64 },

    /// A tensor would take more memory than the limit, although its file is small.
    #[error("{}: tensor `{tensor}` would unfold to {size} bytes, the limit is {limit}", path.display())]
    TensorTooLarge { path: PathBuf, tensor: String, size: u64, limit: u64 },

    /// The memory for a tensor or a file could not be allocated.
    #[error("{}: no memory for {size} bytes", path.display())]
    OutOfMemory { path: PathBuf, size: u64 },

    /// The bytes of a tensor do not have the checksum that is stored with it.
    #[error(
        "{}: tensor `{tensor}` is damaged (crc32c {computed:#010x}, stored {stored:#010x}); fetch the file again",
        path.display()
    )]
    TensorChecksum { path: PathBuf, tensor: String, stored: u32, computed: u32 },

    /// A part of a partitioned variable is missing or not as its owner describes it.
    #[error("{}: tensor `{tensor}`: its part {part}: {what}", path.display())]
    BadSlice { path: PathBuf, tensor: String, part: String, what: String },

    /// Two parts of a partitioned variable claim the same elements.
    #[error("{}: tensor `{tensor}`: its parts {first} and {second} overlap", path.display())]
    SliceOverlap { path: PathBuf, tensor: String, first: String, second: String },

    /// The parts of a partitioned variable leave elements out.
    #[error("{}: tensor `{tensor}`: its parts hold {covered} of its {elements} elements", path.display())]
    SliceGap { path: PathBuf, tensor: String, covered: usize, elements: usize },

    /// Two convolutions share weights but not strides or dilations.
    #[error("{}: two convolutions use `{tensor}` with different strides or dilations", path.display())]
    GeometryConflict { path: PathBuf, tensor: String },

    /// The tensor's elements are not of the kind that was asked for.
    #[error("the tensor holds {found}, not {wanted}")]
    WrongDType { found: DType, wanted: &'static str },

    /// Weights that are NaN or infinite.
    #[error(
        "{}: `{}` holds {count} values that are NaN or infinite{}: fetch the file again, or take a checkpoint from before \
         training went wrong; `replace` writes the model all the same",
        path.display(),
        in_message(tensor),
        if *others > 0 { format!(", and so do {others} other tensors") } else { String::new() }
    )]
    NotFinite { path: PathBuf, tensor: String, count: usize, others: usize },

    // ---- the network ----
    /// No family has tensors of these names.
    #[error("{}: not a network this program can convert: {reason}", path.display())]
    Unrecognised { path: PathBuf, reason: String },

    /// A layer is missing although the names of others imply it.
    #[error("{}: tensor `{tensor}` is missing, so the network cannot be told", path.display())]
    MissingLayer { path: PathBuf, tensor: String },

    /// Tensors that the network needs are not there, or there are others that it has no use for.
    #[error("{}: {}", path.display(), tensors(missing, unexpected))]
    Tensors { path: PathBuf, missing: Vec<Missing>, unexpected: Vec<String> },

    /// A tensor has another shape than the network needs.
    #[error("{}: tensor `{tensor}` has shape {found:?}, but as `{param}` the network needs {wanted:?}", path.display())]
    WrongShape { path: PathBuf, tensor: String, found: Vec<usize>, wanted: Vec<usize>, param: String },

    /// A tensor that the network needs does not hold floats.
    #[error("{}: tensor `{tensor}` is {what}; only floating-point weights are converted", path.display())]
    NotFloat { path: PathBuf, tensor: String, what: String },

    /// A convolution has another stride or dilation in the file's graph than in the network.
    #[error(
        "{}: the convolution of `{tensor}` has (stride, rate) {found:?} in the file's graph but {wanted:?} in the network; \
         say what it is with `output_stride`, `atrous_rates` or `multi_grid`",
        path.display()
    )]
    WrongGeometry { path: PathBuf, tensor: String, found: (usize, usize), wanted: (usize, usize) },

    // ---- what the user said ----
    /// An option that contradicts the file, or one that is needed.
    #[error("`{option}`: {reason}")]
    Option { option: &'static str, reason: String },

    /// The options and the file together make a model that would not load.
    #[error("{}: the model would not load: {reason}", path.display())]
    Unloadable { path: PathBuf, reason: String },

    /// A model is already there.
    #[error("{}: already exists; choose another directory or allow it to be replaced (`replace`)", path.display())]
    Exists { path: PathBuf },

    /// The model would be written over the file that it comes from.
    #[error("{}: is the file to convert; choose another directory", path.display())]
    OverSource { path: PathBuf },

    /// A reference whose logits (or features) are not those of the model's input.
    #[error("{}: its `{output}` have shape {found:?}, the model computes {wanted:?}", path.display())]
    ReferenceShape { path: PathBuf, output: &'static str, found: Vec<usize>, wanted: Vec<usize> },

    /// `candle-deeplab` could not load, run or write the model.
    #[error(transparent)]
    Model(#[from] candle_deeplab::Error),
}

/// A tensor that the network needs and a file does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // as above
pub struct Missing {
    pub tensor: String,
    /// As the file would have it.
    pub shape: Vec<usize>,
    pub param: String,
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "one set of weights only".into() } else { names.join(", ") }
}

/// Names what is missing and what is unexpected, on one line of bounded length.
fn tensors(missing: &[Missing], unexpected: &[String]) -> String {
    const LISTED: usize = 12;
    const WIDEST_NAME: usize = 200;
    let more = |all: usize| if all > LISTED { format!(", and {} more", all - LISTED) } else { String::new() };
    let mut said = Vec::new();
    if !missing.is_empty() {
        let one = |Missing { tensor, shape, param }: &Missing| {
            let tensor = shown(tensor, WIDEST_NAME);
            format!("tensor `{tensor}` of shape {shape:?} is missing; the network needs it as `{param}`")
        };
        said.push(missing.iter().take(LISTED).map(one).collect::<Vec<_>>().join(", ") + &more(missing.len()));
    }
    if !unexpected.is_empty() {
        let names: Vec<String> =
            unexpected.iter().take(LISTED).map(|name| format!("`{}`", shown(name, WIDEST_NAME))).collect();
        let count = unexpected.len();
        let (names, more) = (names.join(", "), more(count));
        said.push(format!(
            "{count} unexpected, which this network has no use for: {names}{more}; `ignore_unexpected` leaves them out"
        ));
    }
    said.join("; ")
}
