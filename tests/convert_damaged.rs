//! Tests of files that `weights-convert convert` cannot convert. Each kind has its own error of one line that names the
//! file; the exit code is 2, and nothing is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

#[path = "support/converter.rs"]
mod converter;
#[path = "../weights-convert/tests/read_support/mod.rs"]
mod read_support;
#[allow(dead_code)] // each test uses its part
#[path = "support/shared.rs"]
mod shared;

use std::path::{Path, PathBuf};

use converter::{Tensors, change, copy, names_in, refused, refused_into};
use read_support::bundle::{Bundle, Entry};
use read_support::flat;
use read_support::proto::constant;
use safetensors::Dtype;
use shared::kept;
use tempfile::TempDir;
use weights_convert::Checkpoint;

const INDEX: &str = "model.ckpt.index";
const DATA: &str = "model.ckpt.data-00000-of-00001";
const STEM: &str = "xception_65/entry_flow/conv1_1/weights";
const BACKBONE: &str = "xception_65/";

/// A copy of the narrow Xception-65's checkpoint.
fn narrow() -> TempDir {
    copy(&kept("xception65_narrow"))
}

/// The error for a checkpoint after `how` changed one of its files.
fn with(file: &str, how: impl FnOnce(&mut Vec<u8>)) -> String {
    let dir = narrow();
    change(&dir.path().join(file), how);
    refused(&dir.path().join("model.ckpt"), &[])
}

/// The error for a file with this name and content.
fn error_of(name: &str, content: impl AsRef<[u8]>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    refused(&path, &[])
}

/// The error for the narrow weights as safetensors, after `change`.
fn with_tensors(change: impl FnOnce(Tensors) -> Tensors) -> String {
    let dir = tempfile::tempdir().unwrap();
    refused(&changed_tensors(dir.path(), change), &[])
}

fn changed_tensors(dir: &Path, change: impl FnOnce(Tensors) -> Tensors) -> PathBuf {
    change(Tensors::of_checkpoint(&kept("xception65_narrow/model.ckpt"))).write(&dir.join("weights.safetensors"))
}

/// Finds a tensor's bytes in the checkpoint's data file.
fn place_of(tensor: &str) -> usize {
    let folder = kept("xception65_narrow");
    let values = Checkpoint::open(&folder.join("model.ckpt")).unwrap().read(tensor).unwrap().data;
    let data = std::fs::read(folder.join(DATA)).unwrap();
    data.windows(values.len()).position(|window| window == values).unwrap()
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
}

// ---- claims ----

/// A few bytes can claim a tensor of any shape, filled with one value: here a network 16 times as wide.
#[test]
fn a_small_file_that_claims_a_wide_network() {
    let checkpoint = Checkpoint::open(&kept("xception65_narrow/model.ckpt")).unwrap();
    let wide = |dim: usize| if matches!(dim, 1 | 3 | 21) { dim as i64 } else { 16 * dim as i64 };
    let weights = checkpoint.tensors().filter(|(name, info)| info.dtype.is_float() && !name.ends_with("/Momentum"));
    let graph: Vec<u8> = weights
        .flat_map(|(name, info)| constant(name, 1, &info.shape.iter().map(|dim| wide(*dim)).collect::<Vec<_>>(), &[]))
        .collect();
    says(&error_of("wide.pb", graph), &["wide.pb", "bytes of weights, and the file has"]);
}

// ---- damage ----

#[test]
fn an_index_that_was_cut_short() {
    says(&with(INDEX, |index| index.truncate(20_000)), &[INDEX, "does not end as a TensorFlow index does"]);
}

#[test]
fn data_that_were_cut_short() {
    says(&with(DATA, |data| data.truncate(data.len() - 1)), &[DATA, "tensor `", "was its download cut short?"]);
}

#[test]
fn a_flipped_bit_in_the_index() {
    says(&with(INDEX, |index| index[100] ^= 0x20), &[INDEX, "index block at offset 0 is damaged", "crc32c"]);
}

#[test]
fn a_flipped_bit_in_a_weight() {
    let place = place_of(STEM);
    says(&with(DATA, |data| data[place + 2] ^= 1), &[DATA, &format!("tensor `{STEM}` is damaged"), "crc32c"]);
}

