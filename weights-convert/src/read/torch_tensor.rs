//! From the description of a tensor to its bytes: a view of a storage, with an offset and strides.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::file::{PlainFile, buffer};
use super::pickle::{Builds, Element, Id, Value, Values};
use super::tensor::{MAX_UNFOLDED, TensorInfo, elements};
use super::torch_record::{Record, Records};
use super::torch_state::TensorCall;
use crate::shown::in_message;
use crate::{Error, Result};

/// PyTorch's own limit.
const MAX_RANK: usize = 64;

/// What a persistent id says of a storage.
#[derive(Debug, Clone)]
pub(crate) struct Storage<'a> {
    pub(crate) key: &'a str,
    /// `None` for an untyped storage, whose tensors name their element types.
    element: Option<&'static Element>,
    /// Bytes of the whole storage.
    pub(crate) bytes: u64,
    /// Number of its elements.
    pub(crate) numel: u64,
    /// The part that is meant, in bytes: PyTorch before 0.4 had storages that were views of others.
    part: (u64, u64),
}

/// The storages of a pickle, by the values that name them.
pub(crate) type Storages<'a> = BTreeMap<Id, Storage<'a>>;

/// All storages that a pickle names.
pub(crate) fn storages(values: &Values) -> Result<Storages<'_>, String> {
    let all = values.iter().filter_map(|(id, value)| match value {
        Value::Persistent(pid) => Some((id, *pid)),
        _ => None,
    });
    all.map(|(id, pid)| Ok((id, storage(values, pid).ok_or("a storage that is not described as PyTorch does it")?)))
        .collect()
}

/// `("storage", type, key, location, numel)`, and in the legacy format `None` or `(view key, offset, size)`.
fn storage(values: &Values, pid: Id) -> Option<Storage<'_>> {
    let Value::Tuple(items) = values.get(pid) else {
        return None;
    };
    let (&[kind, class, key, _location, numel], rest) = items.split_first_chunk()?;
    let Value::Global(class) = values.get(class) else {
        return None;
    };
    let (element, size) = match &class.builds {
        Builds::Storage(element) => (Some(element), element.size as u64),
        Builds::UntypedStorage => (None, 1),
        _ => return None,
    };
    let count = |id: Id| u64::try_from(values.int(id)?).ok();
    let numel = count(numel)?;
    let bytes = numel.checked_mul(size)?;
    let part = match rest {
        [] => (0, bytes),
        [view] if matches!(values.get(*view), Value::None) => (0, bytes),
        [view] => {
            let &[_key, offset, len] = values.items(*view)? else {
                return None;
            };
            (count(offset)?.checked_mul(size)?, count(len)?.checked_mul(size)?)
        }
        _ => return None,
    };
    let inside = part.0.checked_add(part.1).is_some_and(|end| end <= bytes);
    let key = values.str(key)?;
    (values.str(kind) == Some("storage") && inside).then_some(Storage { key, element, bytes, numel, part })
}

/// Where the elements of a tensor lie.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) record: Arc<Record>,
    /// The first byte of the first element, in the record.
    start: u64,
    /// The bytes from there to the end of the last element.
    span: usize,
    /// The steps along each axis, in bytes; `None` where the elements follow each other in row-major order.
    strides: Option<Vec<usize>>,
}

