//! Event files, as TensorBoard reads them.
//!
//! A file is a row of TFRecords (`tensorflow/core/lib/io/record_writer.h`), each of which is a message `Event`
//! (`tensorflow/core/util/event.proto`, `tensorflow/core/framework/summary.proto`). Of the messages, only the fields that
//! are written here are declared.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use prost::{Message, Oneof};

use crate::error::{Error, Result};

/// Writes an event file. Each event is on its way to the disk when the call returns.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Begins an event file in a folder, which is created if need be. TensorBoard reads all files of a folder in the
    /// order of their names, which begin with the time.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder or file cannot be written.
    pub fn create(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let mut time = now().as_millis();
        let (path, file) = loop {
            let name = format!("events.out.tfevents.{:010}.{:03}.candle-deeplab", time / 1000, time % 1000);
            let path = dir.join(name);
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => time += 1,
                Err(error) => return Err(Error::io(&path)(error)),
            }
        };
        let mut writer = Self { path, file };
        writer.event(0, What::FileVersion("brain.Event:2".to_owned()))?;
        Ok(writer)
    }

    /// Begins an event file that continues others: TensorBoard forgets their events from `step` on.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn resume(dir: impl AsRef<Path>, step: usize) -> Result<Self> {
        /// `SessionLog.SessionStatus.START`.
        const START: i32 = 1;
        let mut writer = Self::create(dir)?;
        writer.event(step, What::SessionLog(SessionLog { status: START }))?;
        Ok(writer)
    }

    /// Writes a number.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written.
    pub fn scalar(&mut self, tag: &str, step: usize, value: f64) -> Result<()> {
        self.summary(tag, step, None, Content::SimpleValue(value as f32))
    }

    /// Writes a picture, as PNG.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written.
    pub fn image(&mut self, tag: &str, step: usize, image: &RgbImage) -> Result<()> {
        let mut png = Vec::new();
        PngEncoder::new(&mut png)
            .write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8)
            .map_err(|error| Error::io(&self.path)(io::Error::other(error)))?;
        let side = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
        let (height, width) = (side(image.height()), side(image.width()));
        /// RGB without alpha.
        const RGB: i32 = 3;
        self.summary(tag, step, None, Content::Image(Image { height, width, colorspace: RGB, encoded: png }))
    }

    /// Writes a text in Markdown.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written.
    pub fn text(&mut self, tag: &str, step: usize, text: &str) -> Result<()> {
        /// `DataType.DT_STRING`.
        const STRING: i32 = 7;
        let plugin = Metadata { plugin: Some(Plugin { name: "text".to_owned() }) };
        let tensor = TensorMessage {
            dtype: STRING,
            shape: Some(Shape { dims: vec![Dim { size: 1 }] }),
            strings: vec![text.as_bytes().to_vec()],
        };
        self.summary(tag, step, Some(plugin), Content::Tensor(tensor))
    }

    fn summary(&mut self, tag: &str, step: usize, metadata: Option<Metadata>, content: Content) -> Result<()> {
        let value = SummaryValue { tag: tag.to_owned(), metadata, content: Some(content) };
        self.event(step, What::Summary(Summary { values: vec![value] }))
    }

    fn event(&mut self, step: usize, what: What) -> Result<()> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let event = Event { wall_time: now().as_secs_f64(), step, what: Some(what) };
        // One call writes all of it, so that a run that is killed leaves at most one broken record, the last.
        self.file.write_all(&record(&event.encode_to_vec())).map_err(Error::io(&self.path))
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A TFRecord: the length, its checksum, the data, and its checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u64).to_le_bytes();
    [&len[..], &masked_crc(&len), data, &masked_crc(data)].concat()
}

