//! No file makes its reader take more than four times its own size and 64 MB, whatever it repeats, claims or shares.
//!
//! A single test, since the allocations of all threads of the process are counted.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;

use std::path::Path;

use peak_alloc::PeakAlloc;
use read_support::bundle::{Bundle, Entry};
use read_support::flat::Value::{self, Bytes, I32, I32s, Table, Tables, U8};
use read_support::proto::{bytes, constant};
use read_support::torch::{self, Pickle};
use weights_convert::Checkpoint;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MIB: usize = 1 << 20;

/// Opens, checks and reads everything in a file, tensor by tensor, and gives the most memory that this took.
fn peak(path: &Path) -> usize {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    if let Ok(checkpoint) = Checkpoint::open(path) {
        let _ = checkpoint.check();
        for (name, _) in checkpoint.tensors() {
            let _ = checkpoint.read(name);
        }
    }
    MEMORY.peak_usage().saturating_sub(before)
}

/// Checks a file of the given content.
fn check(name: &str, what: &str, content: Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    let size = content.len();
    std::fs::write(&path, content).unwrap();
    within(&path, what, size);
}

fn within(path: &Path, what: &str, size: usize) {
    let most = 4 * size + 64 * MIB;
    let taken = peak(path);
    println!("{what}: {} KB of file, {} KB of memory", size >> 10, taken >> 10);
    assert!(taken <= most, "{what}: a file of {} KB took {} MB", size >> 10, taken / MIB);
}

/// As many copies as fit into so many bytes.
fn many(bytes: usize, mut one: impl FnMut(usize) -> Vec<u8>) -> Vec<u8> {
    let mut all = vec![];
    for i in 0.. {
        all.extend(one(i));
        if all.len() >= bytes {
            break;
        }
    }
    all
}

#[test]
fn a_reader_takes_no_more_than_four_times_its_file() {
    graphs();
    indices();
    tflite();
    safetensors();
    files();
    pickles();
}

fn graphs() {
    let node = |i: usize, rest: Vec<u8>| bytes(1, [bytes(1, i.to_string()), bytes(2, "NoOp"), rest].concat());
    let attribute = |name: &str| bytes(5, bytes(1, name));
    check("g.pb", "nodes with an attribute", many(18 * MIB, |i| node(i, attribute("a"))));
    check("g.pb", "empty nodes", many(8 * MIB, |_| bytes(1, [])));
    check("g.pb", "a node of attributes", node(0, many(18 * MIB, |i| attribute(&i.to_string()))));
    check("g.pb", "a node of inputs", node(0, many(18 * MIB, |_| bytes(3, []))));
    check("g.pb", "constants", many(8 * MIB, |i| constant(&i.to_string(), 1, &[], &[])));
    check("g.pb", "constants of many dimensions", many(18 * MIB, |i| constant(&i.to_string(), 1, &[1; 32], &[])));
    check("g.pb", "constants of too many dimensions", many(18 * MIB, |i| constant(&i.to_string(), 1, &[1; 254], &[])));
    let count = 16 << 20;
    check("g.pb", "integers of a byte", constant("w", 9, &[count], &bytes(10, vec![1; count as usize])));
    check("g.pb", "integers that are not packed", constant("w", 9, &[8 << 20], &[0x50, 1].repeat(8 << 20)));
    check("g.pb", "booleans", constant("w", 10, &[count], &bytes(11, vec![1; count as usize])));
    check("g.pb", "strings", constant("w", 7, &[8 << 20], &[0x42, 0].repeat(8 << 20)));
    check("g.pb", "a splat", constant("w", 1, &[1 << 40], &bytes(5, 1f32.to_le_bytes())));
    check("g.pb", "splats", many(MIB, |i| constant(&i.to_string(), 1, &[8 << 20], &[])));
}

fn indices() {
    let index = |what: &str, bundle: &Bundle| {
        let dir = tempfile::tempdir().unwrap();
        let (path, index) = (dir.path().join("model.ckpt.index"), bundle.index());
        std::fs::write(&path, &index).unwrap();
        std::fs::write(dir.path().join("model.ckpt.data-00000-of-00001"), &bundle.shards[0]).unwrap();
        within(&path, what, index.len() + bundle.shards[0].len());
    };
    let mut of_entries = Bundle::new(&[&[0; 4]]);
    for i in 0..1 << 16 {
        of_entries = of_entries.with(i.to_string(), &Entry::f32(&[0], &[0; 4]));
    }
    index("entries", &of_entries);
    for (what, field) in [("slices", bytes(7, [])), ("extents", bytes(7, bytes(1, []).repeat(100)))] {
        let mut bundle = Bundle::new(&[&[0; 4]]);
        bundle.entries.push((b"w".to_vec(), field.repeat(3 * MIB / field.len())));
        index(what, &bundle);
        bundle.entries.pop();
        for i in 0..3 * MIB / 4096 {
            bundle.entries.push((i.to_string().into(), field.repeat(4096 / field.len())));
        }
        index(&format!("{what} of many entries"), &bundle);
    }
    let mut of_dimensions = Bundle::new(&[&[0; 4]]);
    of_dimensions.entries.push((b"w".to_vec(), bytes(2, bytes(2, []).repeat(MIB))));
    index("dimensions", &of_dimensions);
}