impl View {
    /// Checks a tensor's description against the storages that the file has.
    pub(crate) fn new(
        path: &Path,
        name: &str,
        values: &Values,
        call: TensorCall,
        storages: &Storages<'_>,
        records: &Records,
    ) -> Result<(TensorInfo, Self)> {
        let bad = |what: String| Error::BadTensor { path: path.to_owned(), tensor: name.to_owned(), what };
        let args = values.items(call.args).unwrap_or_default();
        let Some((&[storage, offset, shape, strides], rest)) = args.split_first_chunk() else {
            return Err(bad("its description is incomplete".into()));
        };
        let storage = storages.get(&storage).ok_or_else(|| bad("it lies in no storage".into()))?;
        let element = if call.typed { rest.get(2).and_then(|id| of_type(values, *id)) } else { storage.element };
        let element = element.ok_or_else(|| bad("its element type is not told".into()))?;
        let dtype = element.dtype.ok_or_else(|| {
            let told = if call.typed { rest.get(2).map(|id| values.kind(*id)) } else { None };
            let code = told.unwrap_or_else(|| "of a quantised storage".into());
            Error::UnknownDType { path: path.to_owned(), tensor: name.to_owned(), code }
        })?;

        let shape = sizes(path, name, values, shape)?;
        let strides = sizes(path, name, values, strides)?;
        if strides.len() != shape.len() {
            return Err(bad(format!("it has {} dimensions but {} strides", shape.len(), strides.len())));
        }
        let offset = values.int(offset).and_then(|offset| usize::try_from(offset).ok());
        let offset = offset.ok_or_else(|| bad("its offset is no position".into()))?;

        let Some(total) = elements(&shape).and_then(|count| count.checked_mul(element.size)) else {
            return Err(Error::ShapeOverflow { path: path.to_owned(), tensor: name.to_owned(), shape });
        };
        let shown = in_message(storage.key);
        let record = records.get(storage.key);
        let record = record.ok_or_else(|| bad(format!("its storage `{shown}` is not in the file")))?;
        if record.len != storage.bytes {
            let (claimed, found) = (storage.bytes, record.len);
            return Err(bad(format!(
                "its storage `{shown}` should have {claimed} bytes, the file has {found}; fetch the file again"
            )));
        }
        let place = place(&shape, &strides, offset, element.size).filter(|(start, span)| {
            start.checked_add(*span).is_some_and(|end| end as u64 <= storage.part.1) || total == 0
        });
        let (start, span) = place.ok_or_else(|| {
            let what = format!("shape {shape:?}, strides {strides:?} and offset {offset}");
            bad(format!("{what} lead out of its storage of {} bytes", storage.part.1))
        })?;
        // With a stride of zero, one element appears many times.
        if total as u64 > storage.bytes.max(MAX_UNFOLDED) {
            let (path, tensor) = (path.to_owned(), name.to_owned());
            return Err(Error::TensorTooLarge { path, tensor, size: total as u64, limit: MAX_UNFOLDED });
        }
        let strides = strides.iter().map(|stride| stride.saturating_mul(element.size)).collect();
        let strides = (!is_contiguous(&shape, &strides, element.size)).then_some(strides);
        let start = storage.part.0.saturating_add(start as u64);
        let info = TensorInfo { dtype, shape, variable: true, quantized: false };
        Ok((info, Self { record: Arc::clone(record), start, span, strides }))
    }

    /// The elements in row-major order, in the file's byte order.
    pub(crate) fn read(&self, file: &PlainFile, info: &TensorInfo) -> Result<Vec<u8>> {
        let bytes = file.read(self.record.offset.saturating_add(self.start), self.span)?;
        let Some(strides) = &self.strides else {
            return Ok(bytes);
        };
        let size = info.dtype.size().unwrap_or(1);
        let total = elements(&info.shape).unwrap_or(0).saturating_mul(size);
        let mut data = buffer(file.path(), total)?;
        gather(&bytes, &info.shape, strides, size, &mut data);
        Ok(data)
    }
}

/// The element type that a value names.
fn of_type(values: &Values, id: Id) -> Option<&'static Element> {
    match values.get(id) {
        Value::Global(global) => match &global.builds {
            Builds::Element(element) => Some(element),
            _ => None,
        },
        _ => None,
    }
}

