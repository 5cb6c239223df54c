//! PyTorch's two file formats, made for the test: sound, damaged and hostile.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;

use read_support::torch::{ONE, Pickle, legacy, numbers, zip, zip_of};
use read_support::{error_of, open_bytes};
use weights_convert::{DType, Error};

#[test]
fn a_big_endian_file_is_turned_around() {
    let pickle = Pickle::dict("w", |p| p.tensor(("0", 2), 0, &[2], &[1]));
    let bytes = [1.5f32.to_be_bytes(), (-2.0f32).to_be_bytes()].concat();
    let file = |order: &[u8]| zip(&[("data.pkl", &pickle), ("byteorder", order), ("data/0", &bytes)]);
    let read = |order| open_bytes("m.pth", &file(order)).unwrap().read("w").unwrap();
    assert_eq!(read(b"big").to_f32().unwrap(), [1.5, -2.0]);
    assert_eq!(read(b"big").dtype, DType::F32);
    assert_ne!(read(b"little").to_f32().unwrap(), [1.5, -2.0]);
    assert!(error_of("m.pth", &file(b"middle")).to_string().contains("neither little nor big"));
}

/// Replaces bytes wherever they stand.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let places: Vec<_> = (0..=bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at..at + from.len()].copy_from_slice(to));
    bytes
}

#[test]
fn a_damaged_storage_fails_its_checksum() {
    let pickle = Pickle::dict("w", |p| p.tensor(ONE, 0, &[6], &[1]));
    let good = zip_of(&pickle, &numbers());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.pth");
    std::fs::write(&path, replace(&good, &4.0f32.to_le_bytes(), &4.5f32.to_le_bytes())).unwrap();
    let err = weights_convert::Checkpoint::open(&path).unwrap().check().unwrap_err();
    assert!(matches!(&err, Error::RecordChecksum { record, .. } if record == "data/0"), "{err}");
    let pickle = replace(&good, b"FloatStorage", b"ShortStorage");
    assert!(matches!(error_of("m.pth", &pickle), Error::RecordChecksum { .. }));
}

#[test]
fn two_records_of_one_name_are_refused() {
    let pickle = Pickle::dict("w", |p| p.tensor(ONE, 0, &[6], &[1]));
    let file = zip(&[("data.pkl", &pickle), ("data/0", &[0; 24]), ("data/1", &[1; 24])]);
    let err = error_of("m.pth", &replace(&file, b"data/1", b"data/0")).to_string();
    assert!(err.contains("two of its records have one name"), "{err}");
}

#[test]
fn records_that_overlap_are_refused() {
    let pickle = Pickle::dict("w", |p| p.tensor(ONE, 0, &[6], &[1]));
    let file = zip(&[("data.pkl", &pickle), ("data/0", &[0; 24]), ("data/1", &[1; 24])]);
    // The place of the third record, as its entry in the directory has it, becomes that of the second.
    let starts: Vec<_> = (0..file.len()).filter(|&at| file[at..].starts_with(b"PK\x03\x04")).collect();
    let place = |i: usize| (starts[i] as u32).to_le_bytes();
    let directory = (0..file.len()).find(|&at| file[at..].starts_with(b"PK\x01\x02")).unwrap();
    let bad = [&file[..directory], &replace(&file[directory..], &place(2), &place(1))].concat();
    let err = error_of("m.pth", &bad).to_string();
    assert!(err.contains("its records overlap"), "{err}");
}

#[test]
fn a_record_beyond_the_file_is_refused() {
    let pickle = Pickle::dict("w", |p| p.tensor(("0", 0x0102_0304), 0, &[6], &[1]));
    let file = zip(&[("data.pkl", &pickle), ("data/0", &[7; 0x0403])]);
    let bad = replace(&file, &[0x03, 0x04, 0, 0, 0x03, 0x04, 0, 0], &[0x10, 0x0c, 0x08, 0x04, 0x10, 0x0c, 0x08, 0x04]);
    let err = error_of("m.pth", &bad).to_string();
    assert!(err.contains("its records overlap"), "{err}");
}