/// CRC-32C, turned and moved, so that a checksum of data that holds checksums is not a bad one
/// (`tensorflow/core/lib/hash/crc32c.h`).
fn masked_crc(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
    #[prost(oneof = "Content", tags = "2, 4, 8")]
    content: Option<Content>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Content {
    #[prost(float, tag = "2")]
    SimpleValue(f32),
    #[prost(message, tag = "4")]
    Image(Image),
    #[prost(message, tag = "8")]
    Tensor(TensorMessage),
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin: Option<Plugin>,
}

#[derive(Clone, PartialEq, Message)]
struct Plugin {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct TensorMessage {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    strings: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "2")]
    dims: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Splits a file into its records, and checks their checksums.
    fn events(path: &Path) -> Vec<Event> {
        let bytes = std::fs::read(path).unwrap();
        let (mut rest, mut events) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let len = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let data = &rest[12..12 + len];
            assert_eq!(rest[8..12], masked_crc(&rest[..8]));
            assert_eq!(rest[12 + len..16 + len], masked_crc(data));
            events.push(Event::decode(data).unwrap());
            rest = &rest[16 + len..];
        }
        events
    }

    #[test]
    fn a_file_begins_as_every_event_file_does() {
        let dir = tempfile::tempdir().unwrap();
        let writer = EventWriter::create(dir.path().join("tensorboard")).unwrap();
        let bytes = std::fs::read(&writer.path).unwrap();
        // The length 24 and its checksum, and the field of the time.
        assert_eq!(bytes[..13], [0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22, 0x09]);
        assert_eq!(events(&writer.path)[0].what, Some(What::FileVersion("brain.Event:2".to_owned())));
    }

    #[test]
    fn files_of_the_same_moment_have_their_own_names_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..5).map(|_| EventWriter::create(dir.path()).unwrap().path).collect();
        assert!(paths.is_sorted());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 5);
    }

    #[test]
    fn events_say_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::resume(dir.path(), 7).unwrap();
        writer.scalar("loss", 7, 0.25).unwrap();
        writer.image("picture", 8, &RgbImage::from_pixel(3, 2, image::Rgb([1, 2, 3]))).unwrap();
        writer.text("recipe", 0, "`seed = 1`").unwrap();
        let events = events(&writer.path);
        assert_eq!(events[1].step, 7);
        assert_eq!(events[1].what, Some(What::SessionLog(SessionLog { status: 1 })));
        let content = |event: &Event| match &event.what {
            Some(What::Summary(summary)) => summary.values[0].content.clone().unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(content(&events[2]), Content::SimpleValue(0.25));
        let Content::Image(image) = content(&events[3]) else { panic!() };
        assert_eq!((image.width, image.height), (3, 2));
        let decoded = image::load_from_memory(&image.encoded).unwrap().into_rgb8();
        assert_eq!(decoded.get_pixel(2, 1).0, [1, 2, 3]);
        assert!(matches!(content(&events[4]), Content::Tensor(tensor) if tensor.strings == [b"`seed = 1`"]));
    }

    /// Needs the package `tensorboard`, for `python3` or the interpreter that `PYTHON` names.
    #[test]
    fn tensorboard_reads_what_is_written() {
        let python = std::env::var("PYTHON").unwrap_or("python3".into());
        if !Command::new(&python).args(["-c", "import tensorboard"]).output().is_ok_and(|out| out.status.success()) {
            return println!("skipped: `{python}` has no tensorboard");
        }
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path()).unwrap();
        for step in 1..=5 {
            writer.scalar("train/loss", step, 1.0 / step as f64).unwrap();
        }
        for step in [2, 5] {
            writer.image("validation/picture", step, &RgbImage::from_pixel(4, 3, image::Rgb([9, 8, 7]))).unwrap();
        }
        writer.text("recipe", 0, "seed = 1").unwrap();
        // The run was resumed after step 3.
        let mut writer = EventWriter::resume(dir.path(), 4).unwrap();
        writer.scalar("train/loss", 4, 8.0).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/read_events.py");
        let output = Command::new(python).arg(script).arg(dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let third = f64::from(1.0f32 / 3.0);
        assert_eq!(read["scalars"]["train/loss"], serde_json::json!([[1, 1.0], [2, 0.5], [3, third], [4, 8.0]]));
        // TensorBoard forgets step 5.
        assert_eq!(read["images"]["validation/picture"], serde_json::json!([[2, 4, 3]]));
        assert_eq!(read["texts"]["recipe"], serde_json::json!([[0, "seed = 1"]]));
    }
}
