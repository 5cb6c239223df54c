//! Tests of models by name, from the command line: downloading from a server that imitates the Hub, converting,
//! interrupting, listing, verifying, removing.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

#[path = "support/hub.rs"]
mod hub;
mod support;
#[path = "support/torch_file.rs"]
mod torch_file;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use candle_deeplab::Precision;
use candle_deeplab::exec::Isa;
use flate2::Compression;
use flate2::write::GzEncoder;
use hub::{How, Server, TOKEN};
use serde_json::{Value, json};
use support::shared::{kept, shared};
use tempfile::TempDir;

/// A server, and a machine with an empty cache.
struct World {
    server: Server,
    home: TempDir,
}

impl World {
    fn new() -> Self {
        Self { server: Server::start(), home: tempfile::tempdir().unwrap() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_candle-deeplab"));
        for (name, _) in std::env::vars() {
            if name.starts_with("HF_") || name.to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command.args(args).env("HF_HOME", self.home.path()).env("HF_ENDPOINT", &self.server.hub);
        command.env_remove("CANDLE_DEEPLAB_NAMESPACE");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed and print nothing on standard error. Returns its output.
    fn good(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must succeed, and parses its JSON.
    fn json(&self, args: &[&str]) -> Value {
        let text = self.good(&[args, &["--json"]].concat());
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Runs a command that must fail with an exit code. Returns its message, with one line per failure.
    fn bad(&self, code: i32, args: &[&str]) -> String {
        failed(&self.run(args), code)
    }

    /// Checks that the cache is intact and contains this number of models.
    fn verified(&self, models: usize) {
        let found = self.json(&["cache", "verify"]);
        let found = found["models"].as_array().unwrap();
        assert_eq!(found.len(), models, "{found:?}");
        assert!(found.iter().all(|model| model["bad"] == serde_json::json!([]) && model["good"] != 0), "{found:?}");
    }

    /// Serves TensorFlow's tarball of the narrow Xception-65 at an author's address, which is returned.
    fn tarball(&self) -> String {
        let mut tar = tar::Builder::new(GzEncoder::new(vec![], Compression::fast()));
        for name in ["model.ckpt.index", "frozen_inference_graph.pb", "model.ckpt.data-00000-of-00001"] {
            tar.append_path_with_name(kept("xception65_narrow").join(name), format!("narrow/{name}")).unwrap();
        }
        self.server.author("narrow_2018_01_04.tar.gz", &tar.into_inner().unwrap().finish().unwrap())
    }

    /// A PyTorch file of transformers' MobileNetV2, with hash weights.
    fn torch_file(&self) -> Option<Vec<u8>> {
        let names = shared("reference/torch/hf_mobilenetv2_os8_voc/names.json")?;
        let path = self.home.path().join("checkpoint.pth");
        torch_file::write(&names, &path);
        let content = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        Some(content)
    }

    fn downloads(&self) -> usize {
        let whole = |request: &hub::Request| request.headers.get("range").is_none_or(|range| range != "bytes=0-0");
        self.server.requests().iter().filter(|request| request.on_cdn && whole(request)).count()
    }
}

fn failed(output: &Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.starts_with("error: ") && !said.contains("panicked"), "{said}");
    said
}

fn photo(world: &World) -> String {
    let path = world.home.path().join("photo.png");
    image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8 * 4, y as u8 * 5, 99])).save(&path).unwrap();
    path.display().to_string()
}

// ---- foreign files, on the fly ----

#[test]
fn a_tarball_is_fetched_and_converted_once() {
    let world = World::new();
    let (url, image) = (world.tarball(), photo(&world));
    let out = world.home.path().join("out.png").display().to_string();
    for round in 0..2 {
        let answer = world.json(&["segment", &image, "--model", &url, "-o", &out, "--force"]);
        assert_eq!((&answer["width"], &answer["height"]), (&64.into(), &48.into()));
        assert_eq!(world.downloads(), 1, "round {round}");
    }
    let listed = world.json(&["cache", "list"]);
    let model = &listed["models"][0];
    assert_eq!(model["converted"]["source"], url.as_str());
    assert!(model["converted"]["converter"].as_str().unwrap().starts_with("weights-convert "));
    let dir = PathBuf::from(model["path"].as_str().unwrap());
    let names = names_in(&dir);
    assert!(["config.json", "manifest.json", "model.safetensors"].iter().all(|name| names.contains(&(*name).into())));
    assert!(!names.iter().any(|name| name.contains("ckpt") || name.ends_with(".pb")), "{names:?}");
    // Only the lock is left of the download.
    assert_eq!(names_in(&world.home.path().join("assets/candle-deeplab/downloads")).len(), 1);
    world.verified(1);
    // The converter makes the same network from the graph itself.
    let direct = world.home.path().join("direct");
    let graph = kept("xception65_narrow").join("frozen_inference_graph.pb");
    weights_convert::convert(&graph, &direct, &Default::default(), false).unwrap();
    for file in ["config.json", "model.safetensors"] {
        assert_eq!(std::fs::read(dir.join(file)).unwrap(), std::fs::read(direct.join(file)).unwrap());
    }
    let info = world.good(&["info", &url, "--layers"]);
    assert!(info.contains("DeepLabv3+ xception") && info.contains("aspp.branch1.depthwise"), "{info}");
    assert!(info.contains("align corners  yes") && info.contains(&format!("converted from {url}")), "{info}");
}

#[test]
fn a_pytorch_file_is_converted_from_an_address_and_from_the_hub() {
    let world = World::new();
    let Some(content) = world.torch_file() else { return };
    let url = world.server.author("deeplab.pth", &content);
    // transformers' own config.json is not a recipe, but says which classes the weights have.
    let things: BTreeMap<String, String> = (0..21).map(|class| (class.to_string(), format!("Thing {class}"))).collect();
    let says = json!({"model_type": "mobilenet_v2", "output_stride": 16, "id2label": things}).to_string();
    let pixels = json!({"crop_size": 257, "image_mean": 0.25}).to_string();
    let files: &[(&str, &[u8])] = &[
        ("config.json", says.as_bytes()),
        ("preprocessor_config.json", pixels.as_bytes()),
        ("pytorch_model.bin", &content),
    ];
    world.server.put("google/like_deeplab", files);
    let mut weights = vec![];
    for name in [url.as_str(), "google/like_deeplab", "google/like_deeplab:pytorch_model.bin"] {
        let pulled = world.json(&["pull", name]);
        let dir = PathBuf::from(pulled["dir"].as_str().unwrap());
        weights.push(std::fs::read(dir.join("model.safetensors")).unwrap());
        let config = &world.json(&["info", name])["here"]["config"];
        assert_eq!(config["provenance"]["family"], "transformers");
        if name == url {
            assert_eq!(config["network"]["output_stride"], 8);
            continue;
        }
        assert_eq!(
            (&config["network"]["output_stride"], &config["labels"]["names"][20]),
            (&16.into(), &"Thing 20".into())
        );
        assert_eq!(config["preprocessing"]["size"], json!({"rule": "fit", "height": 257, "width": 257}));
        assert_eq!(config["preprocessing"]["mean"], json!([63.75, 63.75, 63.75]));
    }
    assert!(weights.iter().all(|other| *other == weights[0]));
    // Two converted models and the repo.
    world.verified(3);
    // The branch moves, and `pull` notices although the weights are the same.
    let says = json!({"model_type": "mobilenet_v2", "output_stride": 32}).to_string();
    world.server.put("google/like_deeplab", &[("config.json", says.as_bytes()), ("pytorch_model.bin", &content)]);
    world.json(&["pull", "google/like_deeplab"]);
    let config = &world.json(&["info", "google/like_deeplab"])["here"]["config"];
    assert_eq!((&config["network"]["output_stride"], &config["labels"]["dataset"]), (&32.into(), &"voc".into()));
    world.server.put("google/like_deeplab", &[("config.json", b"{}")]);
    assert!(world.bad(2, &["pull", "google/like_deeplab"]).contains("name the file of weights"));
}

#[test]
fn a_foreign_file_here_is_a_model_too() {
    let world = World::new();
    let graph = kept("xception65_narrow").join("frozen_inference_graph.pb").display().to_string();
    let bench = ["bench", "--size", "65x65", "--runs", "1", "--model", &graph];
    assert_eq!(world.json(&bench)["size"], serde_json::json!([65, 65]));
    world.verified(1);
    let folder = kept("xception65_narrow").display().to_string();
    assert!(world.bad(2, &["pull", &folder]).contains("weights-convert convert"));
}

// ---- a namespace, and the way there ----

#[test]
fn what_is_published_is_found_by_its_name() {
    let world = World::new();
    let url = world.tarball();
    let dir = world.json(&["pull", &url])["dir"].as_str().unwrap().to_owned();
    let id = "deeplabv3plus-xception65-voc";
    let publish =
        world.command(&["publish", &dir, &format!("org/{id}"), "--json"]).env("HF_TOKEN", TOKEN).output().unwrap();
    assert!(publish.status.success(), "{publish:?}");
    assert!(world.bad(2, &["publish", &dir, "org/x"]).contains("HF_TOKEN"));
    // On another machine.
    let other = World { server: world.server, home: tempfile::tempdir().unwrap() };
    let pulled = other.json(&["pull", "xception65-voc", "--namespace", "org"]);
    assert_eq!(pulled["source"], format!("org/{id}@main"));
    other.verified_in("org", 1);
    let listed = other.json(&["models", "--cached", "--namespace", "org"]);
    assert_eq!(listed["models"].as_array().unwrap().len(), 1);
    assert_eq!(listed["models"][0]["id"], id);
    // No requests from here on.
    other.server.reset();
    let info = other.json(&["info", id, "--namespace", "org", "--size", "65x65"]);
    assert_eq!(info["here"]["summary"]["input"], serde_json::json!([65, 65]));
    assert_eq!(other.server.requests().len(), 0);
    let removed = other.json(&["cache", "remove", id, "--namespace", "org"]);
    assert_eq!(removed["removed"][0]["name"], format!("org/{id}"));
    other.verified_in("org", 0);
}

impl World {
    fn verified_in(&self, namespace: &str, models: usize) {
        let found = self.json(&["cache", "verify", "--namespace", namespace]);
        assert_eq!(found["models"].as_array().unwrap().len(), models, "{found}");
    }
}

// ---- how it ends ----

#[test]
fn the_exit_code_says_who_is_to_blame() {
    let world = World::new();
    let url = world.tarball();
    assert!(world.bad(2, &["pull", "no-such-model"]).contains("candle-deeplab models"));
    assert!(world.bad(2, &["info", "org/name"]).contains("candle-deeplab pull org/name"));
    assert!(world.bad(2, &["models", "--dataset", "vocc"]).contains("cityscapes"));
    assert!(world.bad(3, &["pull", "org/missing"]).contains("check the name"));
    assert!(world.bad(3, &["pull", &format!("{}/missing.pth", world.server.cdn)]).contains("404"));
    world.server.change("org/gated", |repo| repo.gated = true);
    assert!(world.bad(3, &["pull", "org/gated"]).contains("accept its terms"));
    let offline = world.command(&["pull", &url]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(failed(&offline, 3).contains("HF_HUB_OFFLINE"));
    let no_model = world.server.author("notes.txt", b"these are no weights at all");
    assert!(world.bad(2, &["pull", &no_model]).contains("cannot convert"));
    assert!(world.bad(2, &["cache", "remove", "xception65-voc"]).contains("no such model in the cache"));
    // One of two fails; the other is pulled.
    let said = world.bad(1, &["pull", "org/missing", &url]);
    assert_eq!(said.lines().count(), 1, "{said}");
    world.verified(1);
}

#[test]
fn nothing_is_said_in_vain() {
    let world = World::new();
    let url = world.tarball();
    assert_eq!(world.good(&["pull", &url, "--quiet"]), "");
    assert_eq!(world.good(&["cache", "verify", "-q"]), "");
    let doctor = world.command(&["doctor"]).env("HF_TOKEN", TOKEN).output().unwrap();
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.status.success() && said.contains("from HF_TOKEN") && said.contains("the Hub answers"), "{said}");
    assert!(!said.contains(TOKEN), "{said}");
    assert!(said.contains(&world.server.hub) && said.contains("1, "), "{said}");
    let bf16 = said.lines().find_map(|line| line.strip_prefix("bf16 ")).unwrap().trim();
    match Isa::detect_for(Precision::Bf16) {
        Ok(isa) => assert_eq!(bf16, format!("works (`--dtype bf16`, with {isa})")),
        Err(_) => assert!(bf16.contains("lacks") && bf16.contains("AVX512_BF16"), "{bf16}"),
    }
}

#[test]
fn a_bad_cache_is_told_and_mended() {
    let world = World::new();
    let url = world.tarball();
    let dir = PathBuf::from(world.json(&["pull", &url])["dir"].as_str().unwrap());
    let mut weights = std::fs::read(dir.join("model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    std::fs::write(dir.join("model.safetensors"), weights).unwrap();
    let verify = world.run(&["cache", "verify"]);
    assert_eq!(verify.status.code(), Some(1), "{verify:?}");
    let said = String::from_utf8(verify.stdout).unwrap();
    assert!(said.contains(" good, 1 bad\n") && said.contains("its content has changed"), "{said}");
    world.good(&["cache", "remove", &url]);
    assert!(!dir.exists());
    world.good(&["pull", &url]);
    world.verified(1);
}

#[test]
fn a_flipped_bit_is_neither_good_nor_used() {
    let world = World::new();
    let (url, image) = (world.tarball(), photo(&world));
    let dir = PathBuf::from(world.json(&["pull", &url])["dir"].as_str().unwrap());
    let [config, weights] = ["config.json", "model.safetensors"].map(|name| std::fs::read(dir.join(name)).unwrap());
    world.server.put("org/narrow", &[("config.json", &config), ("model.safetensors", &weights)]);
    let dir = PathBuf::from(world.json(&["pull", "org/narrow"])["dir"].as_str().unwrap());
    let out = world.home.path().join("out.png").display().to_string();
    let segment = ["segment", &image, "--model", "org/narrow", "-o", &out, "--force"];
    for args in [&["pull", "org/narrow"][..], &segment] {
        let mut flipped = weights.clone();
        flipped[weights.len() / 2] ^= 1;
        std::fs::write(dir.join("model.safetensors"), &flipped).unwrap();
        let offline = world.command(args).env("HF_HUB_OFFLINE", "1").output().unwrap();
        let said = failed(&offline, 3);
        assert!(said.contains("model.safetensors: the file is damaged") && said.contains("unset it"), "{said}");
        assert!(!PathBuf::from(&out).exists());
        let online = world.run(args);
        let said = String::from_utf8(online.stderr).unwrap();
        assert!(online.status.success() && said.starts_with("damaged, and not used: "), "{said}");
        assert_eq!((said.lines().count(), std::fs::read(dir.join("model.safetensors")).unwrap() == weights), (1, true));
        world.good(args);
    }
    world.verified(2);
    let page = b"<!DOCTYPE html><html>Not found</html>";
    world.server.put("org/narrow", &[("config.json", &config), ("model.safetensors", page)]);
    let said = world.bad(2, &["pull", "org/narrow"]);
    assert!(said.contains("model.safetensors: it is a web page, not a safetensors file"), "{said}");
}

#[test]
fn an_archive_without_the_graph_says_what_it_has() {
    let world = World::new();
    let mut tar = tar::Builder::new(GzEncoder::new(vec![], Compression::fast()));
    tar.append_path_with_name(kept("README.md"), "model/README.md").unwrap();
    let url = world.server.author("other.tar.gz", &tar.into_inner().unwrap().finish().unwrap());
    let said = world.bad(2, &["pull", &url]);
    assert!(said.contains("it has no `frozen_inference_graph.pb`, but README.md"), "{said}");
    let url = world.server.author("cut.tar.gz", b"\x1f\x8b\x08\x00cut");
    assert!(world.bad(2, &["pull", &url]).contains("the archive is damaged"));
}

// ---- at the same time, and interrupted ----

#[test]
fn two_processes_at_once_fetch_and_convert_once() {
    let world = World::new();
    let url = world.tarball();
    world.server.fault("GET cdn", 2, How::Slow(100_000, 30));
    let pull =
        || world.command(&["pull", &url, "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let outputs: Vec<Output> = [pull(), pull()].map(|child| child.wait_with_output().unwrap()).into();
    assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
    assert_eq!(outputs[0].stdout, outputs[1].stdout);
    assert_eq!(world.downloads(), 1);
    world.verified(1);
}

/// Kills a process at different moments while it downloads or converts, and lets the next one finish.
#[test]
fn whatever_is_killed_the_next_run_completes() {
    let rounds = std::env::var("KILL_ROUNDS").map_or(4, |rounds| rounds.parse().unwrap());
    let (mut killed, mut seed) = (0, 20_180_104_u64);
    let world = World::new();
    let url = world.tarball();
    let dir = PathBuf::from(world.json(&["pull", &url])["dir"].as_str().unwrap());
    let files = ["config.json", "model.safetensors"].map(|name| (name, std::fs::read(dir.join(name)).unwrap()));
    world.server.put("org/narrow", &files.each_ref().map(|(name, content)| (*name, &content[..])));
    for round in 0..rounds {
        // Alternates between an author's archive, which is converted, and a repo in our format.
        let name = if round % 2 == 0 { url.as_str() } else { "org/narrow" };
        world.run(&["cache", "remove", &url]);
        world.run(&["cache", "remove", "org/narrow"]);
        world.server.reset();
        world.server.fault("GET cdn", 3, How::Slow(if round % 2 == 0 { 60_000 } else { 20_000 }, 20));
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis(20 + (seed >> 33) % 600);
        let mut child = world.command(&["pull", name]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment);
        killed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let left = world.left_over();
        world.server.reset();
        world.good(&["pull", name]);
        eprintln!("{name}: killed after {moment:?}; it left {left:?}; {} request(s) then", world.downloads());
        world.verified(1);
        assert_eq!(world.left_over(), [""; 0]);
    }
    assert!(killed > 0, "every process was done before it was to be killed");
}

impl World {
    /// The files that an interrupted process left.
    fn left_over(&self) -> Vec<String> {
        let (mut found, mut folders) = (vec![], vec![self.home.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
                let name = entry.file_name().into_string().unwrap();
                if name.ends_with(".incomplete") || name.ends_with(".work") {
                    found.push(name);
                } else if entry.path().is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        found
    }
}

fn names_in(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
