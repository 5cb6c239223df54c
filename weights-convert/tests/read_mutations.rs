//! Thousands of damaged copies of small files: none may panic, and what a checksum covers may not change
//! unnoticed.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;
#[allow(dead_code)] // each test uses its part
#[path = "../../tests/support/shared.rs"]
mod shared;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use read_support::{flat, read_all};
use shared::{kept, shared};

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

/// Files that are damaged, one at a time, and read.
struct Victim {
    dir: tempfile::TempDir,
    /// What is opened.
    open: &'static str,
    /// Whether checksums cover the files: whatever is still read must then be what was read before.
    checksums: bool,
}

impl Victim {
    /// Copies of the files of a fixture.
    fn copy(folder: &Path, files: &[&str], open: &'static str, checksums: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::write(dir.path().join(file), std::fs::read(folder.join(file)).unwrap()).unwrap();
        }
        Self { dir, open, checksums }
    }

    /// One file without checksums.
    fn file(name: &'static str, content: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), content).unwrap();
        Self { dir, open: name, checksums: false }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Damages every `step`th byte of a file, in each of the ways in turn, and cuts the file off there.
    fn mutate(&self, file: &str, step: usize) {
        let path = self.path(file);
        let good = std::fs::read(&path).unwrap();
        let expected = read_all(&self.path(self.open)).unwrap();
        let mut random = Xorshift(0x9e37_79b9_7f4a_7c15 ^ good.len() as u64);
        let read = |bad: &[u8], at: usize| {
            overwrite(&path, bad);
            let read = read_all(&self.path(self.open));
            if self.checksums
                && let Ok(read) = read
            {
                assert!(read == expected, "{file}: damage at byte {at} was not noticed");
            }
        };
        for start in (0..good.len()).step_by(step) {
            // Not the same place of every record.
            let at = (start + random.below(step)).min(good.len() - 1);
            let mut bad = good.clone();
            bad[at] ^= 1 << random.below(8);
            read(&bad, at);
            // Lengths are at their worst when they are huge.
            bad[at] = 0xff;
            read(&bad, at);
            if at.is_multiple_of(4) {
                read(&good[..at], at);
            }
        }
        overwrite(&path, &good);
    }
}

/// Writes over what is there: some file systems wait for the disk when a file is emptied and written anew.
fn overwrite(path: &Path, content: &[u8]) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.write_all(content).unwrap();
    file.set_len(content.len() as u64).unwrap();
}

#[test]
fn damaged_checkpoints_are_errors_or_read_the_same() {
    let one = ["model.ckpt.index", "model.ckpt.data-00000-of-00001"];
    let two = ["model.ckpt.index", "model.ckpt.data-00000-of-00002", "model.ckpt.data-00001-of-00002"];
    for (case, files) in [("dtypes", &one[..]), ("partitioned", &one), ("sharded", &two)] {
        let victim = Victim::copy(&kept(case), files, "model.ckpt", true);
        for file in files {
            victim.mutate(file, 1);
        }
    }
}

#[test]
fn damaged_graphs_do_not_panic() {
    for file in ["consts.pb", "frozen_tiny.pb"] {
        Victim::copy(&kept("graphdef"), &[file], file, false).mutate(file, 1);
    }
}

#[test]
fn damaged_tflite_models_do_not_panic() {
    let one = flat::Quantization { scales: vec![0.5], zero_points: vec![3], axis: 0 };
    let weights = flat::Model { weights_type: 9, weights_data: vec![1, 2, 3], ..Default::default() };
    let image = flat::Model { image_type: 3, image_quantization: Some(one.clone()), before: Some(34), ..weights };
    let resizes = vec![flat::Resize { from: [5, 5], to: [33, 33], options: Some([true, false]) }];
    let model = flat::Model { quantization: Some(one), resizes, custom: Some("other"), ..image };
    Victim::file("m.tflite", &model.bytes()).mutate("m.tflite", 1);
}

#[test]
fn a_damaged_published_tflite_model_does_not_panic() {
    let Some(folder) = shared("real") else { return };
    const MODEL: &str = "deeplabv3_257_mv_gpu.tflite";
    let size = std::fs::metadata(folder.join(MODEL)).unwrap().len();
    Victim::copy(&folder, &[MODEL], MODEL, false).mutate(MODEL, usize::try_from(size / 40).unwrap());
}

/// A zip archive has a checksum for every record; the legacy format has none.
#[test]
fn damaged_pytorch_files_do_not_panic() {
    let Some(folder) = shared("reference/tiny/torch") else { return };
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
        Victim::copy(&folder, &[file], file, file.starts_with("zip")).mutate(file, 3);
    }
}

#[test]
fn damaged_safetensors_do_not_panic() {
    let header = r#"{"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"I8","shape":[3],"data_offsets":[8,11]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[7; 11]].concat();
    Victim::file("m.safetensors", &file).mutate("m.safetensors", 1);
}
