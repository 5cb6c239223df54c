//! Names and colours of the classes of a data set.

mod ade20k;
mod camvid;
mod cityscapes;
mod file;
mod palette;
mod vivid;
mod voc;

use serde::{Deserialize, Serialize};

pub use palette::read_palette;

use crate::suggest;

/// The most classes of a network, since label maps are 8-bit.
pub const MAX_CLASSES: usize = 256;
/// The longest name in bytes.
const MAX_NAME: usize = 256;

/// Names and colours of a network's classes; class `i` is row `i` of both.
///
/// ```
/// use candle_deeplab::labels::Labels;
///
/// let voc = Labels::voc();
/// assert_eq!((voc.names[15].as_str(), voc.palette[15]), ("person", [192, 128, 128]));
/// assert_eq!((voc.background, voc.ignore), (Some(0), Some(255)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// The data set, e.g. `voc`.
    pub dataset: String,
    /// The name of each class.
    pub names: Vec<String>,
    /// The colour of each class: red, green, blue.
    pub palette: Vec<[u8; 3]>,
    /// The value of unlabelled pixels in ground truth, which are excluded from losses and scores: 255 for VOC and
    /// Cityscapes, 0 for ADE20K, 11 for CamVid. It may lie within the classes or beyond them.
    pub ignore: Option<u8>,
    /// The class that means "none of the others"; overlays leave its pixels unchanged. It is 0 for VOC and TensorFlow's
    /// ADE20K; Cityscapes has none, since there every class is a thing or a surface.
    pub background: Option<u8>,
}

