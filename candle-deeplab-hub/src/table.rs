//! The registry's rows. All numbers are the publishers', except parameters and multiply-adds, which are ours and
//! tested.

use super::entry::{BUNDLED, Entry, Evaluation, Hints, Kind, Location, Source};

const DEEPLAB_V3: &str = "https://arxiv.org/abs/1706.05587";
const DEEPLAB_V3_PLUS: &str = "https://arxiv.org/abs/1802.02611";
const MOBILENET_V2: &str = "https://arxiv.org/abs/1801.04381";
const RESNET_STRIKES_BACK: &str = "https://arxiv.org/abs/2110.00476";
const RESNET: &str = "https://arxiv.org/abs/1512.03385";

const ONE: &[f64] = &[1.0];
const VOC_SCALES: &[f64] = &[0.5, 0.75, 1.0, 1.25, 1.5, 1.75];
const STREET_SCALES: &[f64] = &[0.75, 1.0, 1.25];

/// A result with one scale and without mirror images.
const fn single(miou: f64, split: &'static str, output_stride: usize, gmacs: Option<f64>) -> Evaluation {
    Evaluation { miou, split, output_stride, scales: ONE, flip: false, gmacs }
}

/// A result with several scales and their mirror images, at output stride 8.
const fn multi(miou: f64, split: &'static str, scales: &'static [f64], gmacs: Option<f64>) -> Evaluation {
    Evaluation { miou, split, output_stride: 8, scales, flip: true, gmacs }
}

const fn hub(repo: &'static str, revision: &'static str, file: &'static str) -> Source {
    Source { location: Location::Hub { repo, revision, file }, hints: Hints::NONE }
}

const fn url(url: &'static str, sha256: Option<&'static str>) -> Source {
    Source { location: Location::Url { url, member: None, sha256 }, hints: Hints::NONE }
}

/// A tarball of TensorFlow's model zoo, whose frozen graph describes the network completely. The zoo's page has http
/// addresses, but its host answers to https as well. There is no digest to compare with.
macro_rules! tensorflow {
    ($tarball:literal) => {
        &[Source {
            location: Location::Url {
                url: concat!("https://download.tensorflow.org/models/", $tarball, ".tar.gz"),
                member: Some("frozen_inference_graph.pb"),
                sha256: None,
            },
            hints: Hints::NONE,
        }]
    };
}

const VOC: Entry = Entry {
    id: "",
    aliases: &[],
    kind: Kind::Segmentation,
    description: "",
    backbone: "",
    dataset: "voc",
    classes: 21,
    output_stride: 16,
    input: (513, 513),
    params: None,
    macs: None,
    evaluations: &[],
    licence: "Apache-2.0",
    paper: DEEPLAB_V3_PLUS,
    sources: &[],
};

const CITYSCAPES: Entry = Entry { dataset: "cityscapes", classes: 19, input: (1025, 2049), ..VOC };

const ADE20K: Entry = Entry { dataset: "ade20k", classes: 151, ..VOC };

const IMAGENET: Entry = Entry {
    kind: Kind::Backbone,
    description: "ImageNet features, to start training from",
    dataset: "imagenet",
    classes: 1000,
    output_stride: 32,
    input: (299, 299),
    ..VOC
};

