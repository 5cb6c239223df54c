//! safetensors made for the test: a sound one, and one for each way to be wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;

use read_support::{error_of, open_bytes};
use weights_convert::{DType, Error, Format};

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// The error of a file with one tensor of this description and eight bytes of data.
fn error(tensor: &str) -> Error {
    error_of("m.safetensors", &file(&format!("{{\"w\":{tensor}}}"), &[0; 8]))
}

#[test]
fn tensors_are_read() {
    let header = r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2],"data_offsets":[2,10]},
        "b":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}"#;
    let data = [&0x3fc0u16.to_le_bytes()[..], &1.0f32.to_le_bytes(), &2.0f32.to_le_bytes()].concat();
    let checkpoint = open_bytes("any.name", &file(header, &data)).unwrap();
    assert_eq!(checkpoint.format(), Format::Safetensors);
    checkpoint.check().unwrap();
    assert!(checkpoint.tensors().all(|(_, info)| info.variable));
    assert_eq!(checkpoint.info("b").unwrap().dtype, DType::Bf16);
    assert_eq!(checkpoint.read("b").unwrap().to_f32().unwrap(), [1.5]);
    assert_eq!(checkpoint.read("w").unwrap().to_f32().unwrap(), [1.0, 2.0]);
}

#[test]
fn a_header_that_claims_more_than_the_file_is_refused() {
    for claim in [3u64, 1000, 100_000_001, u64::MAX] {
        let bytes = [&claim.to_le_bytes()[..], b"{}"].concat();
        let err = error_of("m.safetensors", &bytes).to_string();
        assert!(err.contains(&format!("its header claims {claim} bytes, the file has 10")), "{err}");
    }
}

#[test]
fn a_header_that_is_no_json_is_refused() {
    assert!(matches!(error_of("m.safetensors", &file("{\"w\": [[[[", &[])), Error::Malformed { .. }));
}

#[test]
fn offsets_that_do_not_fit_are_refused() {
    for tensor in [
        r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#,
        r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#,
        r#"{"dtype":"F32","shape":[2],"data_offsets":[4,12]}"#,
        r#"{"dtype":"F32","shape":[4],"data_offsets":[0,16]}"#,
        r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#,
        r#"{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}"#,
        r#"{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}"#,
        r#"{"dtype":"F33","shape":[2],"data_offsets":[0,8]}"#,
    ] {
        assert!(matches!(error(tensor), Error::Malformed { .. }), "{tensor}");
    }
}

#[test]
fn a_type_that_is_not_read_is_named() {
    let err = error(r#"{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}"#);
    assert!(matches!(&err, Error::UnknownDType { code, .. } if code == "F8_E4M3"), "{err}");
}