/// A TFLite model of tensors and buffers.
fn model(tensors: Value, buffers: Vec<Value>) -> Vec<u8> {
    let graph = Table(vec![(0, tensors), (1, I32s(vec![])), (2, I32s(vec![]))]);
    let model = Table(vec![(0, I32(3)), (1, Tables(vec![])), (2, Tables(vec![graph])), (4, Tables(buffers))]);
    read_support::flat::file(&model)
}

fn tflite() {
    let tensor = |name: String, shape: Vec<i32>, rest: Vec<(usize, Value)>| {
        Table([vec![(0, I32s(shape)), (1, U8(9)), (2, I32(1)), (3, Bytes(name.into()))], rest].concat())
    };
    let buffers = || vec![Table(vec![]), Table(vec![(0, Bytes(vec![1; 4]))])];
    let tensors = |count: usize, dims: usize| {
        let shape = |dims| [vec![1; dims - 1], vec![4]].concat();
        Tables((0..count).map(|i| tensor(i.to_string(), shape(dims), vec![])).collect())
    };
    check("m.tflite", "tensors of one buffer", model(tensors(60_000, 1), buffers()));
    check("m.tflite", "more tensors than a network has", model(tensors(200_000, 1), buffers()));
    check("m.tflite", "tensors of many dimensions", model(tensors(30_000, 32), buffers()));
    // An entry of a list for the same table again and again costs four bytes.
    let repeated = |rest| Value::Repeated(Box::new(tensor("w".into(), vec![4], rest)), 60_000);
    check("m.tflite", "a table that is listed again and again", model(repeated(vec![]), buffers()));
    let scales = Table(vec![(2, I32s(vec![0; 1 << 18]))]);
    check("m.tflite", "scales that are listed again and again", model(repeated(vec![(4, scales)]), buffers()));
}

fn safetensors() {
    let file = |json: String| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
    let entry =
        |name: &str, shape: &str| format!(r#""{name}":{{"dtype":"U8","shape":[{shape}],"data_offsets":[0,0]}},"#);
    let end = r#""z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#;
    check("w.safetensors", "dimensions", file(format!("{{{}{end}", entry("a", &("1,".repeat(16 << 20) + "0")))));
    let tensors: String = (0..200_000).map(|i| entry(&i.to_string(), "0")).collect();
    check("w.safetensors", "tensors", file(format!("{{{tensors}{end}")));
    let ranked: String = (0..60_000).map(|i| entry(&i.to_string(), &("1,".repeat(31) + "0"))).collect();
    check("w.safetensors", "tensors of many dimensions", file(format!("{{{ranked}{end}")));
    let notes: String = (0..1_000_000).map(|i| format!(r#""{i}":"","#)).collect();
    check("w.safetensors", "notes", file(format!(r#"{{"__metadata__":{{{notes}"z":""}},{end}"#)));
    check("w.safetensors", "a long name", file(format!("{{{}{end}", entry(&"n".repeat(16 << 20), "0"))));
}

/// Indices of weights in several files, which are not there.
fn files() {
    for (what, size) in [("names of tensors in files", 4), ("more names of tensors in files", 15)] {
        let entries = many(size * MIB, |i| format!(r#""{i}":"f","#).into_bytes());
        let index = [br#"{"weight_map":{"#, &entries[..], br#""z":"f"}}"#].concat();
        check("model.safetensors.index.json", what, index);
    }
}

fn pickles() {
    let file = |ops: Vec<u8>| torch::zip(&[("data.pkl", &Pickle::new().op(ops).op(b".").0)]);
    check("w.pth", "integers", file([&b"("[..], &b"K\x01".repeat(4 << 20), b"l"].concat()));
    check("w.pth", "empty lists", file([&b"("[..], &b"]".repeat(8 << 20), b"l"].concat()));
    check("w.pth", "lists in lists", file([&b"]".repeat(900)[..], &b"a".repeat(899)].concat()));
    check("w.pth", "the memo", file([&b"("[..], &b"K\x01\x94".repeat(4 << 20), b"l"].concat()));
    check(
        "w.pth",
        "a value that is taken again and again",
        file([&b"](K\x01\x94"[..], &b"h\x00".repeat(4 << 20), b"e"].concat()),
    );
    check("w.pth", "strings", file([&b"("[..], &b"\x8c\x01a".repeat(4 << 20), b"l"].concat()));
    check("w.pth", "tuples", file([&b"("[..], &b"K\x01\x85".repeat(4 << 20), b"l"].concat()));
}
