//! Thousands of damaged copies of small files: none may panic, and what a checksum covers may not change
//! unnoticed.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;

use std::path::Path;

use read_support::{flat, read_all, shared};

/// The same damage in every run.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Damages `file` in `dir` again and again and reads `open` each time. With `checksums`, whatever is still
/// read must be what was read before.
fn mutate(dir: &Path, file: &str, open: &str, times: usize, checksums: bool) {
    let path = dir.join(file);
    let good = std::fs::read(&path).unwrap();
    let expected = read_all(&dir.join(open)).unwrap();
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15 ^ good.len() as u64);
    for _ in 0..times {
        let mut bad = good.clone();
        match random.below(8) {
            0 => bad.truncate(random.below(good.len())),
            // Lengths are at their worst when they are huge.
            1 => bad[random.below(good.len())] = 0xff,
            _ => bad[random.below(good.len())] ^= 1 << random.below(8),
        }
        std::fs::write(&path, &bad).unwrap();
        let read = read_all(&dir.join(open));
        if checksums && let Ok(read) = read {
            assert!(read == expected, "{file}: damage was not noticed");
        }
    }
    std::fs::write(&path, good).unwrap();
}

/// A copy of the files of a fixture that can be damaged.
fn copy(folder: &str, files: &[&str]) -> Option<tempfile::TempDir> {
    let from = shared(folder)?;
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::write(dir.path().join(file), std::fs::read(from.join(file)).unwrap()).unwrap();
    }
    Some(dir)
}

#[test]
fn damaged_checkpoints_are_errors_or_read_the_same() {
    let one = ["model.ckpt.index", "model.ckpt.data-00000-of-00001"];
    let two = ["model.ckpt.index", "model.ckpt.data-00000-of-00002", "model.ckpt.data-00001-of-00002"];
    for (case, files) in [("dtypes", &one[..]), ("partitioned", &one), ("sharded", &two)] {
        let Some(dir) = copy(&format!("reference/tiny/tf/{case}"), files) else {
            return;
        };
        for file in files {
            mutate(dir.path(), file, "model.ckpt", 2000, true);
        }
    }
}

#[test]
fn damaged_graphs_do_not_panic() {
    for file in ["consts.pb", "frozen_tiny.pb"] {
        let Some(dir) = copy("reference/tiny/tf/graphdef", &[file]) else {
            return;
        };
        mutate(dir.path(), file, file, 3000, false);
    }
}

#[test]
fn damaged_tflite_models_do_not_panic() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.tflite"), flat::Model { quantized: true, ..Default::default() }.bytes()).unwrap();
    mutate(dir.path(), "m.tflite", "m.tflite", 3000, false);
}

#[test]
fn a_damaged_published_tflite_model_does_not_panic() {
    let Some(dir) = copy("real", &["deeplabv3_257_mv_gpu.tflite"]) else {
        return;
    };
    mutate(dir.path(), "deeplabv3_257_mv_gpu.tflite", "deeplabv3_257_mv_gpu.tflite", 100, false);
}

/// A zip archive has a checksum for every record; the legacy format has none.
#[test]
fn damaged_pytorch_files_do_not_panic() {
    for file in [
        "zip_vainf_wrapper.pth",
        "zip_whole_module.pth",
        "zip_views.pth",
        "zip_protocol5.pth",
        "zip_other_root.pth",
        "legacy_jfzhang_nested.pth.tar",
        "legacy_views.pth",
        "legacy_rebuild_tensor_v1.pth",
    ] {
        let Some(dir) = copy("reference/tiny/torch", &[file]) else {
            return;
        };
        mutate(dir.path(), file, file, 2000, file.starts_with("zip"));
    }
}

#[test]
fn damaged_safetensors_do_not_panic() {
    let header = r#"{"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"I8","shape":[3],"data_offsets":[8,11]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[7; 11]].concat();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.safetensors"), file).unwrap();
    mutate(dir.path(), "m.safetensors", "m.safetensors", 3000, false);
}
