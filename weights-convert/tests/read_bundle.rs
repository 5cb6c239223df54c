//! V2 checkpoints made for the test: sound ones, and one for each way to be wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;

use read_support::bundle::{Bundle, Entry, mask, slice_key};
use read_support::proto::{bytes, int};
use weights_convert::{Checkpoint, Error, Result};

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn open(bundle: &Bundle) -> (tempfile::TempDir, Result<Checkpoint>) {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(&bundle.write(dir.path()));
    (dir, checkpoint)
}

fn error(bundle: &Bundle) -> Error {
    open(bundle).1.expect_err("this checkpoint must not open")
}

/// One float32 tensor `w` of shape [2, 3].
fn one() -> (Vec<u8>, Entry) {
    let data = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let entry = Entry::f32(&[2, 3], &data);
    (data, entry)
}

/// The error of a checkpoint whose only entry was changed.
fn error_with(change: impl FnOnce(&mut Entry)) -> Error {
    let (data, mut entry) = one();
    change(&mut entry);
    error(&Bundle::new(&[&data]).with("w", &entry))
}

#[test]
fn a_tensor_is_read() {
    let (data, entry) = one();
    let (_dir, checkpoint) = open(&Bundle::new(&[&data]).with("w", &entry));
    let checkpoint = checkpoint.unwrap();
    checkpoint.check().unwrap();
    assert_eq!(checkpoint.read("w").unwrap().to_f32().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let err = checkpoint.read("x").unwrap_err();
    assert!(err.to_string().ends_with("no tensor named `x`"), "{err}");
}

#[test]
fn a_flipped_bit_in_the_data_names_the_tensor() {
    let (mut data, entry) = one();
    data[5] ^= 0x10;
    let (_dir, checkpoint) = open(&Bundle::new(&[&data]).with("w", &entry));
    let checkpoint = checkpoint.unwrap();
    for err in [checkpoint.check().unwrap_err(), checkpoint.read("w").unwrap_err()] {
        assert!(matches!(&err, Error::TensorChecksum { tensor, .. } if tensor == "w"), "{err}");
    }
}

#[test]
fn a_flipped_bit_in_the_index_is_found() {
    let (data, entry) = one();
    let bundle = Bundle::new(&[&data]).with("w", &entry);
    let dir = tempfile::tempdir().unwrap();
    let prefix = bundle.write(dir.path());
    let mut index = bundle.index();
    index[10] ^= 1;
    std::fs::write(dir.path().join("model.ckpt.index"), index).unwrap();
    assert!(matches!(Checkpoint::open(&prefix), Err(Error::BlockChecksum { offset: 0, .. })));
}

#[test]
fn an_index_cut_short_is_refused_at_any_length() {
    let (data, entry) = one();
    let bundle = Bundle::new(&[&data]).with("w", &entry);
    let dir = tempfile::tempdir().unwrap();
    let prefix = bundle.write(dir.path());
    let index = bundle.index();
    for n in 0..index.len() {
        std::fs::write(dir.path().join("model.ckpt.index"), &index[..n]).unwrap();
        assert!(Checkpoint::open(&prefix).is_err(), "{n} bytes");
        assert!(Checkpoint::open(&dir.path().join("model.ckpt.index")).is_err(), "{n} bytes");
    }
}

#[test]
fn a_data_file_cut_short_is_refused_when_the_index_is_opened() {
    let (data, entry) = one();
    let err = error(&Bundle::new(&[&data[..23]]).with("w", &entry));
    assert!(matches!(err, Error::OutOfFile { size: 24, file_size: 23, .. }), "{err}");
}

#[test]
fn a_missing_data_file_is_named() {
    let (data, entry) = one();
    let dir = tempfile::tempdir().unwrap();
    let prefix = Bundle::new(&[&data]).with("w", &entry).write(dir.path());
    std::fs::remove_file(dir.path().join("model.ckpt.data-00000-of-00001")).unwrap();
    let err = Checkpoint::open(&prefix).unwrap_err();
    assert!(matches!(&err, Error::MissingShard { path } if path.ends_with("model.ckpt.data-00000-of-00001")), "{err}");
}

#[test]
fn a_data_file_that_is_a_git_lfs_pointer_is_told() {
    let (_, entry) = one();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 24\n";
    assert!(matches!(error(&Bundle::new(&[pointer]).with("w", &entry)), Error::LfsPointer { .. }));
}

#[test]
fn numbers_that_claim_too_much_are_refused() {
    assert!(matches!(error_with(|e| e.offset = i64::MAX), Error::OutOfFile { .. }));
    assert!(matches!(error_with(|e| e.offset = -1), Error::OutOfFile { offset: -1, .. }));
    assert!(matches!(error_with(|e| e.offset = 1), Error::OutOfFile { .. }));
    assert!(matches!(error_with(|e| e.size = -24), Error::OutOfFile { .. }));
    assert!(matches!(error_with(|e| e.size = 23), Error::SizeMismatch { expected: 24, found: 23, .. }));
    assert!(matches!(error_with(|e| e.shape = vec![1 << 32, 1 << 32]), Error::ShapeOverflow { .. }));
    assert!(matches!(error_with(|e| e.shape = vec![1 << 40]), Error::SizeMismatch { .. }));
    assert!(matches!(error_with(|e| e.shape = vec![2, -3]), Error::NegativeDim { axis: 1, .. }));
    assert!(matches!(error_with(|e| e.shape = vec![1; 255]), Error::BadTensor { .. }));
    assert!(matches!(error_with(|e| e.shard = 1), Error::BadTensor { .. }));
    assert!(matches!(error_with(|e| e.shard = -1), Error::BadTensor { .. }));
    assert!(matches!(error_with(|e| e.dtype = 21), Error::UnknownDType { .. }));
}

#[test]
fn an_entry_that_is_no_protobuf_is_refused() {
    let mut bundle = Bundle::new(&[b""]);
    bundle.entries.push((b"w".to_vec(), vec![0xff; 12]));
    let err = error(&bundle);
    assert!(err.to_string().contains("the entry `w`"), "{err}");
}

#[test]
fn headers_that_are_not_for_this_reader_are_refused() {
    let header = |header: Vec<u8>| {
        let mut bundle = Bundle::new(&[b""]);
        bundle.entries[0].1 = header;
        error(&bundle).to_string()
    };
    assert!(header([int(1, 1), int(2, 1)].concat()).contains("big-endian"));
    assert!(header([int(1, 1), bytes(3, int(2, 9))].concat()).contains("newer than this program"));
    let mut none = Bundle::new(&[b""]);
    none.entries.clear();
    assert!(error(&none).to_string().contains("no header"));
}

/// `w` of shape [2, 3] in the given parts, whose data are all ones.
fn sliced(slices: &[&[(i64, i64)]]) -> Bundle {
    let data = floats(&[1.0; 6]);
    let mut bundle = Bundle::new(&[&data]).with("w", &Entry::sliced(&[2, 3], slices));
    for slice in slices {
        let lengths: Vec<i64> = slice.iter().map(|&(_, length)| length).collect();
        if lengths.iter().all(|&n| (0..10).contains(&n)) && lengths.iter().product::<i64>() <= 6 {
            bundle = bundle.with(slice_key("w", slice), &Entry::f32(&lengths, &data));
        }
    }
    bundle
}

#[test]
fn parts_are_put_together() {
    let (dir, checkpoint) = open(&sliced(&[&[(0, 2), (0, 2)], &[(0, 2), (2, 1)]]));
    let checkpoint = checkpoint.unwrap();
    checkpoint.check().unwrap();
    assert_eq!(checkpoint.read("w").unwrap().to_f32().unwrap(), [1.0; 6]);
    assert_eq!(checkpoint.tensors().count(), 1);
    // A flipped bit in a part is the tensor's.
    let shard = dir.path().join("model.ckpt.data-00000-of-00001");
    let mut data = std::fs::read(&shard).unwrap();
    data[0] ^= 1;
    std::fs::write(&shard, data).unwrap();
    assert!(matches!(checkpoint.read("w"), Err(Error::TensorChecksum { .. })));
    assert!(matches!(checkpoint.check(), Err(Error::TensorChecksum { .. })));
}

#[test]
fn parts_that_overlap_are_refused() {
    let err = error(&sliced(&[&[(0, 2), (0, 2)], &[(1, 1), (1, 2)]]));
    assert_eq!(err.to_string().rsplit(": ").next(), Some("its parts 0,2:0,2 and 1,1:1,2 overlap"));
}

#[test]
fn parts_that_leave_a_gap_are_refused() {
    let err = error(&sliced(&[&[(0, 2), (0, 2)]]));
    assert!(matches!(err, Error::SliceGap { covered: 4, elements: 6, .. }), "{err}");
}

#[test]
fn parts_beyond_the_tensor_are_refused() {
    let err = error(&sliced(&[&[(0, 2), (0, 4)]]));
    assert!(matches!(err, Error::BadSlice { .. }), "{err}");
}

#[test]
fn parts_without_data_are_refused() {
    let mut bundle = sliced(&[&[(0, 2), (0, 2)], &[(0, 2), (2, 1)]]);
    bundle.entries.pop();
    let err = error(&bundle);
    assert!(err.to_string().contains("0,2:2,1: its data is not in the index"), "{err}");
}

#[test]
fn parts_of_another_shape_are_refused() {
    let data = floats(&[1.0; 6]);
    let bundle = Bundle::new(&[&data])
        .with("w", &Entry::sliced(&[6], &[&[(0, 6)]]))
        .with(slice_key("w", &[(0, 6)]), &Entry::f32(&[5], &data));
    assert!(matches!(error(&bundle), Error::BadSlice { .. }));
}

#[test]
fn a_tensor_of_many_parts_on_the_same_bytes_cannot_outgrow_its_files() {
    let data = floats(&[1.0; 6]);
    let parts = [[(0, 6)], [(6, 6)]];
    let mut bundle = Bundle::new(&[&data]).with("w", &Entry::sliced(&[12], &[&parts[0], &parts[1]]));
    for part in &parts {
        bundle = bundle.with(slice_key("w", part), &Entry::f32(&[6], &data));
    }
    assert!(matches!(error(&bundle), Error::TensorTooLarge { size: 48, limit: 24, .. }));
}

/// A tensor of strings, with its checksums as TensorFlow computes them.
fn strings(strings: &[&[u8]]) -> (Vec<u8>, Entry) {
    let mut data: Vec<u8> = strings.iter().map(|s| s.len() as u8).collect();
    let mut crc = strings.iter().fold(0, |crc, s| crc32c::crc32c_append(crc, &(s.len() as u32).to_le_bytes()));
    let lengths = mask(crc).to_le_bytes();
    data.extend(lengths);
    data.extend(strings.concat());
    crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &lengths), &strings.concat());
    let shape = vec![strings.len() as i64];
    let entry = Entry { dtype: 7, shape, size: data.len() as i64, crc: mask(crc), ..one().1 };
    (data, entry)
}

