//! Narrow networks with the names of PyTorch's code bases, and files of `torch.save` with them.

#![allow(dead_code)] // each test uses its part

use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;

use crate::converter::Tensors;
use crate::hash;
use crate::read_support::torch::{self, Pickle};

/// The names and shapes of a network's tensors.
#[derive(Default)]
pub(crate) struct Names(Vec<(String, Vec<usize>)>);

impl Names {
    fn tensor(mut self, name: &str, shape: &[usize]) -> Self {
        self.0.push((name.into(), shape.to_vec()));
        self
    }

    fn conv(self, name: &str, out: usize, input: usize, kernel: usize) -> Self {
        self.tensor(&format!("{name}.weight"), &[out, input, kernel, kernel])
    }

    fn norm(self, name: &str, width: usize) -> Self {
        ["weight", "bias", "running_mean", "running_var"]
            .into_iter()
            .fold(self, |names, part| names.tensor(&format!("{name}.{part}"), &[width]))
    }

    fn conv_bn(self, conv: &str, norm: &str, out: usize, input: usize, kernel: usize) -> Self {
        self.conv(conv, out, input, kernel).norm(norm, out)
    }

    fn classifier(self, name: &str, input: usize) -> Self {
        self.conv(name, 21, input, 1).tensor(&format!("{name}.bias"), &[21])
    }

    /// Adds a ResNet with one unit per block.
    fn resnet(self) -> Self {
        let stem = self.conv_bn("backbone.conv1", "backbone.bn1", 8, 3, 7);
        let blocks = [(1, 8, 16), (2, 16, 16), (3, 16, 24), (4, 24, 32)];
        blocks.into_iter().fold(stem, |names, (b, input, out)| {
            let unit = |part: &str| format!("backbone.layer{b}.0.{part}");
            let names = names
                .conv_bn(&unit("conv1"), &unit("bn1"), out / 4, input, 1)
                .conv_bn(&unit("conv2"), &unit("bn2"), out / 4, out / 4, 3)
                .conv_bn(&unit("conv3"), &unit("bn3"), out, out / 4, 1);
            if input == out {
                names
            } else {
                names.conv_bn(&unit("downsample.0"), &unit("downsample.1"), out, input, 1)
            }
        })
    }

    /// VainF's DeepLabv3+.
    pub(crate) fn vainf() -> Self {
        let aspp = |i: usize, part: usize| format!("classifier.aspp.convs.{i}.{part}");
        let names = Self::default().resnet().conv_bn("classifier.project.0", "classifier.project.1", 6, 16, 1);
        let names = [(0, 1), (1, 3), (2, 3), (3, 3)]
            .into_iter()
            .fold(names, |names, (i, kernel)| names.conv_bn(&aspp(i, 0), &aspp(i, 1), 8, 32, kernel));
        names
            .conv_bn(&aspp(4, 1), &aspp(4, 2), 8, 32, 1)
            .conv_bn("classifier.aspp.project.0", "classifier.aspp.project.1", 8, 40, 1)
            .conv_bn("classifier.classifier.0", "classifier.classifier.1", 8, 14, 3)
            .classifier("classifier.classifier.3", 8)
    }

    /// jfzhang95's DeepLabv3+.
    pub(crate) fn jfzhang() -> Self {
        let aspp = |i: usize, part: &str| format!("aspp.aspp{i}.{part}");
        let names =
            [(1, 1), (2, 3), (3, 3), (4, 3)].into_iter().fold(Self::default().resnet(), |names, (i, kernel)| {
                names.conv_bn(&aspp(i, "atrous_conv"), &aspp(i, "bn"), 8, 32, kernel)
            });
        names
            .conv_bn("aspp.global_avg_pool.1", "aspp.global_avg_pool.2", 8, 32, 1)
            .conv_bn("aspp.conv1", "aspp.bn1", 8, 40, 1)
            .conv_bn("decoder.conv1", "decoder.bn1", 6, 16, 1)
            .conv_bn("decoder.last_conv.0", "decoder.last_conv.1", 8, 14, 3)
            .conv_bn("decoder.last_conv.4", "decoder.last_conv.5", 8, 8, 3)
            .classifier("decoder.last_conv.8", 8)
    }

