//! Hash weights: tensors whose values follow from their names, so that a full-size network can be checked without
//! shipping weights. The rule is the reference's: a splitmix64 stream seeded by FNV-1a of the name, all arithmetic in
//! f32.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

/// `n` values in [0, 1): the top 24 bits of the stream.
fn uniform(name: &str, n: usize) -> impl Iterator<Item = f32> {
    let fnv = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    (1..=n as u64).map(move |i| {
        let z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 * 2f32.powi(-24)
    })
}

/// The values of a TensorFlow variable in the reference's hash weights.
pub(crate) fn tensorflow(name: &str, shape: &[usize], gain_conv: f64, gain_depthwise: f64) -> Vec<f32> {
    let u = uniform(name, shape.iter().product());
    let leaf = name.rsplit('/').next().unwrap();
    match (shape, leaf) {
        (&[h, w, i, _], _) => {
            let depthwise = leaf == "depthwise_weights";
            let (fan_in, gain) = if depthwise { (h * w, gain_depthwise) } else { (h * w * i, gain_conv) };
            let bound = (3.0 * gain / fan_in as f64).sqrt() as f32;
            u.map(|u| (2.0 * u - 1.0) * bound).collect()
        }
        (_, "gamma" | "moving_variance") => u.map(|u| 0.8 + 0.4 * u).collect(),
        _ => u.map(|u| (2.0 * u - 1.0) * 0.1).collect(),
    }
}

/// The values of a PyTorch tensor in the reference's hash weights.
pub(crate) fn torch(name: &str, shape: &[usize], gain_conv: f64, gain_depthwise: f64) -> Vec<f32> {
    let u = uniform(name, shape.iter().product());
    let leaf = name.rsplit('.').next().unwrap();
    match (shape, leaf) {
        (&[out, i, h, w], _) => {
            let gain = if i == 1 && out > 1 { gain_depthwise } else { gain_conv };
            let bound = (3.0 * gain / (i * h * w) as f64).sqrt() as f32;
            u.map(|u| (2.0 * u - 1.0) * bound).collect()
        }
        (_, "weight" | "running_var") => u.map(|u| 0.8 + 0.4 * u).collect(),
        _ => u.map(|u| (2.0 * u - 1.0) * 0.1).collect(),
    }
}

/// Writes the variables of a TensorFlow variant's `names.json` as a safetensors file, with its names and layouts.
pub(crate) fn write_tensorflow(names: &Path, out: &Path) {
    let spec: Value = serde_json::from_slice(&std::fs::read(names).unwrap()).unwrap();
    let gain = |kind: &str| spec[kind].as_f64().unwrap();
    let (gain_conv, gain_depthwise) = (gain("hash_gain_conv"), gain("hash_gain_depthwise"));
    let variables = spec["variables"].as_array().unwrap();
    let tensors: Vec<_> = variables.iter().map(|v| tensor(&v["name"], &v["shape"])).collect();
    write(&tensors, out, |name, shape| tensorflow(name, shape, gain_conv, gain_depthwise));
}

/// Writes the float tensors of a PyTorch variant's `names.json` as a safetensors file.
pub(crate) fn write_torch(names: &Path, out: &Path) {
    let spec: Value = serde_json::from_slice(&std::fs::read(names).unwrap()).unwrap();
    let gain = |kind: &str| spec["meta"][kind].as_f64().unwrap();
    let (gain_conv, gain_depthwise) = (gain("gain_conv"), gain("gain_dw"));
    let keys = spec["keys"].as_array().unwrap().iter().filter(|key| key[2] != "int64");
    let tensors: Vec<_> = keys.map(|key| tensor(&key[0], &key[1])).collect();
    write(&tensors, out, |name, shape| torch(name, shape, gain_conv, gain_depthwise));
}

/// Writes tensors with these names and shapes as a safetensors file, with the hash weights of a PyTorch network.
pub(crate) fn write_torch_tensors(tensors: &BTreeMap<String, Vec<usize>>, gain: f64, out: &Path) {
    let tensors: Vec<_> = tensors.clone().into_iter().collect();
    write(&tensors, out, |name, shape| torch(name, shape, gain, gain));
}

fn tensor(name: &Value, shape: &Value) -> (String, Vec<usize>) {
    (name.as_str().unwrap().to_owned(), serde_json::from_value(shape.clone()).unwrap())
}

/// Writes a safetensors file of f32 tensors, with one of them in memory at a time.
fn write(tensors: &[(String, Vec<usize>)], out: &Path, values: impl Fn(&str, &[usize]) -> Vec<f32>) {
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for (name, shape) in tensors {
        let end = offset + 4 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}));
        offset = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create(out).unwrap());
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    for (name, shape) in tensors {
        for value in values(name, shape) {
            file.write_all(&value.to_le_bytes()).unwrap();
        }
    }
    file.flush().unwrap();
}

#[test]
fn the_stream_has_the_references_check_values() {
    let conv = tensorflow("xception_65/entry_flow/conv1_1/weights", &[3, 3, 3, 32], 2.0, 1.0);
    assert_eq!(conv[..3], [-0.192_475_89, -0.184_871_58, -0.351_548_22]);
    let conv = torch("backbone.conv1.weight", &[64, 3, 7, 7], 1.0, 1.0);
    assert_eq!(conv[..3], [0.015_656_795, 0.083_448_79, 0.033_577_92]);
}