#[test]
fn a_flipped_bit_in_an_optimizer_slot() {
    // This tensor would be left out, but a file that is damaged in one place may be damaged in others.
    let place = place_of(&format!("{STEM}/Momentum"));
    says(&with(DATA, |data| data[place] ^= 0x80), &[DATA, "/Momentum` is damaged"]);
}

#[test]
fn an_empty_file() {
    for name in ["model.pb", "model.tflite", "model.safetensors", INDEX] {
        says(&error_of(name, ""), &[name, "the file is empty"]);
    }
    says(&with(INDEX, Vec::clear), &[INDEX, "the file is empty"]);
}

#[test]
fn a_frozen_graph_that_was_cut_short() {
    let mut graph = std::fs::read(kept("xception65_narrow/frozen_inference_graph.pb")).unwrap();
    graph.truncate(graph.len() / 2);
    says(&error_of("graph.pb", graph), &["graph.pb", "damaged frozen TensorFlow graph"]);
}

#[test]
fn a_safetensors_file_that_was_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed_tensors(dir.path(), |tensors| tensors);
    change(&file, |content| content.truncate(content.len() - 4));
    says(&refused(&file, &[]), &["weights.safetensors", "its tensors end at byte"]);
}

#[test]
fn a_tflite_model_that_was_cut_short() {
    let model = flat::Model::default().bytes();
    says(&error_of("m.tflite", &model[..model.len() / 2]), &["m.tflite", "damaged TFLite model"]);
}

// ---- something else in its place ----

#[test]
fn a_git_lfs_pointer() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 577136\n";
    says(&error_of("model.pb", pointer), &["model.pb", "a Git-LFS pointer", "git lfs pull"]);
    says(&with(DATA, |data| *data = pointer.into()), &[DATA, "a Git-LFS pointer"]);
}

#[test]
fn a_web_page() {
    says(
        &error_of("model.pb", "<!DOCTYPE html>\n<title>404</title>"),
        &["a web page, not weights", "fetch the file again"],
    );
}

#[test]
fn a_text() {
    says(&error_of("model.ckpt", "weights: see the link\n"), &["not a format this program knows", "TFLite models"]);
}

#[test]
fn an_archive() {
    says(&error_of("deeplab.tar.gz", b"\x1f\x8b\x08\0"), &["a gzip archive", "unpack it first"]);
}

#[test]
fn a_pytorch_file_that_was_cut_short() {
    let said = error_of("deeplab.pth", b"PK\x03\x04 archive/data.pkl");
    says(&said, &["damaged PyTorch checkpoint", "fetch the file again"]);
}

#[test]
fn nothing() {
    let dir = tempfile::tempdir().unwrap();
    says(&refused(&dir.path().join("model.ckpt"), &[]), &["no such file, folder or checkpoint"]);
    says(&refused(dir.path(), &[]), &["no weights in this folder"]);
}

// ---- parts that are missing ----

#[test]
fn a_missing_data_file() {
    let dir = narrow();
    std::fs::remove_file(dir.path().join(DATA)).unwrap();
    says(&refused(&dir.path().join("model.ckpt"), &[]), &[DATA, "data file of the checkpoint is missing"]);
    let sharded = copy(&kept("sharded"));
    std::fs::remove_file(sharded.path().join("model.ckpt.data-00001-of-00002")).unwrap();
    says(&refused(&sharded.path().join(INDEX).with_extension(""), &[]), &["model.ckpt.data-00001-of-00002"]);
}

#[test]
fn a_missing_index() {
    let dir = narrow();
    std::fs::remove_file(dir.path().join(INDEX)).unwrap();
    says(&refused(&dir.path().join(DATA), &[]), &[DATA, "the checkpoint's index is missing"]);
}

#[test]
fn a_missing_tensor() {
    let said = with_tensors(|tensors| tensors.remove("aspp0/BatchNorm/gamma"));
    says(
        &said,
        &["tensor `aspp0/BatchNorm/gamma` of shape [16] is missing", "the network needs it as `aspp.branch0.bn"],
    );
    let said = with_tensors(|tensors| tensors.remove("concat_projection/weights"));
    says(&said, &["tensor `concat_projection/weights` is missing"]);
}

