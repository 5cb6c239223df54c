//! Tests of data sets, small ones in temporary folders.

use std::fs;

use image::{Luma, Rgb};
use tempfile::TempDir;

use super::*;

const SIZE: (u32, u32) = (6, 4);

/// Files in a temporary folder.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn source(&self) -> Source {
        Source::new(self.0.path())
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    pub(crate) fn image(&self, name: &str, image: &RgbImage) -> &Self {
        image.save(self.path(name)).unwrap();
        self
    }

    fn plain(&self, name: &str) -> &Self {
        self.image(name, &RgbImage::from_pixel(SIZE.0, SIZE.1, Rgb([200, 100, 50])))
    }

    pub(crate) fn labels(&self, name: &str, labels: &GrayImage) -> &Self {
        labels.save(self.path(name)).unwrap();
        self
    }

    /// A label map that begins with these ids and goes on with the last.
    fn ids(&self, name: &str, ids: &[u8]) -> &Self {
        self.labels(name, &map(ids))
    }

    /// An image and its label map in a folder of the plain layout.
    fn pair(&self, split: &str, name: &str, ids: &[u8]) -> &Self {
        self.plain(&format!("images/{split}/{name}.png")).ids(&format!("labels/{split}/{name}.png"), ids)
    }

    /// A PNG of any kind: its color type, bits, palette and packed rows.
    fn png(&self, name: &str, (width, height): (u32, u32), color: png::ColorType, bits: png::BitDepth, data: &[u8]) {
        let mut encoder = png::Encoder::new(fs::File::create(self.path(name)).unwrap(), width, height);
        encoder.set_color(color);
        encoder.set_depth(bits);
        if color == png::ColorType::Indexed {
            encoder.set_palette([[9, 8, 7]; 256].concat());
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
    }
}

fn map(ids: &[u8]) -> GrayImage {
    let id = |x: u32, y: u32| ids[((y * SIZE.0 + x) as usize).min(ids.len() - 1)];
    GrayImage::from_fn(SIZE.0, SIZE.1, |x, y| Luma([id(x, y)]))
}

fn open(folder: &Folder, split: &str) -> Dataset {
    Dataset::open(&folder.source(), split).unwrap()
}

fn error(folder: &Folder, split: &str) -> String {
    let opened = Dataset::open(&folder.source(), split);
    opened.and_then(|dataset| (0..dataset.len()).try_for_each(|i| dataset.read(i).map(|_| ()))).unwrap_err().to_string()
}

fn assert_says(error: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| error.contains(part)), "`{error}` does not say {parts:?}");
}

#[test]
fn a_folder_is_paired_by_names() {
    let folder = Folder::new();
    folder.pair("train", "b", &[1, 0, 255]).pair("train", "sub/a.v2", &[2]).pair("val", "c", &[0]);
    folder.write("images/train/notes.md", "").write("images/train/.hidden.png", "");
    let train = open(&folder, "train");
    assert_eq!((train.len(), train.name(0), train.name(1)), (2, "b", "sub/a.v2"));
    let pair = train.read(0).unwrap();
    assert_eq!(pair.image.get_pixel(5, 3).0, [200, 100, 50]);
    assert_eq!(pair.labels, map(&[1, 0, 255]));
    assert_eq!(folder.source().splits().unwrap(), ["train", "val"]);
    assert!(train.image_path(0).ends_with("images/train/b.png"));
}

#[test]
fn splits_may_be_outside_of_images_and_labels() {
    let folder = Folder::new();
    folder.plain("test/images/a.JPG").ids("test/labels/a.PNG", &[3]);
    assert_eq!(open(&folder, "test").read(0).unwrap().labels, map(&[3]));
}

