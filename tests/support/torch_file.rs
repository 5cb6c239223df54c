//! Writes files in the format of `torch.save`.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::Value;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::support::hash;

/// Writes the floats of a PyTorch variant's `names.json` as a state dict in a zip archive, one storage for each tensor.
pub(crate) fn write(names: &Path, out: &Path) {
    let spec: Value = serde_json::from_slice(&std::fs::read(names).unwrap()).unwrap();
    let gain = |kind: &str| spec["meta"][kind].as_f64().unwrap();
    let (gain_conv, gain_depthwise) = (gain("gain_conv"), gain("gain_dw"));
    let mut archive = ZipWriter::new(File::create(out).unwrap());
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    // A dictionary of tensors, opcode by opcode: protocol 2, `}`, then a name, a tensor and SETITEM for each.
    let mut pickle = b"\x80\x02}".to_vec();
    for (i, key) in spec["keys"].as_array().unwrap().iter().filter(|key| key[2] != "int64").enumerate() {
        let (name, shape): (String, Vec<usize>) =
            (key[0].as_str().unwrap().into(), serde_json::from_value(key[1].clone()).unwrap());
        let values = hash::torch(&name, &shape, gain_conv, gain_depthwise);
        archive.start_file(format!("archive/data/{i}"), stored).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        archive.write_all(&bytes).unwrap();
        text(&mut pickle, &name);
        tensor(&mut pickle, i, values.len(), &shape);
        pickle.push(b's');
    }
    pickle.push(b'.');
    archive.start_file("archive/data.pkl", stored).unwrap();
    archive.write_all(&pickle).unwrap();
    archive.start_file("archive/version", stored).unwrap();
    archive.write_all(b"3\n").unwrap();
    archive.finish().unwrap();
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.as_bytes());
}

fn int(pickle: &mut Vec<u8>, value: usize) {
    pickle.push(b'J');
    pickle.extend((value as u32).to_le_bytes());
}

fn ints(pickle: &mut Vec<u8>, values: &[usize]) {
    pickle.push(b'(');
    values.iter().for_each(|value| int(pickle, *value));
    pickle.push(b't');
}

/// `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`
fn tensor(pickle: &mut Vec<u8>, storage: usize, elements: usize, shape: &[usize]) {
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(pickle, "storage");
    pickle.extend(b"ctorch\nFloatStorage\n");
    text(pickle, &storage.to_string());
    text(pickle, "cpu");
    int(pickle, elements);
    pickle.extend(b"tQ");
    int(pickle, 0);
    ints(pickle, shape);
    let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
    ints(pickle, &strides);
    pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}