#[test]
fn a_missing_tensor_by_which_layers_are_counted() {
    // A file with a missing tensor is not taken for a smaller network.
    for tensor in [
        "xception_65/middle_flow/block1/unit_9/xception_module/separable_conv1_pointwise/weights",
        "xception_65/middle_flow/block1/unit_16/xception_module/separable_conv1_pointwise/weights",
        "xception_65/entry_flow/block2/unit_1/xception_module/separable_conv3_pointwise/weights",
        "decoder/feature_projection0/weights",
        "decoder/decoder_conv1_pointwise/weights",
        "aspp2_pointwise/weights",
        "image_pooling/weights",
    ] {
        says(&with_tensors(|tensors| tensors.remove(tensor)), &[tensor]);
    }
}

#[test]
fn a_backbone_without_a_head() {
    let said = with_tensors(|tensors| tensors.only(|name| name.starts_with(BACKBONE)));
    says(&said, &["backbone `xception_65` but no `logits/semantic`", "not a segmentation network"]);
}

#[test]
fn a_head_without_a_backbone() {
    let said = with_tensors(|tensors| tensors.only(|name| !name.starts_with(BACKBONE)));
    says(&said, &["not a network this program can convert", "tensors such as aspp0/"]);
}

// ---- tensors that do not fit ----

#[test]
fn a_misshapen_tensor() {
    let said = with_tensors(|tensors| tensors.add("aspp0/BatchNorm/beta", &[17], &[0.; 17]));
    says(&said, &["tensor `aspp0/BatchNorm/beta` has shape [17]", "`aspp.branch0.bn.bias` the network needs [16]"]);
}

#[test]
fn integers_where_floats_are_wanted() {
    let ints = |tensors: Tensors| tensors.add_raw("aspp0/BatchNorm/beta", Dtype::I32, &[16], vec![0; 64]);
    let said = with_tensors(ints);
    says(&said, &["tensor `aspp0/BatchNorm/beta` is int32", "only floating-point weights"]);
}

#[test]
fn a_shape_that_overflows() {
    let data = 1f32.to_le_bytes();
    let huge = Entry { shape: vec![1 << 40, 1 << 40], ..Entry::f32(&[], &data) };
    let dir = tempfile::tempdir().unwrap();
    let prefix = Bundle::new(&[&data]).with(STEM, &huge).write(dir.path());
    let too_large = "too large for any computer";
    says(&refused(&prefix, &[]), &[INDEX, STEM, "[1099511627776, 1099511627776]", too_large]);
    says(&error_of("g.pb", constant(STEM, 1, &[1 << 62, 8], &[])), &["g.pb", STEM, too_large]);
    let model = flat::Model { weights_shape: vec![i32::MAX; 4], ..Default::default() };
    says(&error_of("m.tflite", model.bytes()), &["m.tflite", too_large]);
    let said = error_of("m.safetensors", safetensors_file("[4294967296, 4294967296, 16]", 4));
    says(&said, &["m.safetensors", "its header"]);
}

#[test]
fn a_size_beyond_the_file() {
    let data = [0; 24];
    let beyond = Entry { shape: vec![1 << 30, 1 << 20], size: 1 << 52, ..Entry::f32(&[], &data) };
    let dir = tempfile::tempdir().unwrap();
    let prefix = Bundle::new(&[&data]).with(STEM, &beyond).write(dir.path());
    says(&refused(&prefix, &[]), &[DATA, STEM, "but the file has 24"]);
    // 2^50 floats that the file does not contain: they would all be zero.
    says(
        &error_of("m.safetensors", safetensors_file("[1125899906842624]", 1 << 52)),
        &["m.safetensors", "end at byte"],
    );
    let header_only = (1u64 << 40).to_le_bytes();
    says(&error_of("m.safetensors", [&header_only[..], b"{"].concat()), &["its header claims 1099511627776 bytes"]);
}

