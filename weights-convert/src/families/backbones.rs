//! Backbones, inferred from the layers in a file.

use candle_deeplab::config::{
    EntryBlock, InvertedResidual, MobileNetV2, MobileNetV3, ResNet, SqueezedResidual, Stem, Unit, Xception,
};

use super::layers::{Layers, MAX_LAYERS};
use crate::error::{Error, Result};

/// An Xception whose layers are those in the file. Everything else is taken from `like`, which is the family's.
pub(super) fn xception(layers: &Layers, like: Xception) -> Result<Xception> {
    let entry_width = |i: usize| format!("backbone.entry_flow.block{i}.sepconv3.pointwise");
    // Some families number the blocks of all flows in one list: the entry flow's are those that begin it with shortcuts,
    // and the middle flow ends where the next shortcut is.
    let shortcut = |flow: &str, i: usize| layers.has(&format!("backbone.{flow}.block{i}.shortcut"));
    let blocks = (1..=MAX_LAYERS).take_while(|&i| shortcut("entry_flow", i)).count();
    let strides = Xception::entry_strides(blocks).ok_or_else(|| Error::Unrecognised {
        path: layers.checkpoint.path().to_owned(),
        reason: format!("an Xception whose entry flow has {blocks} blocks; known ones have 3 or 5"),
    })?;
    let block = |(i, stride)| Ok(EntryBlock { width: layers.width(&entry_width(i + 1))?, stride });
    let exit = |i: usize| -> Result<[usize; 3]> {
        let width = |sepconv: usize| layers.width(&format!("backbone.exit_flow.block{i}.sepconv{sepconv}.pointwise"));
        Ok([width(1)?, width(2)?, width(3)?])
    };
    let sepconv = |i: usize| format!("backbone.middle_flow.block{i}.sepconv1.pointwise");
    let middle = (1..=MAX_LAYERS).take_while(|&i| layers.has(&sepconv(i)) && !shortcut("middle_flow", i)).count();
    if !layers.has(&sepconv(middle + 1)) && layers.has(&sepconv(middle + 2)) {
        layers.kernel(&sepconv(middle + 1))?;
    }
    Ok(Xception {
        stem: [layers.width("backbone.entry_flow.conv1")?, layers.width("backbone.entry_flow.conv2")?],
        entry: strides.into_iter().enumerate().map(block).collect::<Result<_>>()?,
        middle_blocks: u8::try_from(middle).unwrap_or(u8::MAX),
        exit: [exit(1)?, exit(2)?],
        ..like
    })
}

/// A MobileNetV2 whose layers are those in the file. Everything else is taken from `like`, which is the family's.
pub(super) fn mobilenet_v2(layers: &Layers, like: MobileNetV2) -> Result<MobileNetV2> {
    let block = |(i, stride)| {
        let expand = format!("backbone.block{}.expand", i + 1);
        let expansion = layers.has(&expand).then(|| layers.width(&expand)).transpose()?;
        Ok(InvertedResidual { expansion, width: layers.width(&format!("backbone.block{}.project", i + 1))?, stride })
    };
    let blocks = MobileNetV2::strides().into_iter().enumerate().map(block).collect::<Result<_>>()?;
    let head = layers.has("backbone.head").then(|| layers.width("backbone.head")).transpose()?;
    Ok(MobileNetV2 { stem: layers.width("backbone.stem")?, blocks, head, ..like })
}

/// A MobileNetV3 whose widths and kernels are those in the file. Its blocks are those of `like`, which is the family's:
/// where one is missing in the file, that is an error, and not a smaller network.
pub(super) fn mobilenet_v3(layers: &Layers, like: MobileNetV3) -> Result<MobileNetV3> {
    let block = |(i, like): (usize, &SqueezedResidual)| {
        let layer = |part: &str| format!("backbone.block{}.{part}", i + 1);
        let width = |there: Option<usize>, part| there.map(|_| layers.width(&layer(part))).transpose();
        Ok(SqueezedResidual {
            kernel: layers.kernel(&layer("depthwise"))?.size,
            expansion: width(like.expansion, "expand")?,
            squeeze: width(like.squeeze, "squeeze.reduce")?,
            width: layers.width(&layer("project"))?,
            ..*like
        })
    };
    let blocks = like.blocks.iter().enumerate().map(block).collect::<Result<_>>()?;
    Ok(MobileNetV3 { stem: layers.width("backbone.stem")?, blocks, head: layers.width("backbone.head")?, ..like })
}

/// A ResNet whose layers are those in the file. Everything else is taken from `like`, which is the family's, and so are
/// its units, unless the file has bottlenecks.
pub(super) fn resnet(layers: &Layers, like: ResNet) -> Result<ResNet> {
    let bottleneck = layers.has("backbone.block1.unit1.conv3");
    let (unit, last) = if bottleneck { (Unit::Bottleneck, 3) } else { (like.unit, 2) };
    let stem = if layers.has("backbone.conv1.conv1") {
        let width = |i: usize| layers.width(&format!("backbone.conv1.conv{i}"));
        Stem::Deep { widths: [width(1)?, width(2)?, width(3)?] }
    } else {
        Stem::Single { width: layers.width("backbone.conv1")? }
    };
    let (mut units, mut widths) = ([0; 4], [0; 4]);
    for (b, (units, width)) in units.iter_mut().zip(&mut widths).enumerate() {
        let unit = |u: usize| format!("backbone.block{}.unit{u}.conv{last}", b + 1);
        *units = u8::try_from(layers.count(unit)?).unwrap_or(u8::MAX);
        *width = layers.width(&unit(1))?;
    }
    Ok(ResNet { stem, unit, units, widths, ..like })
}