    /// mmsegmentation's DeepLabv3+ with its auxiliary head.
    pub(crate) fn mmseg() -> Self {
        let pair = |name: &str| (format!("{name}.conv"), format!("{name}.bn"));
        let conv_bn = |names: Self, name: &str, out, input, kernel| {
            let (conv, norm) = pair(name);
            names.conv_bn(&conv, &norm, out, input, kernel)
        };
        let separable = |names: Self, name: &str, out, input| {
            let names = conv_bn(names, &format!("{name}.depthwise_conv"), input, 1, 3);
            conv_bn(names, &format!("{name}.pointwise_conv"), out, input, 1)
        };
        let names = conv_bn(Self::default().resnet(), "decode_head.image_pool.1", 8, 32, 1);
        let names = conv_bn(names, "decode_head.aspp_modules.0", 8, 32, 1);
        let names = (1..=3).fold(names, |names, i| separable(names, &format!("decode_head.aspp_modules.{i}"), 8, 32));
        let names = conv_bn(names, "decode_head.bottleneck", 8, 40, 3);
        let names = conv_bn(names, "decode_head.c1_bottleneck", 6, 16, 1);
        let names = separable(names, "decode_head.sep_bottleneck.0", 8, 14);
        let names = separable(names, "decode_head.sep_bottleneck.1", 8, 8);
        conv_bn(names.classifier("decode_head.conv_seg", 8), "auxiliary_head.convs.0", 6, 24, 3)
            .classifier("auxiliary_head.conv_seg", 6)
    }

    /// torchvision's DeepLabv3 with its auxiliary head.
    pub(crate) fn torchvision() -> Self {
        let aspp = |i: usize, part: usize| format!("classifier.0.convs.{i}.{part}");
        let names =
            [(0, 1), (1, 3), (2, 3), (3, 3)].into_iter().fold(Self::default().resnet(), |names, (i, kernel)| {
                names.conv_bn(&aspp(i, 0), &aspp(i, 1), 8, 32, kernel)
            });
        names
            .conv_bn(&aspp(4, 1), &aspp(4, 2), 8, 32, 1)
            .conv_bn("classifier.0.project.0", "classifier.0.project.1", 8, 40, 1)
            .conv_bn("classifier.1", "classifier.2", 8, 8, 3)
            .classifier("classifier.4", 8)
            .conv_bn("aux_classifier.0", "aux_classifier.1", 6, 24, 3)
            .classifier("aux_classifier.4", 6)
    }

    /// transformers' MobileNetV2ForSemanticSegmentation; its widths are scaled and rounded as transformers does.
    pub(crate) fn transformers(depth_multiplier: f64, divisible_by: usize, expand_ratio: f64) -> Self {
        let rounded = |value: f64| {
            let new = ((value + divisible_by as f64 / 2.0) as usize / divisible_by * divisible_by).max(divisible_by);
            if (new as f64) < 0.9 * value { new + divisible_by } else { new }
        };
        let width = |channels: usize| rounded((channels as f64 * depth_multiplier).round());
        let layer = |names: Self, name: &str, out, input, kernel| {
            names.conv_bn(&format!("{name}.convolution"), &format!("{name}.normalization"), out, input, kernel)
        };
        let widths = [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320].map(width);
        let names = layer(Self::default(), "mobilenet_v2.conv_stem.first_conv", width(32), 3, 3);
        let names = layer(names, "mobilenet_v2.conv_stem.conv_3x3", width(32), 1, 3);
        let names = layer(names, "mobilenet_v2.conv_stem.reduce_1x1", widths[0], width(32), 1);
        let names = widths.windows(2).enumerate().fold(names, |names, (i, pair)| {
            let part = |part: &str| format!("mobilenet_v2.layer.{i}.{part}");
            let inner = rounded((pair[0] as f64 * expand_ratio).round());
            let names = layer(names, &part("expand_1x1"), inner, pair[0], 1);
            let names = layer(names, &part("conv_3x3"), inner, 1, 3);
            layer(names, &part("reduce_1x1"), pair[1], inner, 1)
        });
        let last = widths[16];
        let names =
            layer(names, "mobilenet_v2.conv_1x1", if depth_multiplier < 1.0 { 1280 } else { width(1280) }, last, 1);
        let names = layer(names, "segmentation_head.conv_pool", 8, last, 1);
        let names = layer(names, "segmentation_head.conv_aspp", 8, last, 1);
        let names = layer(names, "segmentation_head.conv_projection", 8, 16, 1);
        names.classifier("segmentation_head.classifier.convolution", 8)
    }