#[test]
fn a_compressed_record_is_refused() {
    let pickle = Pickle::dict("w", |p| p.tensor(ONE, 0, &[6], &[1]));
    let file = zip_of(&pickle, &numbers());
    let directory = (0..file.len()).find(|&at| file[at..].starts_with(b"PK\x01\x02")).unwrap();
    let mut bad = file.clone();
    bad[directory + 10] = 8; // deflate
    let err = error_of("m.pth", &bad).to_string();
    assert!(err.contains("`data.pkl` is compressed") && err.contains("zip -0"), "{err}");
}

#[test]
fn two_descriptions_are_refused() {
    let pickle = Pickle::dict("w", |p| p.tensor(ONE, 0, &[6], &[1]));
    let err = error_of("m.pth", &zip(&[("data.pkl", &pickle), ("b/data.pkl", &pickle)])).to_string();
    assert!(err.contains("two of its records are named data.pkl"), "{err}");
}

fn legacy_bytes() -> Vec<u8> {
    numbers().iter().flat_map(|n| n.to_le_bytes()).collect()
}

#[test]
fn a_legacy_file_is_read() {
    let pickle = Pickle::dict("w", |p| p.tensor(("a", 6), 2, &[2], &[3]));
    let file = legacy(&pickle, &[("a", 6, &legacy_bytes())]);
    let checkpoint = open_bytes("m.pth.tar", &file).unwrap();
    checkpoint.check().unwrap();
    assert_eq!(checkpoint.read("w").unwrap().to_f32().unwrap(), [2.0, 5.0]);
}

#[test]
fn a_legacy_description_longer_than_the_first_read_is_read() {
    let long = "x".repeat(3 << 20);
    let pickle = Pickle::dict("w", |p| p.str(&long).op(b"0").tensor(("a", 6), 0, &[6], &[1]));
    let file = legacy(&pickle, &[("a", 6, &legacy_bytes())]);
    assert_eq!(open_bytes("m.pth", &file).unwrap().tensors().count(), 1);
}

#[test]
fn a_legacy_file_whose_storages_are_wrong_is_refused() {
    let pickle = Pickle::dict("w", |p| p.tensor(("a", 6), 0, &[6], &[1]));
    let data = legacy_bytes();
    let error = |storages: &[(&str, u64, &[u8])]| error_of("m.pth", &legacy(&pickle, storages)).to_string();
    assert!(error(&[]).contains("its storage `a` is not in the file"));
    assert!(error(&[("a", 7, &data)]).contains("should have 6 elements and has 7"));
    assert!(error(&[("b", 6, &data)]).contains("a storage `b` that it does not describe"));
    assert!(error(&[("a", 6, &data), ("a", 6, &data)]).contains("the storage `a` twice"));
    assert!(error(&[("a", 6, &data[1..])]).contains("tensor `w`: its storage `a` should have 24 bytes"));
}

#[test]
fn a_legacy_storage_is_described_in_one_way() {
    let pickle =
        Pickle::new().op(b"}(").str("v").tensor(("a", 5), 0, &[1], &[1]).str("w").tensor(("a", 6), 0, &[1], &[1]);
    let err = error_of("m.pth", &legacy(&pickle.op(b"u.").0, &[("a", 6, &legacy_bytes())])).to_string();
    assert!(err.contains("in two ways"), "{err}");
}

#[test]
fn a_view_of_a_legacy_storage_counts_from_its_own_start() {
    let pickle = Pickle::dict("w", |p| {
        p.global("torch._utils", "_rebuild_tensor")
            .op(b"((")
            .str("storage")
            .global("torch", "FloatStorage")
            .str("a")
            .str("cpu")
            .op(b"K\x06(")
            .str("view")
            .op(b"K\x02K\x03ttQK\x01K\x02\x85K\x01\x85tR")
    });
    let file = legacy(&pickle, &[("a", 6, &legacy_bytes())]);
    assert_eq!(open_bytes("m.pth", &file).unwrap().read("w").unwrap().to_f32().unwrap(), [3.0, 4.0]);
    let beyond = replace(&pickle, b"K\x02K\x03t", b"K\x05K\x03t");
    assert!(error_of("m.pth", &legacy(&beyond, &[])).to_string().contains("not described as PyTorch does it"));
}