impl Labels {
    /// The names that [`Labels::builtin`] knows.
    pub const BUILTIN: [&'static str; 5] = ["voc", "cityscapes", "ade20k", "ade20k-150", "camvid"];

    /// PASCAL VOC 2012: background and 20 classes; 255 is void.
    pub fn voc() -> Self {
        Self {
            dataset: "voc".into(),
            names: voc::NAMES.map(String::from).to_vec(),
            palette: voc::color_map()[..voc::NAMES.len()].to_vec(),
            ignore: Some(255),
            background: Some(0),
        }
    }

    /// Cityscapes: the 19 evaluated classes, by train id; 255 is everything else.
    pub fn cityscapes() -> Self {
        Self::from_rows("cityscapes", &cityscapes::ROWS, Some(255), None)
    }

    /// ADE20K as TensorFlow's networks number it: 0 is "other objects", ignored in training, and 1–150 are the classes.
    pub fn ade20k() -> Self {
        let background = [("background", [0, 0, 0])];
        let rows: Vec<_> = background.into_iter().chain(ade20k::ROWS).collect();
        Self::from_rows("ade20k", &rows, Some(0), Some(0))
    }

    /// ADE20K without the background, as PyTorch's networks number it: 0–149 are the classes, 255 is unlabelled.
    pub fn ade20k_150() -> Self {
        Self::from_rows("ade20k-150", &ade20k::ROWS, Some(255), None)
    }

    /// CamVid in the 11 classes of SegNet (Badrinarayanan et al. 2017), as its label files number them; 11 is void.
    pub fn camvid() -> Self {
        Self::from_rows("camvid", &camvid::ROWS, Some(11), None)
    }

    /// Placeholders for a network with unknown labels: "class 0", "class 1", … in the colours of VOC's map. Beyond
    /// [`MAX_CLASSES`] classes there are no more colours, which [`Labels::validate`] then reports.
    pub fn numbered(classes: usize) -> Self {
        Self {
            dataset: "unknown".into(),
            names: (0..classes).map(|class| format!("class {class}")).collect(),
            palette: generated_palette(classes),
            ignore: None,
            background: None,
        }
    }

    /// The labels of a well-known data set, by one of the names in [`Labels::BUILTIN`].
    pub fn builtin(name: &str) -> Option<Self> {
        match name {
            "voc" => Some(Self::voc()),
            "cityscapes" => Some(Self::cityscapes()),
            "ade20k" => Some(Self::ade20k()),
            "ade20k-150" => Some(Self::ade20k_150()),
            "camvid" => Some(Self::camvid()),
            _ => None,
        }
    }

    /// The name of a class; an id without a name is "ignored" if it is the ignore value, else e.g. "class 7".
    pub fn name(&self, class: u8) -> String {
        match self.names.get(usize::from(class)) {
            Some(name) => name.clone(),
            None if self.ignore == Some(class) => "ignored".into(),
            None => format!("class {class}"),
        }
    }

    /// The classes with this name, ignoring case. Data sets may use a name more than once.
    pub fn classes_named(&self, name: &str) -> Vec<u8> {
        let same = |(_, known): &(u8, &String)| known.to_lowercase() == name.to_lowercase();
        (0..=u8::MAX).zip(&self.names).filter(same).map(|(class, _)| class).collect()
    }

    /// Finds classes by name or by id, such as `person` or `15`.
    ///
    /// # Errors
    /// A sentence with the names that come closest, and all that there are.
    ///
    /// ```
    /// use candle_deeplab::Labels;
    ///
    /// let voc = Labels::voc();
    /// assert_eq!((voc.find("Person"), voc.find("15")), (Ok(vec![15]), Ok(vec![15])));
    /// assert!(voc.find("persn").unwrap_err().contains("did you mean person?"));
    /// ```
    pub fn find(&self, class: &str) -> Result<Vec<u8>, String> {
        let class = class.trim();
        let named = self.classes_named(class);
        if !named.is_empty() {
            return Ok(named);
        }
        let ids = self.names.len();
        match class.parse::<usize>() {
            Ok(id) if id < ids => Ok(u8::try_from(id).into_iter().collect()),
            Ok(_) => Err(format!("the model knows no class `{class}`: its ids are 0 to {}", ids.saturating_sub(1))),
            Err(_) => {
                let near = suggest::closest(class, self.names.iter().map(|name| vec![name.as_str()]));
                let question = if near.is_empty() { ".".into() } else { suggest::question(&near) };
                let (dataset, names) = (&self.dataset, self.names.join(", "));
                Err(format!("the model knows no class `{class}`{question} The classes of `{dataset}` are {names}"))
            }
        }
    }

    /// The colour of a class; black where it has none.
    pub fn color(&self, class: u8) -> [u8; 3] {
        self.palette.get(usize::from(class)).copied().unwrap_or_default()
    }

    /// Whether overlays, outlines, polygons and run lengths show a class: all but the background and ignored pixels.
    pub fn draws(&self, class: u8) -> bool {
        ![self.background, self.ignore].contains(&Some(class))
    }

    /// The palette of an indexed PNG: 256 colours, beginning with those of the classes.
    ///
    /// If the labels' palette is the beginning of VOC's colour map, the map continues it, so that 255 has VOC's usual
    /// void colour (224, 224, 192); any other palette is continued in black.
    pub fn png_palette(&self) -> [[u8; 3]; MAX_CLASSES] {
        let map = voc::color_map();
        if map.starts_with(&self.palette) {
            return map;
        }
        let mut colors = [[0; 3]; MAX_CLASSES];
        for (slot, color) in colors.iter_mut().zip(&self.palette) {
            *slot = *color;
        }
        colors
    }

    /// The colour of a class as HTML writes it, such as `#c08080`.
    pub fn html_color(&self, class: u8) -> String {
        let [red, green, blue] = self.png_palette()[usize::from(class)];
        format!("#{red:02x}{green:02x}{blue:02x}")
    }

    /// Checks that each of a network's classes has a printable name and a colour.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn validate(&self, classes: usize) -> Result<(), String> {
        if !(1..=MAX_CLASSES).contains(&classes) {
            return Err(format!("{classes} classes: label maps are 8-bit and hold 1 to {MAX_CLASSES}"));
        }
        if self.names.len() != classes {
            return Err(format!("labels.names has {} names for {classes} classes", self.names.len()));
        }
        if self.palette.len() != classes {
            return Err(format!("labels.palette has {} colours for {classes} classes", self.palette.len()));
        }
        // Names are printed to terminals, where control characters could do anything, and drawn and aligned in tables.
        let unprintable =
            |name: &String| name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control);
        let shown = |name: &str| format!("{:?}", name.chars().take(40).collect::<String>());
        let rule = format!("it must be a printable name of at most {MAX_NAME} bytes");
        if let Some(class) = self.names.iter().position(unprintable) {
            return Err(format!("labels.names[{class}] is {}: {rule}", shown(&self.names[class])));
        }
        if unprintable(&self.dataset) {
            return Err(format!("labels.dataset is {}: {rule}", shown(&self.dataset)));
        }
        match self.background {
            Some(class) if usize::from(class) >= classes => {
                Err(format!("labels.background is {class}, but the last of the {classes} classes is {}", classes - 1))
            }
            _ => Ok(()),
        }
    }

    fn from_rows(dataset: &str, rows: &[(&str, [u8; 3])], ignore: Option<u8>, background: Option<u8>) -> Self {
        Self {
            dataset: dataset.into(),
            names: rows.iter().map(|(name, _)| (*name).into()).collect(),
            palette: rows.iter().map(|(_, color)| *color).collect(),
            ignore,
            background,
        }
    }
}

