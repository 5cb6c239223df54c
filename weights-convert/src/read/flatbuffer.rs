//! FlatBuffers, read with every offset checked and without `unsafe`.
//!
//! A table begins with the distance back to its vtable; the vtable has, for each field, where in the table
//! it lies (zero: absent). Strings, vectors and tables are reached by forward offsets.

use std::ops::Range;

/// What is wrong with a buffer, in words.
pub(crate) type Parsed<T> = std::result::Result<T, &'static str>;

const OUTSIDE: &str = "an offset points outside of the file";

/// A table within a buffer.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The fields' places.
    fields: &'a [u8],
}

/// A vector of tables.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    bytes: &'a [u8],
    start: usize,
    len: usize,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Parsed<[u8; N]> {
    bytes.get(at..).and_then(|b| b.first_chunk()).copied().ok_or(OUTSIDE)
}

/// Where the forward offset at `at` leads.
fn follow(bytes: &[u8], at: usize) -> Parsed<usize> {
    let offset = usize::try_from(u32::from_le_bytes(array(bytes, at)?)).map_err(|_| OUTSIDE)?;
    at.checked_add(offset).filter(|&to| to < bytes.len()).ok_or(OUTSIDE)
}

impl<'a> Table<'a> {
    /// The outermost table of a buffer.
    pub(crate) fn root(bytes: &'a [u8]) -> Parsed<Self> {
        Self::new(bytes, follow(bytes, 0)?)
    }

    fn new(bytes: &'a [u8], at: usize) -> Parsed<Self> {
        let back = i64::from(i32::from_le_bytes(array(bytes, at)?));
        let vtable = i64::try_from(at).ok().and_then(|at| usize::try_from(at.checked_sub(back)?).ok());
        let vtable = vtable.ok_or(OUTSIDE)?;
        let size = usize::from(u16::from_le_bytes(array(bytes, vtable)?));
        // The sizes of the vtable and of the table come before the fields.
        let fields = bytes.get(vtable..).and_then(|b| b.get(4..size)).ok_or("a table without fields")?;
        Ok(Self { bytes, at, fields })
    }

    /// Where a field lies; `None` when it is absent, and has its default.
    fn field(&self, id: usize) -> Parsed<Option<usize>> {
        let Some(offset) = self.fields.chunks_exact(2).nth(id) else {
            return Ok(None);
        };
        match usize::from(u16::from_le_bytes(array(offset, 0)?)) {
            0 => Ok(None),
            offset => self.at.checked_add(offset).ok_or(OUTSIDE).map(Some),
        }
    }

    fn scalar<const N: usize>(&self, id: usize) -> Parsed<Option<[u8; N]>> {
        self.field(id)?.map(|at| array(self.bytes, at)).transpose()
    }

    pub(crate) fn u8(&self, id: usize) -> Parsed<u8> {
        Ok(self.scalar(id)?.map_or(0, u8::from_le_bytes))
    }

    pub(crate) fn i32(&self, id: usize, default: i32) -> Parsed<i32> {
        Ok(self.scalar(id)?.map_or(default, i32::from_le_bytes))
    }

    pub(crate) fn u32(&self, id: usize) -> Parsed<u32> {
        Ok(self.scalar(id)?.map_or(0, u32::from_le_bytes))
    }

    pub(crate) fn u64(&self, id: usize) -> Parsed<u64> {
        Ok(self.scalar(id)?.map_or(0, u64::from_le_bytes))
    }

    pub(crate) fn table(&self, id: usize) -> Parsed<Option<Self>> {
        self.field(id)?.map(|at| Self::new(self.bytes, follow(self.bytes, at)?)).transpose()
    }

    /// Where the elements of a vector lie, each of `element` bytes.
    pub(crate) fn range(&self, id: usize, element: usize) -> Parsed<Option<Range<usize>>> {
        const TOO_LONG: &str = "a vector claims more than the file has";
        let Some(at) = self.field(id)? else { return Ok(None) };
        let at = follow(self.bytes, at)?;
        let count = usize::try_from(u32::from_le_bytes(array(self.bytes, at)?)).map_err(|_| TOO_LONG)?;
        let start = at.checked_add(4).ok_or(TOO_LONG)?;
        let end = count.checked_mul(element).and_then(|size| start.checked_add(size)).ok_or(TOO_LONG)?;
        if end > self.bytes.len() {
            return Err(TOO_LONG);
        }
        Ok(Some(start..end))
    }

