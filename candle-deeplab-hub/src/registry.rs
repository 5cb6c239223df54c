//! The registry of published models.

use super::entry::Entry;
use super::table::MODELS;
use crate::error::{Error, Result};
use candle_deeplab::suggest;

/// All models of the registry, those for segmentation first.
///
/// ```
/// let street: Vec<_> = candle_deeplab_hub::list().iter().filter(|model| model.dataset == "cityscapes").collect();
/// assert!(street.iter().any(|model| model.backbone == "xception65"));
/// ```
pub fn list() -> &'static [Entry] {
    MODELS
}

/// The model with an id or an alias.
///
/// # Errors
/// [`Error::Name`] with the closest names.
pub fn get(name: &str) -> Result<&'static Entry> {
    find(name).ok_or_else(|| unknown(name))
}

pub(super) fn find(name: &str) -> Option<&'static Entry> {
    MODELS.iter().find(|model| model.id == name || model.aliases.contains(&name))
}

/// The error for an unknown name, with the closest ones.
pub(super) fn unknown(name: &str) -> Error {
    // Models for segmentation come first.
    let names = |model: &Entry| [&[model.id], model.aliases].concat();
    let hint = suggest::question(&suggest::closest(name, MODELS.iter().map(names)));
    let reason = format!(
        "there is no model of that name, nor such a path{hint} (`candle-deeplab models` lists all; \
         a repo on the Hub is given as ORG/NAME)"
    );
    Error::Name { name: name.into(), reason }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::entry::{BUNDLED, Kind, Location};
    use candle_deeplab::config::{
        Aspp, Backbone, ConcatOrder, Convolution, Decoder, DilationStart, ImagePooling, MobileNetV2, MultiGridRule,
        Network, Normalization, PoolPadding, ResNet, Stem, StridedUnit, Unit, Xception,
    };

    #[test]
    fn ids_are_unique_and_aliases_unambiguous() {
        let mut seen = BTreeSet::new();
        for name in MODELS.iter().flat_map(|model| model.aliases.iter().chain([&model.id])) {
            assert!(seen.insert(*name), "{name} stands twice");
            assert!(!name.contains(['/', ':', '@', '\\']) && !name.starts_with('.'), "{name} could be something else");
        }
    }

    #[test]
    fn a_model_is_found_by_any_of_its_names() {
        let xception = get("deeplabv3plus-xception65-voc").unwrap();
        assert_eq!(get("xception65_coco_voc_trainaug").unwrap(), xception);
        let error = get("deeplabv3plus-xception65-vok").unwrap_err().to_string();
        assert!(error.contains("did you mean deeplabv3plus-xception65-voc"), "{error}");
        assert!(!get("something else").unwrap_err().to_string().contains("did you mean"));
    }

    #[test]
    fn a_part_of_a_name_suggests_what_it_could_be_the_beginning_of() {
        for (typed, suggested) in [
            ("xception", &["deeplabv3plus-xception65-voc", "deeplabv3plus-xception65-cityscapes"][..]),
            ("mobilenet", &["deeplabv3-mobilenetv2-voc", "deeplabv3-mobilenetv2-cityscapes"]),
            ("moblienet", &["deeplabv3-mobilenetv2-voc"]),
            ("resnet101-voc", &["deeplabv3-resnet101-voc"]),
            ("deeplab", &["deeplabv3plus-xception65-voc", "deeplabv3-mobilenetv2-voc"]),
            ("deeplabv3+", &["deeplabv3plus-xception65-voc", "deeplabv3plus-resnet101-cityscapes"]),
            ("DeepLabV3Plus_Xception65_VOC", &["deeplabv3plus-xception65-voc"]),
            ("mobilenet-v2", &["deeplabv3-mobilenetv2-voc"]),
            // A misspelt alias.
            ("xception65_coco_voc_trainagu", &["deeplabv3plus-xception65-voc"]),
        ] {
            let error = get(typed).unwrap_err().to_string();
            let question = &error[error.find("did you mean").expect(&error)..];
            for id in suggested {
                assert!(question.contains(id), "{typed}: {question}");
            }
        }
        for nothing in ["unet", "photo.jpg", "no-such-model", "segformer"] {
            assert!(!get(nothing).unwrap_err().to_string().contains("did you mean"), "{nothing}");
        }
    }

    /// The file names of torchvision and mmsegmentation end with the first digits of the file's digest.
    #[test]
    fn digests_agree_with_the_names_of_the_files() {
        let mut known = 0;
        for model in MODELS {
            for source in model.sources {
                let Location::Url { url, sha256, member } = source.location else { continue };
                let name = url.rsplit('/').next().unwrap();
                let in_name =
                    name.strip_suffix(".pth").and_then(|stem| stem.rsplit_once('-')).map(|(_, digest)| digest);
                assert_eq!(sha256, in_name, "{url}");
                assert_eq!(member.is_some(), name.ends_with(".tar.gz"), "{url}");
                known += usize::from(sha256.is_some());
            }
        }
        assert!(known >= 2);
    }

    #[test]
    fn every_row_says_where_its_weights_are_and_what_they_reach() {
        for model in MODELS {
            assert!(!model.sources.is_empty(), "{}", model.id);
            // No results of the bundled model have been published.
            let unknown = model.kind == Kind::Backbone || model.id == BUNDLED;
            assert_eq!(model.evaluations.is_empty(), unknown, "{}", model.id);
            assert!(model.evaluations.iter().all(|e| (0.0..=100.0).contains(&e.miou) && !e.scales.is_empty()));
            let classes = match model.dataset {
                "imagenet" => 1000,
                dataset => candle_deeplab::Labels::builtin(dataset).unwrap().names.len(),
            };
            assert_eq!(model.classes, classes, "{}", model.id);
        }
    }

    #[test]
    fn the_table_in_the_docs_is_in_step() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/models.md");
        // A published crate comes without the repository's docs.
        let Ok(page) = std::fs::read_to_string(page) else { return };
        for model in MODELS.iter().filter(|model| model.kind == Kind::Segmentation) {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", model.id))).unwrap_or_default();
            for evaluation in model.evaluations {
                assert!(row.contains(&format!("{} {}", evaluation.miou, evaluation.split)), "{}: {row}", model.id);
            }
            let params = model.params.map_or("–".into(), |params| format!("{:.1} M", params as f64 / 1e6));
            assert!(row.contains(&params), "{}: {row}", model.id);
        }
    }

    fn aspp(rates: &[usize], convolution: Convolution) -> Aspp {
        Aspp {
            width: 256,
            rates: rates.to_vec(),
            image_pooling: ImagePooling::First,
            convolution,
            projection_kernel: 1,
            refine: None,
            batch_norm_eps: 1e-5,
        }
    }

    fn decoder(low_level: &str) -> Decoder {
        Decoder {
            low_level: low_level.into(),
            low_level_width: 48,
            concat: ConcatOrder::AsppFirst,
            widths: vec![256, 256],
            convolution: Convolution::Separable,
            before: None,
        }
    }

    fn resnet(units: [u8; 4], stem: Stem) -> Backbone {
        Backbone::Resnet(ResNet {
            stem,
            pool_padding: PoolPadding::Symmetric,
            strided_unit: StridedUnit::First,
            dilation_start: DilationStart::NextUnit,
            unit: Unit::Bottleneck,
            multi_grid_rule: MultiGridRule::Factors,
            units,
            widths: [256, 512, 1024, 2048],
            batch_norm_eps: 1e-5,
        })
    }

    /// The network that a row's file holds, and so the expected result of converting it.
    fn network(model: &Entry) -> Network {
        let xception = |layout: Xception| (layout.low_level_tap(), Backbone::Xception(layout));
        let mobilenet = |width| ("", Backbone::MobilenetV2(MobileNetV2::tensorflow(width)));
        let single = Stem::Single { width: 64 };
        let (low_level, backbone) = match model.backbone {
            "xception41" => xception(Xception::xception41()),
            "xception65" => xception(Xception::xception65()),
            "xception71" => xception(Xception::xception71()),
            "mobilenetv2" => mobilenet(1.0),
            "mobilenetv2-0.5" => mobilenet(0.5),
            "resnet101" if model.id.contains("cityscapes") => {
                ("block1", resnet([3, 4, 23, 3], Stem::Deep { widths: [32, 32, 64] }))
            }
            "resnet101" => ("block1", resnet([3, 4, 23, 3], single)),
            "resnet50" => ("block1", resnet([3, 4, 6, 3], single)),
            other => panic!("{other}"),
        };
        let (aspp, decoder) = match (model.backbone, model.id.starts_with("deeplabv3plus")) {
            ("mobilenetv2" | "mobilenetv2-0.5", false) => (aspp(&[], Convolution::Separable), None),
            // torchvision's.
            (_, false) => {
                let refine = Some(Convolution::Dense);
                let image_pooling = ImagePooling::Last;
                (Aspp { refine, image_pooling, ..aspp(&[12, 24, 36], Convolution::Dense) }, None)
            }
            // mmsegmentation's.
            ("resnet101", true) => {
                let aspp = Aspp { width: 512, projection_kernel: 3, ..aspp(&[12, 24, 36], Convolution::Separable) };
                (aspp, Some(Decoder { widths: vec![512, 512], ..decoder(low_level) }))
            }
            (_, true) => (aspp(&[6, 12, 18], Convolution::Separable), Some(decoder(low_level))),
        };
        Network {
            backbone,
            output_stride: model.output_stride,
            multi_grid: [1, 1, 1],
            normalization: if model.id == BUNDLED { Normalization::Folded } else { Normalization::BatchNorm },
            align_corners: true,
            aspp: (model.kind == Kind::Segmentation).then_some(aspp),
            decoder: decoder.filter(|_| model.kind == Kind::Segmentation),
            auxiliary: None,
            classes: if model.kind == Kind::Segmentation { model.classes } else { 0 },
        }
    }

    #[test]
    fn parameters_and_multiply_adds_are_what_the_graph_has() {
        let mut checked = 0;
        for model in MODELS {
            let (Some(params), Some(macs)) = (model.params, model.macs) else { continue };
            let summary =
                candle_deeplab::arch::graph(&network(model)).unwrap().summary(model.input.0, model.input.1).unwrap();
            let counted =
                |count: fn(&candle_deeplab::graph::LayerSummary) -> u64| summary.layers.iter().map(count).sum::<u64>();
            assert_eq!((counted(|l| l.params), counted(|l| l.macs)), (params, macs), "{}", model.id);
            checked += 1;
        }
        assert!(checked + 1 >= MODELS.len(), "only {checked} rows have numbers");
    }
}