/// Colours for classes without chosen colours.
fn generated_palette(classes: usize) -> Vec<[u8; 3]> {
    voc::color_map().into_iter().take(classes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_and_ignored_pixels_are_not_drawn() {
        assert_eq!([0, 1, 20, 255].map(|class| Labels::voc().draws(class)), [false, true, true, false]);
    }

    #[test]
    fn every_builtin_set_is_valid() {
        for (name, classes) in Labels::BUILTIN.into_iter().zip([21, 19, 151, 150, 11]) {
            let labels = Labels::builtin(name).unwrap();
            assert_eq!(labels.dataset, name);
            assert_eq!(labels.validate(classes), Ok(()), "{name}");
            let json = serde_json::to_string(&labels).unwrap();
            assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), labels);
        }
        assert_eq!(Labels::builtin("imagenet"), None);
    }

    #[test]
    fn rows_are_where_the_data_sets_put_them() {
        let voc = Labels::voc();
        assert_eq!((voc.name(1), voc.color(1)), ("aeroplane".into(), [128, 0, 0]));
        assert_eq!((voc.name(20), voc.color(20)), ("tvmonitor".into(), [0, 64, 128]));
        let city = Labels::cityscapes();
        assert_eq!((city.name(0), city.color(0)), ("road".into(), [128, 64, 128]));
        assert_eq!((city.name(18), city.color(18)), ("bicycle".into(), [119, 11, 32]));
        let camvid = Labels::camvid();
        assert_eq!((camvid.name(0), camvid.name(10)), ("sky".into(), "bicyclist".into()));
        assert_eq!((camvid.name(11), camvid.draws(11)), ("ignored".into(), false));
        let (tf, torch) = (Labels::ade20k(), Labels::ade20k_150());
        assert_eq!((tf.name(1), tf.color(1)), ("wall".into(), [120, 120, 120]));
        assert_eq!((tf.name(150), tf.color(150)), ("flag".into(), [92, 0, 255]));
        assert_eq!(tf.names[1..], torch.names);
        assert_eq!((tf.background, torch.background), (Some(0), None));
    }

    #[test]
    fn classes_are_found_by_name() {
        let voc = Labels::voc();
        assert_eq!((voc.classes_named("Person"), voc.classes_named("tree")), (vec![15], vec![]));
    }

    #[test]
    fn classes_are_found_by_name_or_by_id() {
        let voc = Labels::voc();
        assert_eq!((voc.find(" Cat "), voc.find("8"), voc.find("0")), (Ok(vec![8]), Ok(vec![8]), Ok(vec![0])));
        for (class, says) in [
            ("persn", "no class `persn`; did you mean person? The classes of `voc` are background, aeroplane"),
            ("dogs", "did you mean dog?"),
            ("tree", "no class `tree`. The classes of"),
            ("21", "its ids are 0 to 20"),
            ("-1", "no class `-1`. The classes"),
            ("99999999999999999999999", "no class `99999999999999999999999`. The"),
        ] {
            let said = voc.find(class).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
        // A name that is a number takes precedence over an id.
        let digits = Labels { names: vec!["1".into(), "0".into()], ..Labels::numbered(2) };
        assert_eq!((digits.find("1"), digits.find("0")), (Ok(vec![0]), Ok(vec![1])));
    }

    #[test]
    fn unknown_labels_get_numbers_and_colours() {
        let labels = Labels::numbered(3);
        assert_eq!(labels.names, ["class 0", "class 1", "class 2"]);
        assert_eq!(labels.palette, [[0, 0, 0], [128, 0, 0], [0, 128, 0]]);
        assert_eq!(labels.validate(3), Ok(()));
        assert_eq!(Labels::numbered(256).validate(256), Ok(()));
        assert!(Labels::numbered(257).validate(257).unwrap_err().contains("8-bit"));
    }

    #[test]
    fn the_png_palette_goes_on_after_the_classes() {
        let void = [224, 224, 192];
        assert_eq!(Labels::voc().png_palette()[255], void);
        assert_eq!(Labels::numbered(7).png_palette()[255], void);
        let city = Labels::cityscapes().png_palette();
        assert_eq!((city[18], city[19], city[255]), ([119, 11, 32], [0; 3], [0; 3]));
    }

    #[test]
    fn validation_says_what_is_wrong() {
        let wrong = |change: fn(&mut Labels)| {
            let mut labels = Labels::voc();
            change(&mut labels);
            labels.validate(21).unwrap_err()
        };
        assert_eq!(wrong(|l| l.names.truncate(20)), "labels.names has 20 names for 21 classes");
        assert_eq!(wrong(|l| l.palette.clear()), "labels.palette has 0 colours for 21 classes");
        assert!(wrong(|l| l.names[3] = " ".into()).starts_with("labels.names[3]"));
        assert!(wrong(|l| l.names[3] = "\x1b[2J".into()).contains("printable"));
        assert!(wrong(|l| l.background = Some(21)).contains("the last of the 21 classes is 20"));
        assert!(Labels::voc().validate(0).is_err());
    }
}
