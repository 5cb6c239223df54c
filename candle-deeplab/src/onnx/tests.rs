//! Evaluates exported files operator by operator, and compares the results with the model's.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use prost::Message;

use super::Head;
use super::proto::{DataType, Model, NodeProto, TensorProto};
use crate::error::Result;
use crate::exec::fold;
use crate::graph::{Activation, Builder, Conv, Graph, Normalization, Padding, Param, Role, Value, Window};
use crate::ops::{self, testing::hashed};
use crate::weights::Values;

fn weight(param: &Param) -> Result<Tensor> {
    let values = hashed(&param.name, &param.shape).to_dtype(DType::F32)?;
    Ok(if param.role == Role::Variance { (values.abs()? + 0.5)? } else { values })
}

fn constant(tensor: &TensorProto) -> Tensor {
    let (bytes, dims) =
        (tensor.raw_data.as_deref().unwrap(), tensor.dims.iter().map(|d| *d as usize).collect::<Vec<_>>());
    match DataType::try_from(tensor.data_type.unwrap()).unwrap() {
        DataType::Float => Tensor::from_raw_buffer(bytes, DType::F32, &dims, &Device::Cpu),
        DataType::Int64 => Tensor::from_raw_buffer(bytes, DType::I64, &dims, &Device::Cpu),
        other => panic!("a constant of {other:?}"),
    }
    .unwrap()
}

/// A window along one axis, from a node's attributes.
fn window(node: &NodeProto, x: &Tensor, axis: usize) -> Window {
    let (len, get) = (x.dims()[2 + axis], |name, or: [usize; 4]| ints(node, name).unwrap_or(or.to_vec()));
    let (kernel, stride) = (get("kernel_shape", [0; 4])[axis], get("strides", [1; 4])[axis]);
    let (dilation, pads) = (get("dilations", [1; 4])[axis], get("pads", [0; 4]));
    let (before, after) = (pads[axis], pads[2 + axis]);
    let output = (len + before + after - (kernel - 1) * dilation - 1) / stride + 1;
    Window { kernel, stride, dilation, before, after, output }
}

fn ints(node: &NodeProto, name: &str) -> Option<Vec<usize>> {
    let found = node.attribute.iter().find(|a| a.name.as_deref() == Some(name))?;
    Some(found.ints.iter().map(|value| *value as usize).collect())
}

fn int(node: &NodeProto, name: &str) -> usize {
    let found = node.attribute.iter().find(|a| a.name.as_deref() == Some(name));
    found.and_then(|attribute| attribute.i).unwrap() as usize
}

fn float(node: &NodeProto, name: &str, or: f32) -> f64 {
    let found = node.attribute.iter().find(|a| a.name.as_deref() == Some(name));
    f64::from(found.map_or(or, |attribute| attribute.f.unwrap()))
}

fn text<'a>(node: &'a NodeProto, name: &str) -> &'a [u8] {
    let found = node.attribute.iter().find(|a| a.name.as_deref() == Some(name));
    found.and_then(|attribute| attribute.s.as_deref()).unwrap()
}

/// Computes a file's output, as the ONNX specification defines its operators.
fn evaluate(bytes: &[u8], input: &Tensor) -> Tensor {
    let graph = Model::decode(bytes).unwrap().graph.unwrap();
    let constants = graph.initializer.iter().map(|t| (t.name.clone().unwrap(), constant(t)));
    let mut values: HashMap<String, Tensor> = constants.collect();
    values.insert(graph.input[0].name.clone().unwrap(), input.clone());
    for node in &graph.node {
        let inputs: Vec<&Tensor> =
            node.input.iter().filter(|name| !name.is_empty()).map(|name| &values[name]).collect();
        let x = inputs[0];
        let windows = || (window(node, x, 0), window(node, x, 1));
        let value = match node.op_type.as_deref().unwrap() {
            "Conv" => {
                let bias = inputs[2].reshape((1, (), 1, 1)).unwrap();
                ops::conv2d(x, inputs[1], int(node, "group"), windows()).unwrap().broadcast_add(&bias)
            }
            "Relu" => x.relu(),
            "Clip" => x.broadcast_maximum(inputs[1]).unwrap().broadcast_minimum(inputs[2]),
            "HardSigmoid" => {
                let (alpha, beta) = (float(node, "alpha", 0.2), float(node, "beta", 0.5));
                x.affine(alpha, beta).unwrap().clamp(0f32, 1f32)
            }
            "HardSwish" => x * x.affine(1.0 / 6.0, 0.5).unwrap().clamp(0f32, 1f32).unwrap(),
            "Add" => x + inputs[1],
            "Mul" => x.broadcast_mul(inputs[1]),
            "Concat" => Tensor::cat(&inputs, int(node, "axis")),
            "Resize" => {
                assert_eq!(text(node, "mode"), b"linear");
                let align_corners = match text(node, "coordinate_transformation_mode") {
                    b"align_corners" => true,
                    b"half_pixel" => false,
                    other => panic!("{other:?}"),
                };
                let size = inputs[1].to_vec1::<i64>().unwrap();
                assert_eq!(size[..2], [1, x.dims()[1] as i64]);
                ops::resize_bilinear(x, (size[2] as usize, size[3] as usize), align_corners)
            }
            "MaxPool" => ops::max_pool2d(x, windows()),
            "GlobalAveragePool" => x.mean_keepdim((2, 3)),
            "Identity" => Ok(x.clone()),
            "ArgMax" if int(node, "keepdims") == 0 => x.argmax(int(node, "axis")),
            "Cast" if int(node, "to") == DataType::Uint8 as usize => x.to_dtype(DType::U8),
            other => panic!("{other}"),
        };
        let there = values.insert(node.output[0].clone(), value.unwrap());
        assert!(there.is_none(), "two values are named {}", node.output[0]);
    }
    values.remove(graph.output[0].name.as_deref().unwrap()).unwrap()
}

