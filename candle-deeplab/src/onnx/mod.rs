//! Exports a model as an ONNX file, for other runtimes.

mod lower;
mod proto;
#[cfg(test)]
mod tests;

use std::path::Path;

use prost::Message;

use crate::config::{CONFIG_FILE, Config};
use crate::error::{Error, Result};
use crate::exec::fold::Reader;
use crate::exec::fuse::Fused;
use crate::graph::{Graph, Size};
use crate::model::DeepLab;
use lower::Lowering;
use proto::{DataType, GraphProto, Model, OperatorSet, Property, ValueInfo};

/// The operator set of ONNX 1.12.
const OPSET: i64 = 17;
/// The file format version of ONNX 1.12.
const IR_VERSION: i64 = 8;
/// The largest protobuf message in bytes.
const MAX_BYTES: usize = i32::MAX as usize;

/// The key of the classes' names in a file's metadata.
pub const CLASS_NAMES: &str = "class_names";

/// The output of an exported file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// `logits`, f32 `[1, classes, H, W]` at the input's size.
    Logits,
    /// `mask`, u8 `[1, H, W]`: the class of the greatest logit.
    Mask,
}

/// Exports a model as the bytes of an ONNX file, which computes the output `head` from `input`, f32 `[1, 3, H, W]`,
/// already preprocessed. Batch norms are folded into the convolutions before them.
///
/// The file also describes the preprocessing and the classes: its `metadata_props` have the recipe under
/// [`config.json`](CONFIG_FILE), as text, and the names in order under [`class_names`](CLASS_NAMES), as a JSON array.
/// The size of the input is the exported one, whatever the recipe's size rule says.
///
/// ```no_run
/// use candle_core::Device;
/// use candle_deeplab::{DeepLab, atomic, onnx};
/// use std::io::Write;
///
/// let model = DeepLab::load("deeplabv3plus-xception65-voc", &Device::Cpu)?;
/// let bytes = onnx::export(&model, (513, 513), onnx::Head::Logits)?;
/// atomic::write_new("xception65.onnx", |file| file.write_all(&bytes))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NoHead`] for a backbone; [`Error::Graph`] where the input's size does not fit the network, a mask cannot
/// hold its classes, or the file would be larger than an ONNX file can be; [`Error::Weights`] where the weights have
/// been damaged since they were opened.
pub fn export(model: &DeepLab, size: (usize, usize), head: Head) -> Result<Vec<u8>> {
    file(model.graph(), metadata(model.config())?, size, head, &model.reader())
}

fn metadata(config: &Config) -> Result<Vec<Property>> {
    let failed = |error: serde_json::Error| Error::config(Path::new(CONFIG_FILE), error.to_string());
    let texts = [
        (CONFIG_FILE, serde_json::to_string(config).map_err(failed)?),
        (CLASS_NAMES, serde_json::to_string(&config.labels.names).map_err(failed)?),
    ];
    Ok(texts.map(|(key, value)| Property { key: Some(key.into()), value: Some(value) }).into())
}

fn file(
    graph: &Graph,
    metadata_props: Vec<Property>,
    (height, width): (usize, usize),
    head: Head,
    read: &Reader,
) -> Result<Vec<u8>> {
    let classes = graph.node(graph.logits().ok_or(Error::NoHead)?).channels;
    if head == Head::Mask {
        graph.check_label_map("export logits")?;
    }
    let fused = Fused::new(graph)?;
    let (node, initializer) = Lowering::new(graph, &fused, Size { height, width })?.run(head, read)?;
    let output = match head {
        Head::Logits => ValueInfo::new("logits", DataType::Float, &[1, classes, height, width]),
        Head::Mask => ValueInfo::new("mask", DataType::Uint8, &[1, height, width]),
    };
    let model = Model {
        ir_version: Some(IR_VERSION),
        producer_name: Some(env!("CARGO_PKG_NAME").into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(GraphProto {
            node,
            name: Some(env!("CARGO_PKG_NAME").into()),
            initializer,
            input: vec![ValueInfo::new("input", DataType::Float, &[1, 3, height, width])],
            output: vec![output],
        }),
        opset_import: vec![OperatorSet { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props,
    };
    match model.encoded_len() {
        size if size > MAX_BYTES => {
            let reason = format!("would make a file of {size} bytes, and ONNX's limit is {MAX_BYTES}");
            Err(Error::Graph { node: graph.node(graph.output()).path.clone(), reason })
        }
        _ => Ok(model.encode_to_vec()),
    }
}