/// A file with one tensor of a shape whose data claim to end at `end`; the file holds four bytes.
fn safetensors_file(shape: &str, end: u64) -> Vec<u8> {
    let header = format!(r#"{{"{STEM}":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat()
}

#[test]
fn channels_that_no_memory_holds() {
    // No elements, and so no bytes, but a huge number of channels.
    let said = with_tensors(|tensors| tensors.add("concat_projection/weights", &[1, 1, 0, usize::MAX], &[]));
    says(&said, &["has 18446744073709551615 channels"]);
}

#[test]
fn classes_that_no_label_map_holds() {
    let said = with_tensors(|tensors| {
        tensors.add("logits/semantic/weights", &[1, 1, 16, 300], &[0.; 4800]).add(
            "logits/semantic/biases",
            &[300],
            &[0.; 300],
        )
    });
    says(&said, &["300 classes", "1 to 256"]);
}

// ---- networks that are not supported ----

#[test]
fn a_dense_prediction_cell() {
    let said = with_tensors(|tensors| tensors.rename("aspp0/weights", "meta_architecture/branch_0/weights"));
    says(&said, &["dense prediction cell instead of an ASPP", "not supported yet"]);
}

#[test]
fn a_mobilenet_v3() {
    let said = with_tensors(|tensors| tensors.rename("aspp0/weights", "MobilenetV3/Conv/weights"));
    says(&said, &["MobileNetV3", "not supported yet"]);
}

#[test]
fn an_xception_of_unknown_depth() {
    let said = with_tensors(|tensors| tensors.only(|name| !name.contains("/entry_flow/block3/")));
    says(&said, &["entry flow"]);
}

// ---- names ----

#[test]
fn control_characters_in_names_do_not_reach_the_terminal() {
    const NAME: &str = "aspp0/\u{1b}[2J\nerror: all is well";
    let dir = tempfile::tempdir().unwrap();
    let file = Tensors::default().add(NAME, &[], &[0.]).write(&dir.path().join("weights.safetensors"));
    assert!(!refused(&file, &[]).contains('\u{1b}'));
    let listed = converter::run(["inspect".as_ref(), file.as_os_str()]);
    assert!(listed.status.success() && !listed.stdout.contains(&0x1b));
}

#[test]
fn control_characters_in_what_is_unexpected_or_missing_do_not_either() {
    let odd = |tensors: Tensors| tensors.add("more/\u{1b}[2J\u{85}\nerror: all is well", &[1], &[0.]);
    let dir = tempfile::tempdir().unwrap();
    let file = changed_tensors(dir.path(), odd);
    assert!(!refused(&file, &[]).chars().any(char::is_control));
    let report = converter::convert(&file, &dir.path().join("model"), &["--no-strict"]);
    assert!(!report.chars().any(|c| c.is_control() && c != '\n'), "{report:?}");
    assert_eq!(report.lines().filter(|line| line.starts_with("error")).count(), 0, "{report}");
    // The same holds for options and for the file's name.
    let family = refused_into(&file, &dir.path().join("other"), &["--family", "\u{1b}[2J"]);
    assert!(!family.chars().any(char::is_control), "{family:?}");
    let named = converter::run(["convert", "no\u{1b}[2J\nsuch", "--out", "x"]);
    assert_eq!(named.status.code(), Some(2));
    let said = String::from_utf8(named.stderr).unwrap();
    assert!(!said.trim_end().chars().any(char::is_control), "{said:?}");
}

// ---- places that cannot be written ----

#[test]
fn a_file_where_the_folder_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    std::fs::write(&out, "mine").unwrap();
    for out in [out.clone(), out.join("below")] {
        for flags in [&[][..], &["--force"]] {
            let said = refused_into(&kept("xception65_narrow"), &out, flags);
            says(&said, &[&out.display().to_string()]);
        }
    }
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
    assert_eq!(names_in(dir.path()), ["model"]);
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(dir.path().join("probe"), "").is_ok() {
        println!("skipped: this user writes where nobody may");
        return;
    }
    for out in [dir.path().to_owned(), dir.path().join("model")] {
        let said = refused_into(&kept("xception65_narrow"), &out, &[]);
        says(&said, &[&out.display().to_string()]);
    }
    assert_eq!(names_in(dir.path()), [""; 0]);
}

#[test]
fn a_folder_where_a_file_should_be() {
    for taken in ["README.md", "config.json", "model.safetensors"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(taken)).unwrap();
        let said = refused_into(&kept("xception65_narrow"), dir.path(), &["--force"]);
        says(&said, &[taken]);
        assert_eq!(names_in(dir.path()), [taken]);
    }
}

#[test]
fn what_the_system_says_is_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    std::fs::write(&out, "mine").unwrap();
    let said = refused_into(&kept("xception65_narrow"), &out, &[]);
    assert_eq!(said.matches("(os error").count(), 1, "{said}");
}