    /// The length of the whole buffer.
    pub(crate) fn file_len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes at a place that [`Table::range`] gave.
    pub(crate) fn bytes(&self, place: Range<usize>) -> &'a [u8] {
        self.bytes.get(place).unwrap_or_default()
    }

    /// A vector of int32; empty when it is absent.
    pub(crate) fn i32s(&self, id: usize) -> Parsed<impl ExactSizeIterator<Item = i32> + Clone + use<'a>> {
        let range = self.range(id, 4)?.unwrap_or_default();
        let (chunks, _) = self.bytes.get(range).ok_or(OUTSIDE)?.as_chunks();
        Ok(chunks.iter().map(|b| i32::from_le_bytes(*b)))
    }

    /// A vector of float32; empty when it is absent.
    pub(crate) fn f32s(&self, id: usize) -> Parsed<impl ExactSizeIterator<Item = f32> + Clone + use<'a>> {
        let range = self.range(id, 4)?.unwrap_or_default();
        let (chunks, _) = self.bytes.get(range).ok_or(OUTSIDE)?.as_chunks();
        Ok(chunks.iter().map(|b| f32::from_le_bytes(*b)))
    }

    /// A vector of int64; empty when it is absent.
    pub(crate) fn i64s(&self, id: usize) -> Parsed<impl ExactSizeIterator<Item = i64> + Clone + use<'a>> {
        let range = self.range(id, 8)?.unwrap_or_default();
        let (chunks, _) = self.bytes.get(range).ok_or(OUTSIDE)?.as_chunks();
        Ok(chunks.iter().map(|b| i64::from_le_bytes(*b)))
    }

    /// A vector of tables; empty when it is absent.
    pub(crate) fn tables(&self, id: usize) -> Parsed<Tables<'a>> {
        let range = self.range(id, 4)?.unwrap_or_default();
        Ok(Tables { bytes: self.bytes, start: range.start, len: range.len() / 4 })
    }

    /// A string; empty when it is absent.
    pub(crate) fn str(&self, id: usize) -> Parsed<&'a str> {
        let range = self.range(id, 1)?.unwrap_or_default();
        std::str::from_utf8(self.bytes.get(range).ok_or(OUTSIDE)?).map_err(|_| "a name is not UTF-8")
    }
}

impl<'a> Tables<'a> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, i: usize) -> Parsed<Table<'a>> {
        let at = (i < self.len).then(|| i.checked_mul(4)?.checked_add(self.start)).flatten();
        let at = at.ok_or("an index points outside of its list")?;
        Table::new(self.bytes, follow(self.bytes, at)?)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Parsed<Table<'a>>> {
        (0..self.len).map(move |i| self.get(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root table with one field of four bytes, which a test can make anything.
    fn buffer(field: [u8; 4], rest: &[u8]) -> Vec<u8> {
        // 0: root offset; 4: vtable {size 6, table size 8, field at 4}; 12: table {vtable 8 back, field}
        let mut bytes = vec![12, 0, 0, 0, 6, 0, 8, 0, 4, 0, 0, 0, 8, 0, 0, 0];
        bytes.extend(field);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn fields_are_found_and_absent_ones_have_their_defaults() {
        let bytes = buffer(7i32.to_le_bytes(), &[]);
        let table = Table::root(&bytes).unwrap();
        assert_eq!((table.i32(0, 1), table.i32(1, 1)), (Ok(7), Ok(1)));
        assert_eq!(table.str(5), Ok(""));
    }

    #[test]
    fn vectors_and_strings_are_found() {
        let bytes = buffer([4, 0, 0, 0], &[2, 0, 0, 0, b'h', b'i']);
        assert_eq!(Table::root(&bytes).unwrap().str(0), Ok("hi"));
    }

    #[test]
    fn an_offset_out_of_range_is_refused() {
        let bytes = buffer([0xff; 4], &[0; 8]);
        let table = Table::root(&bytes).unwrap();
        assert_eq!(table.str(0), Err(OUTSIDE));
        assert!(table.table(0).is_err());
        assert!(Table::root(&[0xff; 8]).is_err());
        assert!(Table::root(&[]).is_err());
    }

    #[test]
    fn a_vector_that_claims_too_much_is_refused() {
        for claim in [[3, 0, 0, 0], [0xff; 4]] {
            let bytes = buffer([4, 0, 0, 0], &[&claim[..], b"hi"].concat());
            let table = Table::root(&bytes).unwrap();
            assert_eq!(table.str(0), Err("a vector claims more than the file has"));
            assert!(table.i32s(0).is_err());
        }
    }

    #[test]
    fn a_vtable_out_of_range_is_refused() {
        let mut bytes = buffer([0; 4], &[]);
        bytes[12..16].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
        assert!(Table::root(&bytes).is_err());
        bytes[12..16].copy_from_slice(&[0, 0, 0, 0x80]);
        assert!(Table::root(&bytes).is_err());
    }
}
