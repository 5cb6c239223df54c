//! The model card: a README.md with which a model directory can be uploaded to the Hub as it is.

use std::fmt::{self, Write as _};

use candle_deeplab::Config;
use candle_deeplab::config::{Normalization, Preprocessing};

use crate::families::{Card, Options, Recipe, Source, WeightType};

/// The model card's file in a model directory.
pub const CARD_FILE: &str = "README.md";

/// The card's text: YAML front matter, then what the network is, where it comes from, and how to use it. What nobody
/// said, such as a licence, is left out.
pub(crate) fn text(recipe: &Recipe, options: &Options) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ =
        front_matter(&mut text, &recipe.config, &options.card).and_then(|()| body(&mut text, recipe, options.dtype));
    text
}

fn front_matter(f: &mut String, config: &Config, card: &Card) -> fmt::Result {
    let network = &config.network;
    let task = if network.aspp.is_some() { "image-segmentation" } else { "image-feature-extraction" };
    writeln!(f, "---\nlibrary_name: candle\npipeline_tag: {task}")?;
    if let Some(license) = &card.license {
        writeln!(f, "license: {}", Quoted(license))?;
    }
    let tags = ["semantic-segmentation", architecture(config), network.backbone.name(), &config.labels.dataset];
    list(f, "tags", tags.into_iter().chain(["candle-deeplab"]).filter(|tag| *tag != "unknown"))?;
    list(f, "datasets", card.datasets.iter().map(String::as_str))?;
    if let (Some(miou), [dataset, ..]) = (card.miou, &card.datasets[..]) {
        writeln!(
            f,
            "model-index:\n- name: {}",
            Quoted(&format!("{} {}", architecture(config), network.backbone.name()))
        )?;
        writeln!(f, "  results:\n  - task:\n      type: image-segmentation")?;
        writeln!(f, "    dataset:\n      name: {0}\n      type: {0}", Quoted(dataset))?;
        writeln!(f, "    metrics:\n    - type: mean_iou\n      name: mIoU (published)\n      value: {miou}")?;
    }
    writeln!(f, "---")
}

fn list<'a>(f: &mut String, key: &str, items: impl Iterator<Item = &'a str>) -> fmt::Result {
    for (i, item) in items.enumerate() {
        if i == 0 {
            writeln!(f, "{key}:")?;
        }
        writeln!(f, "- {}", Quoted(item))?;
    }
    Ok(())
}

fn architecture(config: &Config) -> &'static str {
    match (&config.network.aspp, &config.network.decoder) {
        (None, _) => "backbone",
        (_, None) => "deeplabv3",
        (_, Some(_)) => "deeplabv3plus",
    }
}