/// A tuple of sizes or strides. PyTorch has no negative strides.
fn sizes(path: &Path, name: &str, values: &Values, id: Id) -> Result<Vec<usize>> {
    let (path, tensor) = (|| path.to_owned(), || name.to_owned());
    let bad = |what: &str| Error::BadTensor { path: path(), tensor: tensor(), what: what.into() };
    let items = values.items(id).ok_or_else(|| bad("its shape or strides are no tuple"))?;
    if items.len() > MAX_RANK {
        return Err(bad("it has too many dimensions"));
    }
    let size = |(axis, id): (usize, &Id)| {
        let size = values.int(*id).ok_or_else(|| bad("its shape or strides are no integers"))?;
        usize::try_from(size).map_err(|_| Error::NegativeDim { path: path(), tensor: tensor(), axis, size })
    };
    items.iter().enumerate().map(size).collect()
}

/// Where the first element begins, and how many bytes further the last one ends.
fn place(shape: &[usize], strides: &[usize], offset: usize, size: usize) -> Option<(usize, usize)> {
    if shape.contains(&0) {
        return Some((0, 0));
    }
    let reach = shape
        .iter()
        .zip(strides)
        .try_fold(0usize, |reach, (&dim, &stride)| reach.checked_add(dim.checked_sub(1)?.checked_mul(stride)?));
    Some((offset.checked_mul(size)?, reach?.checked_add(1)?.checked_mul(size)?))
}

/// Whether the elements follow each other in row-major order. The stride of an axis of one is never taken.
fn is_contiguous(shape: &[usize], strides: &Vec<usize>, size: usize) -> bool {
    let mut step = size;
    shape.contains(&0)
        || shape.iter().zip(strides).rev().filter(|(dim, _)| **dim != 1).all(|(&dim, &stride)| {
            let follows = stride == step;
            step = step.saturating_mul(dim);
            follows
        })
}

/// Appends the elements that strides (in bytes) find, the last axis fastest.
fn gather(bytes: &[u8], shape: &[usize], strides: &[usize], size: usize, data: &mut Vec<u8>) {
    let (Some((&columns, rows)), Some((&step, steps))) = (shape.split_last(), strides.split_last()) else {
        return;
    };
    let mut index = vec![0usize; rows.len()];
    let mut at = 0usize;
    loop {
        for column in 0..columns {
            let start = at.saturating_add(column.saturating_mul(step));
            data.extend_from_slice(bytes.get(start..start.saturating_add(size)).unwrap_or_default());
        }
        // To the next row, as an odometer: an axis at its end goes back, and the one before it steps.
        let mut axes = index.iter_mut().zip(rows).zip(steps).rev();
        loop {
            let Some(((position, &dim), &stride)) = axes.next() else {
                return;
            };
            if position.saturating_add(1) < dim {
                *position += 1;
                at = at.saturating_add(stride);
                break;
            }
            at = at.saturating_sub(position.saturating_mul(stride));
            *position = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_view_is_gathered() {
        let mut data = Vec::new();
        gather(&[0, 1, 2, 3, 4, 5], &[3, 2], &[1, 3], 1, &mut data);
        assert_eq!(data, [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn a_view_of_three_axes_is_gathered() {
        let bytes: Vec<u8> = (0..24).collect();
        let mut data = Vec::new();
        gather(&bytes, &[2, 3, 2], &[1, 2, 12], 1, &mut data);
        assert_eq!(data, [0, 12, 2, 14, 4, 16, 1, 13, 3, 15, 5, 17]);
    }

    #[test]
    fn strides_of_axes_of_one_do_not_matter() {
        assert!(is_contiguous(&[2, 1, 3], &vec![12, 99, 4], 4));
        assert!(!is_contiguous(&[2, 1, 3], &vec![4, 99, 8], 4));
        assert!(is_contiguous(&[], &vec![], 8));
        assert!(is_contiguous(&[0, 3], &vec![1, 2], 4));
    }

    #[test]
    fn a_place_that_overflows_is_none() {
        assert_eq!(place(&[2, 3], &[3, 1], 1, 4), Some((4, 24)));
        assert_eq!(place(&[2], &[usize::MAX], 0, 4), None);
        assert_eq!(place(&[usize::MAX, 2], &[1, usize::MAX], 0, 1), None);
        assert_eq!(place(&[0, 2], &[usize::MAX; 2], 7, 4), Some((0, 0)));
    }
}