#[test]
fn strings_are_read_and_every_byte_of_them_is_covered() {
    let (data, entry) = strings(&[b"ab", b"", b"c"]);
    let (dir, checkpoint) = open(&Bundle::new(&[&data]).with("s", &entry));
    let checkpoint = checkpoint.unwrap();
    checkpoint.check().unwrap();
    let raw = checkpoint.read("s").unwrap();
    assert_eq!(raw.strings().unwrap().collect::<Vec<_>>(), [&b"ab"[..], b"", b"c"]);
    assert!(!checkpoint.info("s").unwrap().variable);

    for bit in 0..data.len() * 8 {
        let mut bad = data.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(dir.path().join("model.ckpt.data-00000-of-00001"), bad).unwrap();
        assert!(checkpoint.check().is_err(), "bit {bit}");
        assert!(checkpoint.read("s").is_err(), "bit {bit}");
    }
}

#[test]
fn strings_of_nonsense_lengths_are_refused() {
    let (_, entry) = strings(&[b"ab", b"", b"c"]);
    for data in [vec![0xff; entry.size as usize], vec![0x80; entry.size as usize]] {
        let (_dir, checkpoint) = open(&Bundle::new(&[&data]).with("s", &entry));
        let checkpoint = checkpoint.unwrap();
        assert!(checkpoint.check().is_err());
        assert!(checkpoint.read("s").is_err());
    }
    // More strings than bytes.
    let (data, mut entry) = strings(&[b"ab"]);
    entry.shape = vec![1 << 40];
    assert!(matches!(error(&Bundle::new(&[&data]).with("s", &entry)), Error::SizeMismatch { .. }));
}

/// A small index could have a large data file read for each of its entries.
#[test]
fn tensors_that_share_bytes_are_refused() {
    let data = floats(&[1.0; 6]);
    let twice = Bundle::new(&[&data]).with("a", &Entry::f32(&[6], &data)).with("b", &Entry::f32(&[6], &data));
    let said = error(&twice).to_string();
    assert!(said.contains("`b`") && said.contains("shares bytes of data file 0 with `a`"), "{said}");
}
