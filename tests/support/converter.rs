//! Runs the program `weights-convert` and makes files for it. Only for test crates of its package.

#![allow(dead_code)] // each test uses its part

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;
use weights_convert::Checkpoint;

/// Runs the program.
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    // Far longer than any test takes, so that a hanging program fails.
    Command::new(env!("CARGO_BIN_EXE_weights-convert")).args(args).timeout(Duration::from_secs(300)).output().unwrap()
}

fn convert_args<'a>(file: &'a Path, out: &'a Path, flags: &'a [&'a str]) -> Vec<&'a OsStr> {
    let fixed = ["convert".as_ref(), file.as_os_str(), "--out".as_ref(), out.as_os_str()];
    fixed.into_iter().chain(flags.iter().map(OsStr::new)).collect()
}

/// Converts a file, which must succeed. Returns the program's output.
pub(crate) fn convert(file: &Path, out: &Path, flags: &[&str]) -> String {
    let output = run(convert_args(file, out, flags));
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail: exit code 2, one line `error: …`, no panic, nothing on standard output. Returns the
/// line.
pub(crate) fn error<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let output = run(args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty(), "{said}");
    assert!(said.starts_with("error: ") && said.ends_with('\n') && said.lines().count() == 1, "{said:?}");
    assert!(!said.contains("panicked"), "{said}");
    said.trim_end().to_owned()
}

/// Runs a conversion that must fail without creating its output folder. Returns the error, which names the file.
pub(crate) fn refused(file: &Path, flags: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    let said = error(convert_args(file, &out, flags));
    assert_eq!(names_in(dir.path()), [""; 0], "something was left behind");
    assert!(said.contains(&file.display().to_string()), "{said}");
    said
}

/// As [`refused`], with an output folder that may exist.
pub(crate) fn refused_into(file: &Path, out: &Path, flags: &[&str]) -> String {
    error(convert_args(file, out, flags))
}

/// The names in a folder, sorted.
pub(crate) fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A copy of a folder's files, which a test can damage.
pub(crate) fn copy(folder: &Path) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names_in(folder) {
        std::fs::write(dir.path().join(&name), std::fs::read(folder.join(&name)).unwrap()).unwrap();
    }
    dir
}

/// Changes a file's content.
pub(crate) fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = std::fs::read(file).unwrap();
    change(&mut content);
    std::fs::write(file, content).unwrap();
}

/// Tensors to write to a safetensors file: type, shape and bytes by name.
#[derive(Default)]
pub(crate) struct Tensors(pub(crate) BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    /// The weights of a TensorFlow checkpoint, with their original names.
    pub(crate) fn of_checkpoint(path: &Path) -> Self {
        let checkpoint = Checkpoint::open(path).unwrap();
        let mut tensors = Self::default();
        for (name, info) in
            checkpoint.tensors().filter(|(name, info)| info.dtype.is_float() && !name.ends_with("/Momentum"))
        {
            let values = checkpoint.read(name).unwrap().to_f32().unwrap();
            tensors = tensors.add(name, &info.shape, &values);
        }
        tensors
    }

    /// Adds or replaces a tensor.
    pub(crate) fn add(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        self.add_raw(name, Dtype::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub(crate) fn add_raw(mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Self {
        self.0.insert(name.into(), (dtype, shape.to_vec(), bytes));
        self
    }

    pub(crate) fn remove(mut self, name: &str) -> Self {
        self.0.remove(name).unwrap();
        self
    }

    /// Keeps only the tensors for whose names `belongs` is true.
    pub(crate) fn only(mut self, belongs: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|name, _| belongs(name));
        self
    }

    pub(crate) fn rename(mut self, from: &str, to: &str) -> Self {
        let tensor = self.0.remove(from).unwrap();
        self.0.insert(to.into(), tensor);
        self
    }

    pub(crate) fn write(&self, path: &Path) -> PathBuf {
        let views = self
            .0
            .iter()
            .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        safetensors::serialize_to_file(views, None, path).unwrap();
        path.to_owned()
    }
}
