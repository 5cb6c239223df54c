//! What the fuzzer has seen, once more: every file of `fuzz/corpus/TARGET`, and every one that was a fault when it
//! was found (`fuzz/found/TARGET`), goes through its reader. None may panic.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

#[path = "../weights-convert/tests/read_support/mod.rs"]
mod read_support;
#[allow(unreachable_pub)] // the fuzzer is another crate
#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::path::Path;

/// Runs a target on its files, in the order of their names.
fn replay(target: &str, run: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut files: Vec<_> = ["corpus", "found"]
        .iter()
        .filter_map(|folder| std::fs::read_dir(fuzz.join(folder).join(target)).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus for {target}");
    for file in files {
        // Shown only when the test fails.
        println!("{}", file.display());
        run(&std::fs::read(file).unwrap());
    }
}

macro_rules! replays {
    ($($target:ident),*) => {
        $(#[test] fn $target() { replay(stringify!($target), targets::$target); })*

        #[test]
        fn every_target_is_replayed() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
            let mut there: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
            there.sort();
            let there: Vec<_> = there.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
            let mut here = vec![$(stringify!($target)),*];
            here.sort();
            assert_eq!(there, here);
        }
    };
}

replays!(
    answers,
    config,
    families,
    graphdef,
    images,
    labels,
    names,
    pickle,
    safetensors,
    shards,
    tf_index,
    tflite,
    torch_legacy,
    torch_zip,
    transformers
);