fn body(f: &mut String, recipe: &Recipe, dtype: WeightType) -> fmt::Result {
    let config = &recipe.config;
    let (network, provenance) = (&config.network, &config.provenance);
    let parameters: usize = recipe.sources.iter().map(Source::elements).sum();
    let size = format!("{parameters} parameters, output stride {}", network.output_stride);
    if network.aspp.is_some() {
        let plus = if network.decoder.is_some() { "+" } else { "" };
        let (classes, data) = (network.classes, Code(&config.labels.dataset));
        writeln!(f, "\n# DeepLabv3{plus}, {}\n", network.backbone.name())?;
        writeln!(f, "Semantic segmentation into {classes} classes ({data}): {size}.\n")?;
        writeln!(f, "## Use\n\n```sh\ncandle-deeplab segment photo.jpg --model .\n```\n")?;
    } else {
        writeln!(f, "\n# {}, a backbone\n", network.backbone.name())?;
        writeln!(
            f,
            "Features to start training a segmentation network from; it has no head and no classes: {size}.\n"
        )?;
    }
    writeln!(
        f,
        "`config.json` is the whole recipe, preprocessing and labels included; `model.safetensors` has the weights.\n"
    )?;
    writeln!(f, "## Where it comes from\n")?;
    writeln!(
        f,
        "Converted from {} ({}) by {}. What was decided on the way:\n",
        Code(&provenance.source),
        provenance.format,
        provenance.converter
    )?;
    writeln!(f, "| | | why |\n|---|---|---|")?;
    for decision in &recipe.decisions {
        writeln!(f, "| {} | {} | {} |", decision.what, Code(&decision.value), Code(&decision.because))?;
    }
    writeln!(f, "\n## Numerics\n")?;
    let norms = match (network.normalization, &network.aspp) {
        (Normalization::Folded, _) => "Batch norms are folded into the convolutions".into(),
        (_, Some(aspp)) => format!("Batch norms of the head have epsilon {:e}", aspp.batch_norm_eps),
        (_, None) => format!("Batch norms have epsilon {:e}", network.backbone.batch_norm_eps()),
    };
    let aligned = if network.align_corners { "with" } else { "without" };
    let resizes =
        network.aspp.as_ref().map_or(String::new(), |_| format!(" Bilinear resizes {aligned} aligned corners."));
    let stored = match dtype {
        WeightType::F32 => "f32",
        WeightType::F16 => "f16 (depthwise kernels and biases f32), computed in f32",
    };
    writeln!(f, "{stored}. {norms}.{resizes} Pixels are")?;
    let Preprocessing { mean, std, .. } = &config.preprocessing;
    writeln!(
        f,
        "`(RGB − {mean:?}) / {std:?}` on 0–255. `weights-convert verify` compares the logits with a reference's.\n"
    )?;
    if config.labels.names.is_empty() {
        return Ok(());
    }
    writeln!(f, "## Labels\n\n| class | name |\n|---|---|")?;
    for (class, name) in config.labels.names.iter().enumerate() {
        writeln!(f, "| {class} | {} |", Code(name))?;
    }
    Ok(())
}

/// A double-quoted YAML scalar: whatever the text holds, this is one string.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                // YAML's printable characters (YAML 1.2, section 5.1), less its other line breaks and the byte order mark.
                ' '..='~'
                | '\u{a0}'..='\u{2027}'
                | '\u{202a}'..='\u{d7ff}'
                | '\u{e000}'..='\u{fefe}'
                | '\u{ff00}'..='\u{fffd}' => {
                    f.write_char(c)?;
                }
                '\u{10000}'.. => write!(f, "\\U{:08x}", u32::from(c))?,
                _ => write!(f, "\\u{:04x}", u32::from(c))?,
            }
        }
        f.write_char('"')
    }
}

/// Text as code in a Markdown table: nothing in it is markup, and it stays on its line.
struct Code<'a>(&'a str);

impl fmt::Display for Code<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain: String = self.0.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let plain = plain.replace('|', "\\|");
        // A fence longer than any run of backticks within ends where we say.
        let longest = plain.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest + 1);
        let space = if longest > 0 { " " } else { "" };
        if plain.trim().is_empty() { Ok(()) } else { write!(f, "{fence}{space}{plain}{space}{fence}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_one_scalar() {
        for (text, quoted) in [
            ("plain", r#""plain""#),
            (r#"a "quoted\" b"#, r#""a \"quoted\\\" b""#),
            ("a: b # c\n---\tx", r#""a: b # c\u000a---\u0009x""#),
            ("\u{7f}\u{85}\u{2028}\u{feff}\u{fffe}", r#""\u007f\u0085\u2028\ufeff\ufffe""#),
            ("é 日 \u{1f600}", r#""é 日 \U0001f600""#),
            ("", r#""""#),
        ] {
            assert_eq!(Quoted(text).to_string(), quoted);
        }
    }

    #[test]
    fn text_as_code_stays_in_its_cell() {
        for (text, code) in
            [("a|b", "`a\\|b`"), ("a\nb", "`a b`"), ("a ``b`` c", "``` a ``b`` c ```"), ("<b>", "`<b>`"), ("", "")]
        {
            assert_eq!(Code(text).to_string(), code);
        }
    }
}
