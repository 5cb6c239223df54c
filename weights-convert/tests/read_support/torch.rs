//! Pickles and PyTorch files.

use std::io::{Cursor, Write};

use weights_convert::Error;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use super::{error_of, open_bytes};

/// What `torch.save` begins a legacy file with.
pub(crate) const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// A pickle, opcode by opcode.
#[derive(Clone)]
pub(crate) struct Pickle(pub(crate) Vec<u8>);

impl Pickle {
    /// Protocol 2 and nothing yet.
    pub(crate) fn new() -> Self {
        Self(vec![0x80, 2])
    }

    /// The opcodes as they are.
    pub(crate) fn op(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    pub(crate) fn str(self, text: &str) -> Self {
        self.op(b"X").op((text.len() as u32).to_le_bytes()).op(text)
    }

    /// An integer of eight bytes.
    pub(crate) fn int(self, value: i64) -> Self {
        self.op(b"\x8a\x08").op(value.to_le_bytes())
    }

    pub(crate) fn ints(self, values: &[i64]) -> Self {
        values.iter().fold(self.op(b"("), |pickle, value| pickle.int(*value)).op(b"t")
    }

    pub(crate) fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n"))
    }

    /// A storage by its persistent id.
    pub(crate) fn storage(self, class: &str, key: &str, numel: i64) -> Self {
        self.op(b"(").str("storage").global("torch", class).str(key).str("cpu").int(numel).op(b"tQ")
    }

    /// A float32 tensor over a storage that is described as `storage` says.
    pub(crate) fn tensor(self, (key, numel): (&str, i64), offset: i64, shape: &[i64], strides: &[i64]) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .op(b"(")
            .storage("FloatStorage", key, numel)
            .int(offset)
            .ints(shape)
            .ints(strides)
            .op(b"\x89")
            .global("collections", "OrderedDict")
            .op(b")RtR")
    }

    /// The pickle of a dictionary with one entry, which `value` writes.
    pub(crate) fn dict(name: &str, value: impl FnOnce(Self) -> Self) -> Vec<u8> {
        value(Self::new().op(b"}").str(name)).op(b"s.").0
    }
}

/// A zip archive as PyTorch writes it, with these records below `archive/`.
pub(crate) fn zip(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in records {
        archive.start_file(format!("archive/{name}"), stored).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A zip archive with this description and one storage of these numbers.
pub(crate) fn zip_of(description: &[u8], numbers: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    zip(&[("data.pkl", description), ("data/0", &bytes), ("version", b"3\n")])
}

/// A legacy file with this description, keys and storages.
pub(crate) fn legacy(description: &[u8], storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let keys = storages.iter().fold(Pickle::new().op(b"]("), |keys, (key, ..)| keys.str(key)).op(b"e.").0;
    let protocol = b"\x80\x02M\xe9\x03.";
    let system = b"\x80\x02}.";
    let mut file = [MAGIC, protocol, system, description, &keys].concat();
    for (_, numel, bytes) in storages {
        file.extend_from_slice(&numel.to_le_bytes());
        file.extend_from_slice(bytes);
    }
    file
}

/// The storage of [`zip_of`], and the number of its elements.
pub(crate) const ONE: (&str, i64) = ("0", 6);

/// What is in it.
pub(crate) fn numbers() -> Vec<f32> {
    (0..6u8).map(f32::from).collect()
}

/// The error of a zip archive with this description.
pub(crate) fn error(description: impl AsRef<[u8]>) -> Error {
    error_of("m.pth", &zip_of(description.as_ref(), &numbers()))
}

/// The message about the tensor `w` that this makes.
pub(crate) fn message_of(value: impl FnOnce(Pickle) -> Pickle) -> String {
    error(Pickle::dict("w", value)).to_string()
}

/// The message about a pickle of these opcodes.
pub(crate) fn message(ops: &[u8]) -> String {
    error(Pickle::new().op(ops).0).to_string()
}

/// Reads `w` of a zip archive with this description.
pub(crate) fn values(description: &[u8]) -> Vec<f32> {
    open_bytes("m.pth", &zip_of(description, &numbers())).unwrap().read("w").unwrap().to_f32().unwrap()
}
