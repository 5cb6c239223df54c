//! The constant tensors of a TFLite graph: their shapes and types, where their bytes are, what their integers stand for.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::Path;

use super::flatbuffer::{Parsed, Table, Tables};
use super::quantization::Quantization;
use super::tensor::{MAX_RANK, MAX_TENSORS, TensorInfo, elements};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::format::Format;

/// A constant tensor of a graph.
pub(crate) struct Constant<'a> {
    pub(crate) name: &'a str,
    pub(crate) info: TensorInfo,
    /// Where its bytes are in the file.
    pub(crate) place: Range<usize>,
    pub(crate) quantization: Option<Quantization>,
}

/// The constant tensors of a graph, by their numbers.
pub(crate) type Constants<'a> = BTreeMap<usize, Constant<'a>>;

/// The tensors that have bytes in the file.
///
/// Entries of the list may be the same table, and tables may share names, shapes and scales, so that a small file could claim
/// endless copies: what is kept of all tensors is counted against the file.
pub(crate) fn constants<'a>(path: &Path, graph: Table<'a>, buffers: Tables<'a>) -> Result<Constants<'a>> {
    let malformed = |what: &str| Error::Malformed { path: path.to_owned(), format: Format::TfLite, what: what.into() };
    let tensors = graph.tables(0).map_err(malformed)?;
    if tensors.len() > MAX_TENSORS {
        return Err(malformed("it has more tensors than any network"));
    }
    let (mut constants, mut names, mut scales) = (Constants::new(), HashSet::new(), 0);
    for (number, tensor) in tensors.iter().enumerate() {
        let tensor = tensor.map_err(malformed)?;
        let name = tensor.str(3).map_err(malformed)?;
        if let Some(place) = data(path, name, tensor, buffers)? {
            if !names.insert(name) {
                return Err(Error::DuplicateTensor { path: path.to_owned(), tensor: name.to_owned() });
            }
            let mut info = info(path, name, tensor, &place)?;
            let bad =
                |what: &str| Error::BadTensor { path: path.to_owned(), tensor: name.to_owned(), what: what.into() };
            let quantization = quantization(tensor, &info).map_err(bad)?;
            info.quantized = quantization.is_some();
            scales += quantization.as_ref().map_or(0, Quantization::bytes);
            if scales > tensor.file_len() {
                return Err(malformed("the scales of its tensors are more than the file"));
            }
            if info.dtype == DType::Str {
                // They are split when they are read; here it is checked that they can be.
                string_ends(tensor.bytes(place.clone()), &info)
                    .ok_or_else(|| malformed(&format!("the strings of `{name}` do not fit its buffer")))?;
            }
            constants.insert(number, Constant { name, info, place, quantization });
        }
    }
    Ok(constants)
}

/// Where the bytes of a tensor lie in the file; `None` for what the graph computes.
fn data(path: &Path, name: &str, tensor: Table, buffers: Tables) -> Result<Option<Range<usize>>> {
    let parsed = || -> Parsed<_> {
        let number = usize::try_from(tensor.u32(2)?).unwrap_or(usize::MAX);
        let buffer = buffers.get(number)?;
        Ok((buffer.range(0, 1)?.filter(|place| !place.is_empty()), buffer.u64(1)?, tensor.table(6)?))
    };
    let (place, outside, sparsity) = parsed().map_err(|what| Error::Malformed {
        path: path.to_owned(),
        format: Format::TfLite,
        what: format!("tensor `{name}`: {what}"),
    })?;
    // Both 0 and 1 mean that there is no such offset.
    if outside > 1 {
        let what = format!(
            "tensor `{name}` lies outside of the FlatBuffer, as in models beyond 2 GB, which are not read; \
             convert the model without `buffer offsets`"
        );
        return Err(Error::Unsupported { path: path.to_owned(), what });
    }
    if place.is_some() && sparsity.is_some() {
        let what = format!("tensor `{name}` is stored as a sparse matrix, which is not read; convert a dense model");
        return Err(Error::Unsupported { path: path.to_owned(), what });
    }
    Ok(place)
}

fn info(path: &Path, name: &str, tensor: Table, place: &Range<usize>) -> Result<TensorInfo> {
    let (path, named) = (|| path.to_owned(), || name.to_owned());
    let bad = |what: &str| Error::BadTensor { path: path(), tensor: named(), what: what.into() };
    let dims = tensor.i32s(0).map_err(bad)?;
    if dims.len() > MAX_RANK {
        return Err(bad("it has too many dimensions"));
    }
    let shape = (dims.enumerate())
        .map(|(axis, dim)| {
            let negative = |_| Error::NegativeDim { path: path(), tensor: named(), axis, size: dim.into() };
            usize::try_from(dim).map_err(negative)
        })
        .collect::<Result<Vec<_>>>()?;
    let code = tensor.u8(1).map_err(bad)?;
    let dtype = DType::from_tflite(code).ok_or_else(|| Error::UnknownDType {
        path: path(),
        tensor: named(),
        code: format!("number {code} of TFLite"),
    })?;

    let Some(count) = elements(&shape) else {
        return Err(Error::ShapeOverflow { path: path(), tensor: named(), shape });
    };
    let expected = dtype.size().map(|element| count.checked_mul(element));
    if expected.is_some_and(|expected| expected != Some(place.len())) {
        return Err(Error::SizeMismatch {
            path: path(),
            tensor: named(),
            dtype,
            shape,
            expected: expected.flatten().unwrap_or(usize::MAX) as u64,
            found: place.len() as u64,
        });
    }
    Ok(TensorInfo { dtype, shape, variable: false, quantized: false })
}

/// The quantisation of a tensor; `None` where it has none.
fn quantization(tensor: Table, info: &TensorInfo) -> Parsed<Option<Quantization>> {
    let Some(table) = tensor.table(4)?.filter(|_| info.dtype.is_integer()) else { return Ok(None) };
    let (scales, zero_points) = (table.f32s(2)?, table.i64s(3)?);
    if scales.len() == 0 {
        return Ok(None);
    }
    let axis = usize::try_from(table.i32(6, 0)?).map_err(|_| "the axis of its scales is negative")?;
    Quantization::new(scales.collect(), zero_points.collect(), axis, &info.shape).map(Some)
}

/// Where the strings of a buffer begin and end: their count, that many offsets and one more, the bytes.
pub(crate) fn string_ends<'a>(buffer: &'a [u8], info: &TensorInfo) -> Option<(&'a [u8], Vec<usize>)> {
    let (count, offsets) = buffer.split_first_chunk()?;
    let count = usize::try_from(i32::from_le_bytes(*count)).ok().filter(|&n| Some(n) == elements(&info.shape))?;
    let table = count.checked_add(1)?.checked_mul(4)?;
    let (offsets, bytes) = offsets.split_at_checked(table)?;
    let start = table.checked_add(4)?;
    let ends = offsets.as_chunks().0.iter().map(|b| usize::try_from(u32::from_le_bytes(*b)).ok()?.checked_sub(start));
    let ends = ends.collect::<Option<Vec<_>>>()?;
    let (first, ends) = ends.split_first()?;
    let sound = *first == 0 && ends.is_sorted() && ends.last().copied().unwrap_or(0) == bytes.len();
    sound.then(|| (bytes, ends.to_vec()))
}
