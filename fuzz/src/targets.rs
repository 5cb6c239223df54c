//! One function a reader: any bytes in, an error or tensors out. A panic, a hang or unbounded memory is a fault.
//!
//! Where a format has checksums, the fuzzer's bytes are what the checksum covers: it would find no other way past it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use candle_deeplab_hub::Name;
use candle_deeplab_hub::hub::{Hub, LowestRate, RepoId, Settings, Token};
use weights_convert::families::{self, Options};
use weights_convert::{Checkpoint, Result};

use super::read_support::bundle::index_of_block;
use super::read_support::proto::constant;
use super::read_support::{torch, with_file};

/// Larger tensors are listed but not read: their memory is the caller's wish, not a fault.
const READ: usize = 1 << 20;

/// Opens a file of these bytes and reads all of it.
fn open(name: &str, bytes: &[u8]) {
    let _ = with_file(name, bytes, |path| read(&Checkpoint::open(path)?));
}

fn read(checkpoint: &Checkpoint) -> Result<()> {
    for (name, info) in checkpoint.tensors() {
        if info.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).is_some_and(|n| n <= READ)
            && let Ok(tensor) = checkpoint.read(name)
        {
            let _ = tensor.to_f32();
        }
    }
    checkpoint.check()
}

/// The description of a PyTorch file, in both of its wrappings.
pub fn pickle(data: &[u8]) {
    open("m.pth", &torch::zip_of(data, &torch::numbers()));
    open("m.pth", &torch::legacy(data, &[("0", 6, &[0; 24])]));
}

/// A PyTorch file: the archive around the description.
pub fn torch_zip(data: &[u8]) {
    open("m.pth", data);
}

/// A PyTorch file of the legacy format.
pub fn torch_legacy(data: &[u8]) {
    open("m.pth.tar", data);
}

/// The entries of a TensorFlow checkpoint's index, above a shard of 64 bytes.
pub fn tf_index(data: &[u8]) {
    let _ = with_file("model.ckpt.index", &index_of_block(data), |index| {
        let shard = index.with_file_name("model.ckpt.data-00000-of-00001");
        if std::fs::write(shard, [7; 64]).is_ok() {
            return read(&Checkpoint::open(index)?);
        }
        Ok(())
    });
}

/// A frozen TensorFlow graph.
pub fn graphdef(data: &[u8]) {
    open("g.pb", data);
}

/// A TFLite model.
pub fn tflite(data: &[u8]) {
    open("m.tflite", data);
}

/// The header of a safetensors file, above 64 bytes of tensors.
pub fn safetensors(data: &[u8]) {
    open("m.safetensors", &[&(data.len() as u64).to_le_bytes()[..], data, &[7; 64]].concat());
}

/// A recipe, and the network it describes.
pub fn config(data: &[u8]) {
    with_file("config.json", data, |path| {
        if let Ok(config) = candle_deeplab::Config::from_file(path)
            && let Ok(graph) = candle_deeplab::arch::graph(&config.network)
        {
            let (height, width) = config.preprocessing.size.network_size();
            let _ = graph.summary(height, width);
        }
    });
}

/// The names and shapes in a checkpoint, told from those of other networks: lines of a name and its dimensions.
pub fn families(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let graph: Vec<u8> = text
        .lines()
        .flat_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let name = words.next().unwrap_or_default();
            let dims: Vec<i64> = words.filter_map(|word| word.parse().ok()).collect();
            constant(name, 1, &dims, &[])
        })
        .collect();
    let _ =
        with_file("g.pb", &graph, |path| families::recognise(&Checkpoint::open(path)?, &Options::default()).map(drop));
}

/// The index of weights in several files, beside one of its files.
pub fn shards(data: &[u8]) {
    let _ = with_file("model.safetensors.index.json", data, |index| {
        let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  "#;
        let part = [&(header.len() as u64).to_le_bytes()[..], header, &[7; 4]].concat();
        if std::fs::write(index.with_file_name("model-00001-of-00002.safetensors"), part).is_ok() {
            return read(&Checkpoint::open(index)?);
        }
        Ok(())
    });
}

/// The two recipes of a transformers model, one after the other behind a zero byte, beside its weights.
pub fn transformers(data: &[u8]) {
    let (config, preprocessor) = data.split_at(data.iter().position(|byte| *byte == 0).unwrap_or(data.len()));
    let header = br#"{"mobilenet_v2.w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let weights = [&(header.len() as u64).to_le_bytes()[..], header, &[7; 4]].concat();
    let _ = with_file("model.safetensors", &weights, |path| {
        let folder = path.parent().unwrap_or(path);
        let preprocessor = preprocessor.get(1..).unwrap_or_default();
        let written = [("config.json", config), ("preprocessor_config.json", preprocessor)]
            .map(|(name, content)| std::fs::write(folder.join(name), content));
        if written.iter().any(Result::is_err) {
            return Ok(());
        }
        families::recognise(&Checkpoint::open(folder)?, &Options::default()).map(drop)
    });
}

/// A file of class names, and one of colours.
pub fn labels(data: &[u8]) {
    for name in ["labels.txt", "labels.json", "palette.csv"] {
        with_file(name, data, |path| {
            let _ = candle_deeplab::Labels::from_file(path);
            let _ = candle_deeplab::labels::read_palette(path);
        });
    }
}

/// What somebody calls a model. Nothing is fetched.
pub fn names(data: &[u8]) {
    if let Ok(name) = std::str::from_utf8(data) {
        let _ = Name::parse(name, "https://huggingface.co");
    }
}

/// A picture of any format, whose size is limited here so that no wish of the fuzzer takes long.
pub fn images(data: &[u8]) {
    let small = |size: &(u32, u32)| u64::from(size.0) * u64::from(size.1) <= 1 << 20;
    let reader = candle_deeplab::image::ImageReader::new(std::io::Cursor::new(data)).with_guessed_format();
    if reader.is_ok_and(|reader| reader.into_dimensions().is_ok_and(|size| small(&size))) {
        let _ = candle_deeplab::pixels::from_bytes(data, "picture");
    }
}

/// What a server sends, an answer behind the other with a byte of ones between, to the Hub's client, which asks for a file.
pub fn answers(data: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answers: Vec<Vec<u8>> = data.split(|byte| *byte == 0xff).take(8).map(<[u8]>::to_vec).collect();
    let server = thread::spawn(move || {
        for answer in answers {
            let Ok((mut client, _)) = listener.accept() else { return };
            // The request is read, so that closing the connection takes nothing of the answer away.
            let _ = client.set_read_timeout(Some(Duration::from_millis(50)));
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(&answer);
        }
    });
    let hub = Hub::new(Settings {
        endpoint: format!("http://{address}"),
        cache: dir.path().join("cache"),
        models: dir.path().join("models"),
        token: Token::new("hf_secret", "the test").ok(),
        offline: false,
        no_progress: true,
        namespace: None,
        timeout: Duration::from_millis(100),
        lowest_rate: LowestRate::default(),
        backoff: Duration::ZERO,
    });
    let repo = RepoId::new("org/name").unwrap();
    if let Ok(path) = hub.unwrap().file(&repo, "main", "config.json") {
        assert!(path.starts_with(dir.path().join("cache")), "{} is not in the cache", path.display());
    }
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(name == "cache" || name == "models", "{} was written", name.display());
    }
    // Whatever it has not been asked for.
    while !server.is_finished() {
        let _ = TcpStream::connect_timeout(&address, Duration::from_millis(50));
    }
}