/// A network with one node of every kind, and with cases that could confuse names or the order of inputs.
fn network(classes: usize) -> Graph {
    let (mut g, image) = Builder::new(3, Normalization::BatchNorm);
    let stem = Conv::dense(8, 3).stride(2).padding(Padding::Same);
    let x = g.conv_bn_act("stem", image, stem, Activation::Relu6);
    let pooled = g.max_pool("pool", x, 3, 2, Padding::Symmetric(1));
    let deep = g.scope("unit", |g| {
        let y = g.activation(pooled, Activation::Relu);
        let y = g.conv_bn("depthwise", y, Conv::depthwise(8).dilation(2));
        let y = g.conv_bn("pointwise", y, Conv::pointwise(8));
        let sum = g.add(y, pooled);
        g.activation(sum, Activation::Relu)
    });
    let deep = g.scope("squeeze", |g| {
        let swished = g.activation(deep, Activation::HardSwish);
        let pooled = g.global_pool(swished);
        let gate = g.conv("gate", pooled, Conv::pointwise(8).with_bias());
        let gate = g.activation(gate, Activation::HardSigmoid);
        g.multiply(swished, gate)
    });
    let all: Value = g.global_pool(deep);
    let all = g.resize(all, deep, true);
    let joined = g.concat(&[all, deep]);
    let grouped = Conv { groups: 4, ..Conv::dense(8, 3) };
    let joined = g.conv_bn("grouped", joined, grouped);
    let joined = g.resize(joined, x, false);
    let logits = g.conv("logits", joined, Conv::pointwise(classes).with_bias());
    let output = g.resize(logits, image, true);
    g.finish(output).unwrap()
}

#[test]
fn the_file_computes_what_the_model_does() {
    let graph = network(5);
    let eager = crate::exec::eager::Eager::new(graph.clone(), weight).unwrap();
    for size in [(33, 33), (32, 41), (1, 7)] {
        let image = hashed("image", &[1, 3, size.0, size.1]).to_dtype(DType::F32).unwrap();
        let wanted = eager.run(&image, &[graph.output()]).unwrap().remove(0);
        let read = &fold::reader(&graph, |param| Values::of(&weight(param)?));
        let logits = super::file(&graph, vec![], size, Head::Logits, read).unwrap();
        let difference = (evaluate(&logits, &image) - &wanted).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-5, "{size:?}: {difference}");
        let mask = evaluate(&super::file(&graph, vec![], size, Head::Mask, read).unwrap(), &image);
        let wanted = wanted.argmax(1).unwrap().to_dtype(DType::U8).unwrap();
        let same = mask.eq(&wanted).unwrap().to_dtype(DType::F32).unwrap().mean_all().unwrap();
        // A tie within rounding may fall either way.
        assert!(same.to_scalar::<f32>().unwrap() > 0.995, "{size:?}: {same}");
    }
}

#[test]
fn a_mask_that_cannot_hold_the_classes_is_refused() {
    let graph = network(300);
    let read = &fold::reader(&graph, |param| Values::of(&weight(param)?));
    let error = super::file(&graph, vec![], (33, 33), Head::Mask, read).unwrap_err();
    assert!(error.to_string().contains("export logits"), "{error}");
}