    /// The same tensors with a prefix before their names.
    pub(crate) fn below(self, prefix: &str) -> Self {
        Self(self.0.into_iter().map(|(name, shape)| (format!("{prefix}{name}"), shape)).collect())
    }

    /// Adds a tensor.
    pub(crate) fn and(self, name: &str, shape: &[usize]) -> Self {
        self.tensor(name, shape)
    }

    /// The tensors, with the reference's hash weights.
    pub(crate) fn tensors(&self) -> Tensors {
        self.0.iter().fold(Tensors::default(), |tensors, (name, shape)| {
            tensors.add(name, shape, &hash::torch(name, shape, 1.0, 1.0))
        })
    }

    /// Writes the tensors to a safetensors file.
    pub(crate) fn safetensors(&self, path: &Path) -> PathBuf {
        self.tensors().write(path)
    }
}

/// A state dict that is being written to a file of `torch.save`; each tensor has its own storage.
#[derive(Default)]
pub(crate) struct Saved {
    storages: Vec<(String, Vec<u8>)>,
}

impl Saved {
    /// Appends a dictionary of tensors to a pickle.
    pub(crate) fn state(&mut self, mut pickle: Pickle, tensors: &Tensors) -> Pickle {
        pickle = pickle.op(b"}(");
        for (name, (dtype, shape, bytes)) in &tensors.0 {
            assert_eq!(*dtype, Dtype::F32);
            let key = self.storages.len().to_string();
            let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
            let strides: Vec<i64> = (0..dims.len()).map(|axis| dims[axis + 1..].iter().product()).collect();
            pickle = pickle.str(name).tensor((&key, dims.iter().product()), 0, &dims, &strides);
            self.storages.push((key, bytes.clone()));
        }
        pickle.op(b"u")
    }

    /// Writes the file as a zip archive.
    pub(crate) fn zip(&self, pickle: Pickle, path: &Path) -> PathBuf {
        let names: Vec<String> = self.storages.iter().map(|(key, _)| format!("data/{key}")).collect();
        let description = pickle.op(b".").0;
        let mut records: Vec<(&str, &[u8])> = vec![("data.pkl", &description), ("version", b"3\n")];
        records.extend(names.iter().zip(&self.storages).map(|(name, (_, bytes))| (name.as_str(), bytes.as_slice())));
        std::fs::write(path, torch::zip(&records)).unwrap();
        path.to_owned()
    }

    /// Writes the file in the legacy format.
    pub(crate) fn legacy(&self, pickle: Pickle, path: &Path) -> PathBuf {
        let storage = |(key, bytes): &'_ (String, Vec<u8>)| (key.clone(), bytes.len() as u64 / 4, bytes.clone());
        let storages: Vec<_> = self.storages.iter().map(storage).collect();
        let storages: Vec<_> = storages.iter().map(|(key, n, bytes)| (key.as_str(), *n, bytes.as_slice())).collect();
        std::fs::write(path, torch::legacy(&pickle.op(b".").0, &storages)).unwrap();
        path.to_owned()
    }
}
