//! What a path means, and what is said of files that are not weights.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;

use std::path::Path;

use read_support::bundle::{Bundle, Entry};
use read_support::{error_of, proto, torch};
use weights_convert::{Checkpoint, Error, Format};

fn checkpoint(dir: &Path) {
    let data = 1.0f32.to_le_bytes();
    Bundle::new(&[&data]).with("w", &Entry::f32(&[], &data)).write(dir);
}

fn graph() -> Vec<u8> {
    proto::constant("w", 1, &[], &[])
}

fn message(name: &str, bytes: &[u8]) -> String {
    error_of(name, bytes).to_string()
}

#[test]
fn nothing_at_all_is_not_found() {
    let err = Checkpoint::open(Path::new("no/such/model.ckpt")).unwrap_err();
    assert!(matches!(err, Error::NotFound { .. }), "{err}");
}

#[test]
fn the_content_tells_the_format_and_not_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    std::fs::write(&path, graph()).unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap().format(), Format::TfGraphDef);
}

#[test]
fn an_empty_file_is_told() {
    assert!(matches!(error_of("model.pb", b""), Error::Empty { .. }));
    assert!(matches!(error_of("model.ckpt.index", b""), Error::Empty { .. }));
}

#[test]
fn a_git_lfs_pointer_is_told() {
    let err = message("model.tflite", b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 9\n");
    assert!(err.contains("git lfs pull"), "{err}");
}

#[test]
fn archives_are_to_be_unpacked() {
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    for bytes in [&b"\x1f\x8b\x08\0"[..], &tar, b"BZh91AY", b"\xfd7zXZ\0\0"] {
        let err = message("deeplab.tar.gz", bytes);
        assert!(err.contains("unpack it first (`tar xf`)"), "{err}");
    }
}

#[test]
fn files_of_other_programs_are_told() {
    assert!(message("m.npz", &torch::zip(&[("w.npy", b"")])).contains("without a data.pkl"));
    assert!(message("m.pkl", b"\x80\x02}.").contains("`torch.save` did not write"));
    assert!(message("m.h5", b"\x89HDF\r\n\x1a\n").contains("HDF5"));
    assert!(message("m.pb", b"\n <!DOCTYPE html><title>404").contains("a web page"));
    assert!(message("saved_model.pb", b"\x08\x01\x12\x00").contains("variables/variables"));
    assert!(message("model.ckpt", &Bundle::new(&[]).index()).contains("V1 checkpoint"));
}

#[test]
fn anything_else_gets_the_list_of_formats() {
    for bytes in [&b"hello"[..], &[0; 600], b"{\"json\": true}", b"\n\n\n"] {
        let err = message("model.pb", bytes);
        assert!(err.contains("V2 checkpoints") && err.contains("PyTorch checkpoints"), "{err}");
    }
}

#[test]
fn a_data_file_without_its_index_is_told() {
    let err = error_of("model.ckpt.data-00000-of-00001", b"1234");
    assert!(matches!(err, Error::MissingIndex { .. }), "{err}");
}

#[test]
fn a_folder_stands_for_the_only_weights_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Checkpoint::open(dir.path());
    assert!(matches!(open(), Err(Error::NoWeights { .. })));
    std::fs::write(dir.path().join("graph.pb"), graph()).unwrap();
    std::fs::write(dir.path().join("._model.ckpt.index"), "what a Mac leaves in an archive").unwrap();
    assert_eq!(open().unwrap().format(), Format::TfGraphDef);
    checkpoint(dir.path());
    assert_eq!(open().unwrap().format(), Format::TfCheckpoint);
}

#[test]
fn a_folder_with_several_weights_lists_them() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b.pb", "a.tflite", "c.pth.tar", "d.tar"] {
        std::fs::write(dir.path().join(name), graph()).unwrap();
    }
    let err = Checkpoint::open(dir.path()).unwrap_err().to_string();
    assert!(err.ends_with("a.tflite, b.pb, c.pth.tar"), "{err}");
}

#[test]
fn the_state_file_names_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(dir.path());
    std::fs::write(dir.path().join("other.index"), "").unwrap();
    let with = |state: &str| {
        std::fs::write(dir.path().join("checkpoint"), state).unwrap();
        Checkpoint::open(dir.path())
    };
    let state = "model_checkpoint_path: \"model.ckpt\"\nall_model_checkpoint_paths: \"other\"\n";
    assert_eq!(with(state).unwrap().tensors().count(), 1);
    for outside in ["/etc/model.ckpt", "../model.ckpt", "a/../../model.ckpt"] {
        let err = with(&format!("model_checkpoint_path: \"{outside}\"")).unwrap_err();
        assert!(err.to_string().contains("not within its folder"), "{err}");
    }
    for nonsense in ["", "model_checkpoint_path: model.ckpt", "model_checkpoint_path: \"a\\\\b\""] {
        assert!(matches!(with(nonsense), Err(Error::CheckpointState { .. })), "{nonsense}");
    }
    assert!(matches!(with("model_checkpoint_path: \"gone\""), Err(Error::NotFound { .. })));
}

#[cfg(unix)]
#[test]
fn a_device_is_no_file() {
    assert!(matches!(Checkpoint::open(Path::new("/dev/zero")), Err(Error::NotAFile { .. })));
}