#[test]
fn classes_come_from_what_is_said_then_a_file_then_the_model_then_the_name_then_the_ids() {
    let outer = Folder::new();
    let dir = outer.0.path().join("CamVid");
    let inner = |name: &str| format!("CamVid/{name}");
    outer.plain(&inner("images/train/a.png")).ids(&inner("labels/train/a.png"), &[0, 1, 11]);
    let names = |source: &Source, model: Option<&Labels>| {
        let opened = match model {
            Some(model) => Dataset::open_for(source, "train", model),
            None => Dataset::open(source, "train"),
        };
        let dataset = opened.unwrap();
        (dataset.labels.dataset.clone(), dataset.labels.names.len(), dataset.note().map(String::from))
    };
    let source = Source::new(&dir);
    let (name, classes, note) = names(&source, None);
    assert_eq!((name.as_str(), classes), ("camvid", 11));
    assert_says(&note.unwrap(), &["`camvid`", "folder has that name"]);
    // Void is ignored.
    assert_eq!(Dataset::open(&source, "train").unwrap().read(0).unwrap().labels, map(&[0, 1, 255]));
    // A model of as many classes knows their names better, and one of others was not made for this.
    assert_eq!(names(&source, Some(&Labels::numbered(11))), ("unknown".into(), 11, None));
    assert_eq!(names(&source, Some(&Labels::voc())), names(&source, None));
    let renamed = outer.0.path().join("streets");
    fs::rename(&dir, &renamed).unwrap();
    let (name, classes, note) = names(&Source::new(&renamed), Some(&Labels::voc()));
    assert_eq!((name.as_str(), classes), ("voc", 21));
    assert_says(&note.unwrap(), &["the model's (`voc`)"]);
    fs::rename(&renamed, &dir).unwrap();
    outer.write(&inner("labels.txt"), (0..12).map(|i| format!("thing {i}\n")).collect::<String>());
    let (name, classes, note) = names(&source, Some(&Labels::voc()));
    assert_eq!((name.as_str(), classes), ("CamVid", 12));
    assert_says(&note.unwrap(), &["labels.txt"]);
    let said = Source { labels: Some("cityscapes".into()), ..source };
    assert_eq!(names(&said, Some(&Labels::voc())), ("cityscapes".into(), 19, None));
    let file = outer.0.path().join("mine.json");
    fs::write(&file, r#"{"names": ["a", "b"], "ignore": 11}"#).unwrap();
    let said = Source { labels: Some(file.to_str().unwrap().into()), ..said };
    assert_eq!(names(&said, None), ("mine".into(), 2, None));
    let unknown = Source { labels: Some("camvd".into()), ..said };
    let error = Dataset::open(&unknown, "train").unwrap_err().to_string();
    assert_says(&error, &["camvd", "did you mean camvid?"]);
}

#[test]
fn without_names_the_ids_are_the_classes() {
    let folder = Folder::new();
    folder.pair("train", "a", &[0, 255]).pair("train", "b", &[4, 2]);
    let train = open(&folder, "train");
    assert_eq!((train.labels.names.len(), train.labels.names[4].as_str()), (5, "class 4"));
    assert_says(train.note().unwrap(), &["0 to 4", "labels.txt"]);
}

#[test]
fn an_unknown_id_names_file_place_and_way_out() {
    let folder = Folder::new();
    folder.pair("train", "a", &[0]).pair("train", "b", &[0, 0, 0, 0, 0, 0, 0, 7]).write("labels.txt", "x\ny");
    assert_says(&error(&folder, "train"), &["b.png", "id 7 at column 1, row 1", "2 classes", "255", "`labels`"]);
}

#[test]
fn what_is_missing_is_said() {
    let folder = Folder::new();
    assert_says(&error(&folder, "train"), &["has no split", "images/SPLIT"]);
    folder.pair("train", "a", &[0]).pair("val", "a", &[0]);
    assert_says(&error(&folder, "tain"), &["no split `tain`, but train, val", "did you mean train?"]);
    folder.plain("images/train/lonely.jpg");
    assert_says(&error(&folder, "train"), &["lonely.jpg", "no label map", "labels"]);
    folder.ids("labels/train/lonely.png", &[0]).ids("labels/train/orphan.png", &[0]);
    assert_says(&error(&folder, "train"), &["orphan.png", "no image"]);
    folder.ids("labels/train/waif.png", &[0]);
    assert_says(&error(&folder, "train"), &["and 1 more", "dataset check"]);
    fs::create_dir_all(folder.path("images/none/x")).unwrap();
    assert_says(&error(&folder, "none"), &["labels/none", "does not exist"]);
    fs::create_dir_all(folder.path("labels/none/x")).unwrap();
    assert_says(&error(&folder, "none"), &["`none` is empty"]);
    let nowhere = Source::new(folder.0.path().join("nowhere"));
    assert_says(&Dataset::open(&nowhere, "train").unwrap_err().to_string(), &["nowhere", "no such folder"]);
}

#[test]
fn two_images_of_one_name_are_refused() {
    let folder = Folder::new();
    folder.pair("train", "a", &[0]).plain("images/train/a.jpg");
    assert_says(&error(&folder, "train"), &["a.png", "a.jpg", "same name"]);
}

#[test]
fn sizes_have_to_be_the_same() {
    let folder = Folder::new();
    folder.plain("images/train/a.png").labels("labels/train/a.png", &GrayImage::new(5, 4));
    assert_says(&error(&folder, "train"), &["labels/train/a.png", "5×4", "6×4", "scale or cut"]);
    folder.labels("labels/train/a.png", &GrayImage::new(4, 6));
    assert_says(&error(&folder, "train"), &["4×6", "EXIF"]);
}

/// The label map of a photograph that a camera has turned lies as the upright picture does.
#[test]
fn images_are_turned_upright_and_label_maps_are_not() {
    let mut photo = RgbImage::new(32, 16);
    (0..16).for_each(|y| (0..16).for_each(|x| photo.put_pixel(x, y, Rgb([255, 255, 255]))));
    let mut jpeg = std::io::Cursor::new(vec![]);
    photo.write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    // Orientation 6: the picture is turned clockwise to be upright.
    let exif = [&b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"[..]].concat();
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    let turned = [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat();
    let folder = Folder::new();
    let labels = GrayImage::from_fn(16, 32, |_, y| Luma([u8::from(y < 16)]));
    folder.write("images/train/a.jpg", turned).labels("labels/train/a.png", &labels);
    let pair = open(&folder, "train").read(0).unwrap();
    assert_eq!(pair.image.dimensions(), (16, 32));
    assert!(pair.image.get_pixel(8, 8).0[0] > 200 && pair.image.get_pixel(8, 24).0[0] < 50);
    assert_eq!(pair.labels, labels);
}

#[test]
fn indices_of_a_palette_count_whatever_their_colours_and_bits() {
    use png::BitDepth::{Eight, Four, One, Two};
    use png::ColorType::{Grayscale, Indexed};
    let folder = Folder::new();
    folder.image("images/train/a.png", &RgbImage::new(3, 2));
    for color in [Grayscale, Indexed] {
        for (bits, data, expected) in [
            (Eight, &[3, 1, 0, 2, 255, 1][..], [3, 1, 0, 2, 255, 1]),
            (Four, &[0x31, 0x00, 0x21, 0xf0], [3, 1, 0, 2, 1, 15]),
            (Two, &[0b11_01_00_00, 0b10_01_11_00], [3, 1, 0, 2, 1, 3]),
            (One, &[0b1010_0000, 0b0110_0000], [1, 0, 1, 0, 1, 1]),
        ] {
            folder.png("labels/train/a.png", (3, 2), color, bits, data);
            assert_eq!(open(&folder, "train").read(0).unwrap().labels.into_raw(), expected, "{color:?} {bits:?}");
        }
    }
}

#[test]
fn label_files_that_hold_no_ids_are_refused() {
    use png::BitDepth::{Eight, Sixteen};
    use png::ColorType::{Grayscale, GrayscaleAlpha, Rgb, Rgba};
    let folder = Folder::new();
    folder.pair("train", "a", &[0]);
    for (color, bits, samples, said) in [
        (Rgb, Eight, 3, "dataset convert"),
        (Rgba, Eight, 4, "dataset convert"),
        (GrayscaleAlpha, Eight, 2, "transparency"),
        (Grayscale, Sixteen, 2, "16 bits"),
    ] {
        folder.png("labels/train/a.png", SIZE, color, bits, &vec![0; samples * (SIZE.0 * SIZE.1) as usize]);
        assert_says(&error(&folder, "train"), &["labels/train/a.png", said]);
    }
    RgbImage::new(6, 4).save_with_format(folder.path("labels/train/a.png"), image::ImageFormat::Jpeg).unwrap();
    assert_says(&error(&folder, "train"), &["a.png", "not a PNG"]);
}

#[test]
fn damaged_files_are_told_from_faults_of_the_set() {
    let folder = Folder::new();
    folder.pair("train", "a", &[0]).write("labels.txt", "x");
    let train = open(&folder, "train");
    let is_about_one_file = || train.read(0).unwrap_err().is_about_one_file();
    let label = fs::read(folder.path("labels/train/a.png")).unwrap();
    folder.write("labels/train/a.png", &label[..label.len() - 20]);
    assert_says(&train.read(0).unwrap_err().to_string(), &["a.png", "damaged"]);
    assert!(is_about_one_file());
    fs::remove_file(folder.path("labels/train/a.png")).unwrap();
    assert!(is_about_one_file());
    folder.ids("labels/train/a.png", &[1]);
    assert!(!is_about_one_file());
    folder.ids("labels/train/a.png", &[0]).write("images/train/a.png", "no image");
    assert!(is_about_one_file());
    // A header that claims much takes no memory.
    let mut claims = label.clone();
    claims[16..24].copy_from_slice(&[0, 0, 255, 255, 0, 0, 255, 255]);
    let crc = claims[12..29].iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    });
    claims[29..33].copy_from_slice(&(!crc).to_be_bytes());
    folder.plain("images/train/a.png").write("labels/train/a.png", claims);
    assert_says(&train.read(0).unwrap_err().to_string(), &["65535×65535", "more than"]);
}

#[test]
fn voc_is_read_by_its_lists() {
    let folder = Folder::new();
    for name in ["2007_000032", "2007_000033", "2008_000001"] {
        folder.plain(&format!("VOCdevkit/VOC2012/JPEGImages/{name}.jpg"));
        folder.ids(&format!("VOCdevkit/VOC2012/SegmentationClassAug/{name}.png"), &[15]);
    }
    let root = "VOCdevkit/VOC2012";
    folder.ids(&format!("{root}/SegmentationClass/2007_000032.png"), &[0, 20, 255]);
    let list = |split: &str, text: &str| {
        folder.write(&format!("{root}/ImageSets/Segmentation/{split}.txt"), text);
    };
    list("train", "2007_000032\n");
    list("trainaug", "/JPEGImages/2007_000033.jpg /SegmentationClassAug/2007_000033.png\n2008_000001\r\n\n");
    list("val", "2007_000032\n2007_000033\n");
    list("test", "2007_000033");
    let train = open(&folder, "train");
    assert_eq!((folder.source().layout(), train.labels.names.len(), train.name(0)), (Kind::Voc, 21, "2007_000032"));
    assert_eq!(train.read(0).unwrap().labels, map(&[0, 20, 255]));
    let augmented = open(&folder, "trainaug");
    assert_eq!((augmented.len(), augmented.name(1)), (2, "2008_000001"));
    assert_eq!(augmented.read(1).unwrap().labels, map(&[15]));
    assert_says(&error(&folder, "val"), &["val.txt", "line 2", "SegmentationClass/2007_000033.png"]);
    assert_says(&error(&folder, "minival"), &["test, train, trainaug, val"]);
    let images = Dataset::open_images(&folder.source(), "test", &Labels::voc()).unwrap();
    assert_eq!(images.read_image(0).unwrap().dimensions(), SIZE);
    assert!(images.read(0).is_err() && images.labels_path(0).is_none());
    list("train", "2007_000032\n../../2007_000032\n2009_1");
    assert_says(&error(&folder, "train"), &["line 2", "as line 1"]);
    list("train", "2009_1");
    assert_says(&error(&folder, "train"), &["line 1", "2009_1.jpg"]);
    list("train", "\n");
    assert_says(&error(&folder, "train"), &["`train` is empty"]);
}

#[test]
fn cityscapes_label_ids_become_train_ids() {
    let folder = Folder::new();
    let name = "frankfurt/frankfurt_000000_000294";
    folder.plain(&format!("leftImg8bit/val/{name}_leftImg8bit.png"));
    let ids = [7, 33, 0, 4, 31, 32, 1, 29, 30, 23];
    folder.ids(&format!("gtFine/val/{name}_gtFine_labelIds.png"), &ids);
    folder.ids(&format!("gtFine/val/{name}_gtFine_instanceIds.png"), &[99]);
    let val = open(&folder, "val");
    assert_eq!((folder.source().layout(), val.name(0)), (Kind::Cityscapes, name));
    let expected = map(&[0, 18, 255, 255, 16, 17, 255, 255, 255, 10]);
    assert_eq!(val.read(0).unwrap().labels, expected);
    folder.ids(&format!("gtFine/val/{name}_gtFine_labelIds.png"), &[34]);
    assert_says(&error(&folder, "val"), &["id 34", "cityscapes"]);
    fs::remove_file(folder.path(&format!("gtFine/val/{name}_gtFine_labelIds.png"))).unwrap();
    assert_says(&error(&folder, "val"), &["_leftImg8bit.png", "gtFine"]);
    folder.labels(&format!("gtFine/val/{name}_gtFine_labelTrainIds.png"), &expected);
    assert_eq!(open(&folder, "val").read(0).unwrap().labels, expected);
    let other = Source { labels: Some("voc".into()), ..folder.source() };
    assert_says(&Dataset::open(&other, "val").unwrap_err().to_string(), &["21 classes", "Cityscapes 19"]);
}

#[test]
fn ade20k_begins_with_other() {
    let folder = Folder::new();
    let root = "ADEChallengeData2016";
    folder.plain(&format!("{root}/images/training/ADE_train_00000001.jpg"));
    folder.ids(&format!("{root}/annotations/training/ADE_train_00000001.png"), &[0, 1, 150]);
    let train = open(&folder, "train");
    assert_eq!((folder.source().layout(), train.labels.names.len()), (Kind::Ade20k, 150));
    assert_eq!(train.read(0).unwrap().labels, map(&[255, 0, 149]));
    // TensorFlow's numbering has 0 as a class, and ignores it.
    for source in [Source { labels: Some("ade20k".into()), ..folder.source() }, folder.source()] {
        let train = Dataset::open_for(&source, "training", &Labels::ade20k()).unwrap();
        assert_eq!(train.labels.names.len(), 151);
        assert_eq!(train.read(0).unwrap().labels, map(&[255, 1, 150]));
    }
    folder.ids(&format!("{root}/annotations/training/ADE_train_00000001.png"), &[151]);
    assert_says(&error(&folder, "train"), &["id 151"]);
}

#[test]
fn a_folder_with_annotations_is_not_yet_ade20k() {
    let folder = Folder::new();
    folder.pair("train", "a", &[0]).write("annotations/all.json", "{}");
    assert_eq!(folder.source().layout(), Kind::Folder);
    assert_eq!(open(&folder, "train").len(), 1);
}

#[test]
fn a_layout_that_is_said_has_to_be_there() {
    let folder = Folder::new();
    folder.pair("train", "a", &[0]);
    for (kind, said) in [(Kind::Voc, "JPEGImages"), (Kind::Cityscapes, "leftImg8bit"), (Kind::Ade20k, "annotations")] {
        let source = Source { kind: Some(kind), ..folder.source() };
        assert_says(&Dataset::open(&source, "train").unwrap_err().to_string(), &[said]);
    }
}

#[test]
fn as_many_classes_as_there_are_values_are_too_many() {
    let folder = Folder::new();
    folder.pair("train", "a", &[0]);
    folder.write("labels.txt", (0..256).map(|i| format!("{i}\n")).collect::<String>());
    assert_says(&error(&folder, "train"), &["256 classes", "at most 255"]);
    folder.write("labels.txt", (0..255).map(|i| format!("{i}\n")).collect::<String>());
    folder.ids("labels/train/a.png", &[254, 255]);
    assert_eq!(open(&folder, "train").read(0).unwrap().labels, map(&[254, 255]));
}

#[test]
fn a_check_counts_ids_and_sizes_and_lists_all_that_is_wrong() {
    let folder = Folder::new();
    folder.pair("train", "a", &[0, 1, 1, 255]).pair("train", "b", &[1]).pair("val", "c", &[1, 0]);
    folder.write("labels.txt", "sky\nroad");
    let read = std::sync::atomic::AtomicUsize::new(0);
    let count = || {
        read.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    let found = check(&folder.source(), &[], &count).unwrap();
    assert_eq!((found.faults(), read.into_inner(), found.splits.len()), (0, 3, 2));
    let train = &found.splits[0];
    assert_eq!((train.split.as_str(), train.images), ("train", 2));
    assert_eq!(train.sizes, [SizeCount { height: 4, width: 6, images: 2 }]);
    let ids: Vec<_> = train.ids.iter().map(|id| (id.id, id.class, id.name.as_str(), id.images, id.pixels)).collect();
    assert_eq!(ids, [(0, Some(0), "sky", 1, 1), (1, Some(1), "road", 2, 26), (255, None, "ignored", 1, 21)]);
    assert_eq!(train.ids[1].share, 26.0 / 48.0);

    folder.pair("train", "d", &[7]).plain("images/train/lonely.png").write("labels/train/b.png", "x");
    let found = check(&folder.source(), &["train".into()], &|| ()).unwrap();
    let faults = &found.splits[0].faults;
    assert_eq!((found.splits.len(), faults.len()), (1, 3));
    for (fault, said) in faults.iter().zip(["lonely.png", "b.png", "id 7"]) {
        assert_says(fault, &[said]);
    }
    assert_eq!((found.splits[0].ids[2].id, found.splits[0].ids[2].name.as_str()), (7, "unknown"));
    assert_says(&check(&folder.source(), &["tran".into()], &|| ()).unwrap_err().to_string(), &["did you mean train?"]);
    fs::create_dir_all(folder.path("images/empty/x")).unwrap();
    let found = check(&folder.source(), &[], &|| ()).unwrap();
    assert_says(&found.splits[0].faults[0], &["labels/empty", "does not exist"]);
}

/// Without names, one label map cannot be read: the classes are those of the others.
#[test]
fn a_check_without_names_counts_the_ids_of_all_splits() {
    let folder = Folder::new();
    folder.pair("train", "a", &[0]).pair("val", "c", &[5]).pair("val", "d", &[6]);
    folder.write("labels/val/d.png", "x");
    let found = check(&folder.source(), &[], &|| ()).unwrap();
    assert_eq!((found.labels.names.len(), found.faults()), (6, 1));
}

#[test]
fn colours_become_ids_and_ids_colours() {
    let folder = Folder::new();
    let labels = Labels::camvid();
    let ids = map(&[0, 1, 4, 10, 11]);
    folder.labels("ids.png", &ids);
    let to_colors = Conversion::IdsToColors(labels.clone());
    folder.write("colors.png", to_colors.convert(&folder.path("ids.png")).unwrap());
    let picture = image::open(folder.path("colors.png")).unwrap().into_rgb8();
    let colors: Vec<[u8; 3]> = picture.pixels().take(5).map(|pixel| pixel.0).collect();
    assert_eq!(colors, [[128, 128, 128], [128, 0, 0], [60, 40, 222], [0, 128, 192], [0, 0, 0]]);
    let to_ids = Conversion::ColorsToIds(labels.clone());
    folder.write("back.png", to_ids.convert(&folder.path("colors.png")).unwrap());
    assert_eq!(LabelFile::open(&folder.path("back.png")).unwrap().read().unwrap(), ids);
    // What is written is an indexed PNG in the same colours.
    folder.write("again.png", to_ids.convert(&folder.path("back.png")).unwrap());
    assert_eq!(LabelFile::open(&folder.path("again.png")).unwrap().read().unwrap(), ids);

    let fails = |conversion: &Conversion, name: &str, said: &[&str]| {
        assert_says(&conversion.convert(&folder.path(name)).unwrap_err().to_string(), said);
    };
    let mut wrong = picture.clone();
    wrong.put_pixel(3, 2, Rgb([129, 2, 1]));
    folder.image("wrong.png", &wrong);
    fails(&to_ids, "wrong.png", &["wrong.png", "column 3, row 2", "#810201", "building, #800000"]);
    fails(&to_ids, "ids.png", &["grey"]);
    fails(&to_colors, "colors.png", &["RGB"]);
    folder.ids("more.png", &[0, 12]);
    fails(&to_colors, "more.png", &["id 12 at column 1, row 0", "camvid"]);
    // Two classes of ADE20K have one colour.
    let shared = Rgb(Labels::ade20k_150().palette[6]);
    let road = Labels::ade20k_150().palette.iter().filter(|color| **color == shared.0).count();
    folder.image("ade.png", &RgbImage::from_pixel(2, 2, shared));
    let converted = Conversion::ColorsToIds(Labels::ade20k_150()).convert(&folder.path("ade.png"));
    assert_eq!(converted.is_err(), road > 1);
    let mut same = labels.clone();
    same.palette[3] = same.palette[1];
    fails(&Conversion::ColorsToIds(same), "colors.png", &["building and for road"]);
}

#[test]
fn cityscapes_numberings_become_each_other() {
    let folder = Folder::new();
    folder.ids("a.png", &[0, 7, 33, 4, 24]);
    let read = |name: &str| LabelFile::open(&folder.path(name)).unwrap().read().unwrap();
    let convert = |conversion: Conversion, from: &str| conversion.convert(&folder.path(from));
    folder.write("train.png", convert(Conversion::LabelIdsToTrainIds, "a.png").unwrap());
    assert_eq!(read("train.png"), map(&[255, 0, 18, 255, 11]));
    folder.write("back.png", convert(Conversion::TrainIdsToLabelIds, "train.png").unwrap());
    assert_eq!(read("back.png"), map(&[0, 7, 33, 0, 24]));
    folder.ids("b.png", &[19]).ids("c.png", &[34]);
    assert_says(&convert(Conversion::TrainIdsToLabelIds, "b.png").unwrap_err().to_string(), &["id 19", "0 to 18"]);
    assert_says(&convert(Conversion::LabelIdsToTrainIds, "c.png").unwrap_err().to_string(), &["id 34", "0 to 33"]);
}