pub(super) static MODELS: &[Entry] = &[
    Entry {
        id: BUNDLED,
        aliases: &[],
        description: "Google's small, once quantised model for photographs, which is part of this program",
        backbone: "mobilenetv2",
        params: Some(2_097_013),
        macs: Some(2_740_709_056),
        paper: MOBILENET_V2,
        sources: &[Source { location: Location::Bundled, hints: Hints::NONE }],
        ..VOC
    },
    Entry {
        id: "deeplabv3plus-xception65-voc",
        aliases: &["xception65-voc", "xception65_coco_voc_trainaug"],
        description: "TensorFlow's DeepLabv3+ for photographs, trained on COCO and VOC trainaug",
        backbone: "xception65",
        params: Some(41_258_213),
        macs: Some(54_035_303_024),
        evaluations: &[single(82.20, "val", 16, Some(54.17)), multi(83.58, "val", VOC_SCALES, Some(3055.35))],
        sources: tensorflow!("deeplabv3_pascal_train_aug_2018_01_04"),
        ..VOC
    },
    Entry {
        id: "deeplabv3plus-xception65-voc-trainval",
        aliases: &["xception65_coco_voc_trainval"],
        description: "The same, trained on VOC's validation images as well",
        backbone: "xception65",
        output_stride: 8,
        params: Some(41_258_213),
        macs: Some(176_851_524_720),
        evaluations: &[multi(87.80, "test", VOC_SCALES, Some(3055.35))],
        sources: tensorflow!("deeplabv3_pascal_trainval_2018_01_04"),
        ..VOC
    },
    Entry {
        id: "deeplabv3-mobilenetv2-voc",
        aliases: &["mobilenetv2-voc", "mobilenetv2_coco_voc_trainaug"],
        description: "TensorFlow's small model for photographs, trained on COCO and VOC trainaug",
        backbone: "mobilenetv2",
        params: Some(2_146_645),
        macs: Some(2_740_709_056),
        evaluations: &[single(75.32, "val", 16, Some(2.75)), multi(77.33, "val", VOC_SCALES, Some(152.59))],
        paper: MOBILENET_V2,
        sources: tensorflow!("deeplabv3_mnv2_pascal_train_aug_2018_01_29"),
        ..VOC
    },
    Entry {
        id: "deeplabv3-mobilenetv2-voc-trainval",
        aliases: &["mobilenetv2_coco_voc_trainval"],
        description: "The same, trained on VOC's validation images as well",
        backbone: "mobilenetv2",
        output_stride: 8,
        params: Some(2_146_645),
        macs: Some(8_825_853_632),
        evaluations: &[multi(80.25, "test", VOC_SCALES, Some(152.59))],
        paper: MOBILENET_V2,
        sources: tensorflow!("deeplabv3_mnv2_pascal_trainval_2018_01_29"),
        ..VOC
    },
    Entry {
        id: "deeplabv3-mobilenetv2-0.5-voc",
        aliases: &["mobilenetv2_dm05_coco_voc_trainaug"],
        description: "TensorFlow's smallest model for photographs, with half the channels",
        backbone: "mobilenetv2-0.5",
        params: Some(714_325),
        macs: Some(867_496_704),
        evaluations: &[single(70.19, "val", 16, Some(0.88))],
        paper: MOBILENET_V2,
        sources: tensorflow!("deeplabv3_mnv2_dm05_pascal_trainaug_2018_10_01"),
        ..VOC
    },
    Entry {
        id: "deeplabv3-mobilenetv2-0.5-voc-trainval",
        aliases: &["mobilenetv2_dm05_coco_voc_trainval"],
        description: "The same, trained on VOC's validation images as well",
        backbone: "mobilenetv2-0.5",
        output_stride: 8,
        params: Some(714_325),
        macs: Some(2_818_640_640),
        evaluations: &[single(71.83, "test", 8, Some(2.84))],
        paper: MOBILENET_V2,
        sources: tensorflow!("deeplabv3_mnv2_dm05_pascal_trainval_2018_10_01"),
        ..VOC
    },
    Entry {
        id: "deeplabv3-mobilenetv2-voc-hf",
        aliases: &["deeplabv3_mobilenet_v2_1.0_513"],
        description: "transformers' port of TensorFlow's small model, on the Hub",
        backbone: "mobilenetv2",
        output_stride: 8,
        params: Some(2_146_645),
        macs: Some(8_825_853_632),
        evaluations: &[single(75.32, "val", 16, Some(2.75)), multi(77.33, "val", VOC_SCALES, Some(152.59))],
        licence: "other",
        paper: MOBILENET_V2,
        sources: &[
            hub(
                "Matthijs/deeplabv3_mobilenet_v2_1.0_513",
                "bc557030fd6410788ecc7de5d5b3e607eba2d587",
                "model.safetensors",
            ),
            hub("google/deeplabv3_mobilenet_v2_1.0_513", "5282e0e", "pytorch_model.bin"),
        ],
        ..VOC
    },
    Entry {
        id: "deeplabv3-resnet101-voc",
        aliases: &["deeplabv3_resnet101_coco"],
        description: "torchvision's DeepLabv3, trained on COCO's images of VOC's classes",
        backbone: "resnet101",
        output_stride: 8,
        params: Some(58_739_925),
        macs: Some(248_674_056_640),
        evaluations: &[single(67.4, "COCO val", 8, None)],
        licence: "BSD-3-Clause",
        paper: DEEPLAB_V3,
        sources: &[url("https://download.pytorch.org/models/deeplabv3_resnet101_coco-586e9e4e.pth", Some("586e9e4e"))],
        ..VOC
    },
    Entry {
        id: "deeplabv3-resnet50-voc",
        aliases: &["deeplabv3_resnet50_coco"],
        description: "The same with fewer layers",
        backbone: "resnet50",
        output_stride: 8,
        params: Some(39_695_573),
        macs: Some(168_652_962_240),
        evaluations: &[single(66.4, "COCO val", 8, None)],
        licence: "BSD-3-Clause",
        paper: DEEPLAB_V3,
        sources: &[url("https://download.pytorch.org/models/deeplabv3_resnet50_coco-cd0a2569.pth", Some("cd0a2569"))],
        ..VOC
    },
    Entry {
        id: "deeplabv3plus-xception65-cityscapes",
        aliases: &["xception65-cityscapes", "xception65_cityscapes_trainfine"],
        description: "TensorFlow's DeepLabv3+ for street scenes",
        backbone: "xception65",
        params: Some(41_257_699),
        macs: Some(418_375_681_136),
        evaluations: &[single(78.79, "val", 16, Some(418.64)), multi(80.42, "val", STREET_SCALES, Some(8677.92))],
        sources: tensorflow!("deeplabv3_cityscapes_train_2018_02_06"),
        ..CITYSCAPES
    },
    Entry {
        id: "deeplabv3plus-resnet101-cityscapes",
        aliases: &["deeplabv3plus_r101-d8_512x1024_80k_cityscapes"],
        description: "mmsegmentation's DeepLabv3+ for street scenes",
        backbone: "resnet101",
        output_stride: 8,
        params: Some(60_345_507),
        macs: Some(2_052_963_447_568),
        evaluations: &[single(80.97, "val", 8, None)],
        sources: &[url(
            "https://download.openmmlab.com/mmsegmentation/v0.5/deeplabv3plus/deeplabv3plus_r101-d8_512x1024_80k_cityscapes/deeplabv3plus_r101-d8_512x1024_80k_cityscapes_20200606_114143-068fcfe9.pth",
            Some("068fcfe9"),
        )],
        ..CITYSCAPES
    },
    Entry {
        id: "deeplabv3-mobilenetv2-cityscapes",
        aliases: &["mobilenetv2-cityscapes", "mobilenetv2_coco_cityscapes_trainfine"],
        description: "TensorFlow's small model for street scenes",
        backbone: "mobilenetv2",
        params: Some(2_146_131),
        macs: Some(21_233_054_912),
        evaluations: &[single(70.71, "val", 16, Some(21.27)), multi(73.57, "val", STREET_SCALES, Some(433.24))],
        paper: MOBILENET_V2,
        sources: tensorflow!("deeplabv3_mnv2_cityscapes_train_2018_02_05"),
        ..CITYSCAPES
    },
    Entry {
        id: "deeplabv3plus-xception65-ade20k",
        aliases: &["xception65-ade20k", "xception65_ade20k_train"],
        description: "TensorFlow's DeepLabv3+ for scenes of 150 classes",
        backbone: "xception65",
        output_stride: 8,
        params: Some(41_291_623),
        macs: Some(177_405_337_200),
        evaluations: &[multi(45.65, "val", VOC_SCALES, None)],
        sources: tensorflow!("deeplabv3_xception_ade20k_train_2018_05_29"),
        ..ADE20K
    },
    Entry {
        id: "deeplabv3plus-mobilenetv2-ade20k",
        aliases: &["mobilenetv2-ade20k", "mobilenetv2_ade20k_train"],
        description: "TensorFlow's small model for scenes of 150 classes; it has a decoder",
        backbone: "mobilenetv2",
        evaluations: &[single(32.04, "val", 16, None)],
        sources: tensorflow!("deeplabv3_mnv2_ade20k_train_2018_12_03"),
        ..ADE20K
    },
    Entry {
        id: "xception41-imagenet",
        aliases: &["xception41.tf_in1k"],
        backbone: "xception41",
        params: Some(25_035_872),
        macs: Some(9_202_086_312),
        sources: &[hub("timm/xception41.tf_in1k", "2dd4221", "model.safetensors")],
        ..IMAGENET
    },
    Entry {
        id: "xception65-imagenet",
        aliases: &["xception65.tf_in1k"],
        backbone: "xception65",
        params: Some(38_052_512),
        macs: Some(13_850_634_216),
        sources: &[hub("timm/xception65.tf_in1k", "cbc9048", "model.safetensors")],
        ..IMAGENET
    },
    Entry {
        id: "xception71-imagenet",
        aliases: &["xception71.tf_in1k"],
        backbone: "xception71",
        params: Some(40_488_712),
        macs: Some(17_944_505_928),
        sources: &[hub("timm/xception71.tf_in1k", "9ad2643", "model.safetensors")],
        ..IMAGENET
    },
    Entry {
        id: "xception65-imagenet-ra3",
        aliases: &["xception65.ra3_in1k"],
        backbone: "xception65",
        params: Some(38_052_512),
        macs: Some(13_850_634_216),
        sources: &[hub("timm/xception65.ra3_in1k", "ae9e1377bca4c1d5ce324a5e010f7bc72bc322a4", "model.safetensors")],
        ..IMAGENET
    },
    Entry {
        id: "resnet101-imagenet",
        aliases: &["resnet101.a1_in1k"],
        backbone: "resnet101",
        input: (224, 224),
        params: Some(42_605_504),
        macs: Some(7_799_357_440),
        paper: RESNET_STRIKES_BACK,
        sources: &[hub("timm/resnet101.a1_in1k", "e95c1e3e7cdcc0637817ecc79658817e6dc441bc", "model.safetensors")],
        ..IMAGENET
    },
    Entry {
        id: "resnet101-imagenet-a1h",
        aliases: &["resnet101.a1h_in1k"],
        backbone: "resnet101",
        input: (224, 224),
        params: Some(42_605_504),
        macs: Some(7_799_357_440),
        paper: RESNET_STRIKES_BACK,
        sources: &[hub("timm/resnet101.a1h_in1k", "main", "model.safetensors")],
        ..IMAGENET
    },
    Entry {
        id: "resnet101-imagenet-torchvision",
        aliases: &["resnet101.tv_in1k"],
        backbone: "resnet101",
        input: (224, 224),
        params: Some(42_605_504),
        macs: Some(7_799_357_440),
        licence: "BSD-3-Clause",
        paper: RESNET,
        sources: &[hub("timm/resnet101.tv_in1k", "main", "model.safetensors")],
        ..IMAGENET
    },
    Entry {
        id: "resnet101-imagenet-torchvision2",
        aliases: &["resnet101.tv2_in1k"],
        backbone: "resnet101",
        input: (224, 224),
        params: Some(42_605_504),
        macs: Some(7_799_357_440),
        licence: "BSD-3-Clause",
        paper: RESNET,
        sources: &[hub("timm/resnet101.tv2_in1k", "main", "model.safetensors")],
        ..IMAGENET
    },
];
