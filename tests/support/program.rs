//! Runs the program `candle-deeplab`, with a model for it. Only for test crates of its package.

#![allow(dead_code)] // each test uses its part

use std::path::Path;
use std::process::Output;
use std::sync::OnceLock;
use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::shared::kept;

/// A complete network with narrow layers and untrained weights, for images of 513×513 pixels and the classes of VOC.
pub(crate) fn model() -> &'static str {
    static MODEL: OnceLock<TempDir> = OnceLock::new();
    let convert = || {
        let dir = tempfile::tempdir().unwrap();
        let graph = kept("xception65_narrow/frozen_inference_graph.pb");
        weights_convert::convert(&graph, dir.path(), &weights_convert::Options::default(), true).unwrap();
        dir
    };
    MODEL.get_or_init(convert).path().to_str().unwrap()
}

/// Runs the program in a folder, without a network and with its own cache.
pub(crate) fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candle-deeplab"));
    command.env("HF_HOME", dir.join("cache")).env("HF_HUB_OFFLINE", "1").env_remove("CANDLE_DEEPLAB_NAMESPACE");
    // Far longer than any test takes, so that a hanging program fails.
    command.current_dir(dir).args(args).timeout(Duration::from_secs(300)).output().unwrap()
}

/// Runs a command that must succeed. Returns its standard output.
pub(crate) fn success(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must succeed and print one line of JSON.
pub(crate) fn json(dir: &Path, args: &[&str]) -> Value {
    let said = success(dir, args);
    assert_eq!(said.lines().count(), 1, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// Runs a command that must fail with exit code 2 and nothing on standard output. Returns its message.
pub(crate) fn refused(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}
