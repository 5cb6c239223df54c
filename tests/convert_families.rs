//! Checks the stride, padding and dilation of each convolution of the networks that are recognised by names and shapes
//! against what PyTorch reports for the originals (`golden/families`). This needs no weights.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use candle_deeplab::graph::{Op, Padding, Role};
use serde_json::{Value, json};
use weights_convert::{Checkpoint, Options, families};

/// Writes a safetensors file with tensors of these shapes, all zero.
fn write_zeros(tensors: &BTreeMap<String, Vec<usize>>, path: &Path) {
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for (name, shape) in tensors {
        let end = offset + 4 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}));
        offset = end;
    }
    let header = Value::Object(header).to_string().into_bytes();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    // On most file systems the part that was never written takes no space.
    file.set_len((8 + header.len() + offset) as u64).unwrap();
}

fn geometry(name: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/families/{name}.json"));
    let golden: Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("checkpoint.safetensors");
    write_zeros(&serde_json::from_value(golden["tensors"].clone()).unwrap(), &file);

    let told = &golden["options"];
    let options = Options {
        output_stride: told.get("output_stride").map(|s| serde_json::from_value(s.clone()).unwrap()),
        multi_grid: told.get("multi_grid").map(|g| serde_json::from_value(g.clone()).unwrap()),
        keep_auxiliary: told.get("keep_auxiliary").is_some_and(|keep| keep.as_bool().unwrap()),
        ..Options::default()
    };
    let recipe = families::recognise(&Checkpoint::open(&file).unwrap(), &options).unwrap();
    assert_eq!(golden["family"], recipe.config.provenance.family.as_str());
    let graph = candle_deeplab::arch::graph(&recipe.config.network).unwrap();
    let mut convolutions: BTreeMap<String, [usize; 3]> =
        serde_json::from_value(golden["convolutions"].clone()).unwrap();
    for source in recipe.sources.iter().filter(|source| source.param.role == Role::Kernel) {
        let Op::Conv(conv) = graph.node(source.param.node).op else { unreachable!() };
        let Padding::Symmetric(padding) = conv.padding else { panic!("{}: {:?}", source.name, conv.padding) };
        let mut theirs = convolutions.remove(source.name.strip_suffix(".weight").unwrap()).expect(&source.name);
        if conv.kernel == 1 {
            // smp sets the dilation of 1×1 convolutions as well, which has no effect.
            theirs[2] = 1;
        }
        let ours = [conv.stride, padding, conv.dilation];
        assert_eq!(ours, theirs, "{} as {}", source.name, source.param.name);
    }
    assert_eq!(convolutions, BTreeMap::new(), "not in our network");
}

#[test]
fn smp_dilates_all_convolutions_of_a_stage() {
    geometry("smp_plus_resnet18_os8");
    geometry("smp_plus_mobilenet_v2_os16");
    geometry("smp_v3_mobilenet_v2_os8");
}

#[test]
fn timm_dilates_from_the_next_convolution_on() {
    geometry("timm_resnet18_os8");
    geometry("timm_xception41_os8");
    geometry("smp_plus_tu-resnet18_os16");
}

#[test]
fn mmsegmentation_dilates_the_first_convolution_of_a_basic_unit() {
    geometry("mmseg_plus_r18-d8");
    geometry("mmseg_plus_m-v2-d8");
}

#[test]
fn torchvision_dilates_the_last_three_blocks_of_a_mobilenet_v3() {
    geometry("torchvision_v3_mobilenet_v3_large");
}

#[test]
fn mmsegmentations_multi_grid_is_the_rates() {
    geometry("mmseg_v3_r101-d16-mg124");
}
