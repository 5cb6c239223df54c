//! Tests of `candle-deeplab segment` from the command line.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use candle_deeplab::Precision;
use candle_deeplab::exec::Isa;
use image::{Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

/// A complete network with narrow layers and untrained weights, for images of 129×129 pixels.
fn model() -> &'static Path {
    static MODEL: OnceLock<TempDir> = OnceLock::new();
    let convert = || {
        let dir = tempfile::tempdir().unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/xception65_narrow");
        let graph = golden.join("frozen_inference_graph.pb");
        weights_convert::convert(&graph, dir.path(), &weights_convert::Options::default(), true).unwrap();
        dir
    };
    MODEL.get_or_init(convert).path()
}

/// A folder with an image, an empty model directory, and files that are neither.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    photo(60, 40).save(dir.path().join("photo.png")).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "not an image").unwrap();
    std::fs::create_dir(dir.path().join("model")).unwrap();
    std::fs::write(dir.path().join("model/config.json"), "{}").unwrap();
    dir
}

fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 5) as u8, (y * 7) as u8, (x * y / 9) as u8]))
}

/// A folder of images, with one file that is not an image.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("in/sub")).unwrap();
    for (name, width) in [("in/a.png", 60), ("in/c.jpg", 50), ("in/sub/d.png", 300)] {
        photo(width, 40).save(dir.path().join(name)).unwrap();
    }
    std::fs::write(dir.path().join("in/b.jpg"), "not an image").unwrap();
    dir
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candle-deeplab"));
    // Far longer than any test takes, so that a hanging program fails.
    command.env("HF_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.current_dir(dir).arg("segment").args(args).timeout(Duration::from_secs(300));
    command
}

fn segment(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

fn with_model<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [args, &["--weights", model().to_str().unwrap()]].concat()
}

/// Runs a command that must succeed. Returns its standard output.
fn success(dir: &Path, args: &[&str]) -> String {
    let output = segment(dir, &with_model(args));
    assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail with exit code 2, nothing on standard output and no new file. Returns its message.
fn error(args: &[&str]) -> String {
    let dir = place();
    let before = names(dir.path());
    let output = segment(dir.path(), args);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    assert!(output.stdout.is_empty());
    assert_eq!(names(dir.path()), before);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error: "), "{said}");
    said
}

/// All names below a folder, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names = vec![];
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(path.strip_prefix(dir).unwrap().to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    names.sort();
    names
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_model_that_is_named_is_fetched() {
    let dir = place();
    let output =
        command(dir.path(), &["photo.png", "--model", "xception65-voc"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("deeplabv3_pascal_train_aug") && said.contains("HF_HUB_OFFLINE"), "{said}");
}

#[test]
fn a_model_that_is_none_is_named() {
    assert!(error(&["photo.png", "--model", "notes.txt"]).contains("cannot convert notes.txt"));
    assert!(error(&["photo.png", "--model", "nowhere"]).contains("`nowhere`"));
    // The option's old name.
    assert!(error(&["photo.png", "--weights", "nowhere"]).contains("`nowhere`"));
    // A checkpoint's folder has to be converted first.
    assert!(error(&["photo.png", "--model", "."]).contains("weights-convert convert"));
}

#[test]
fn a_model_directory_without_a_model_is_named() {
    let said = error(&["photo.png", "--model", "model"]);
    assert!(said.contains("cannot load the model in `model`") && said.contains("config.json"), "{said}");
}

#[test]
fn inputs_that_are_not_there_are_named_before_anything_is_done() {
    for (input, reason) in [("missing.jpg", "no input"), ("model", "no images"), ("*.jpg", "nothing matches")] {
        let said = error(&["photo.png", input, "--weights", "model"]);
        assert!(said.contains(input) && said.contains(reason), "{said}");
    }
}

#[test]
fn nothing_is_overwritten_unasked() {
    let dir = place();
    for (existing, args) in [
        ("photo.overlay.png", &["photo.png", "--weights", "model"][..]),
        ("photo.mask.png", &["photo.png", "--weights", "model", "--format", "json,mask"]),
        ("out.png", &["photo.png", "--weights", "model", "-o", "out.png"]),
    ] {
        std::fs::write(dir.path().join(existing), "mine").unwrap();
        let output = segment(dir.path(), args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains(existing) && said.contains("--force"), "{said}");
        assert_eq!(std::fs::read_to_string(dir.path().join(existing)).unwrap(), "mine");
    }
    success(dir.path(), &["photo.png", "--force"]);
    assert_eq!(image::open(dir.path().join("photo.overlay.png")).unwrap().width(), 60);
}

#[test]
fn the_image_is_not_overwritten_even_when_asked() {
    let said = error(&["photo.png", "--model", "model", "-o", "./photo.png", "--force"]);
    assert!(said.contains("the image itself"), "{said}");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_was_not_built_in_says_how_to_build_it() {
    let said = error(&["photo.png", "--model", "model", "--device", "cuda"]);
    assert!(said.contains("--features cuda"), "{said}");
}

#[test]
fn wrong_arguments_are_usage_errors() {
    for args in [
        &["photo.png", "--device", "gpu"][..],
        &["photo.png", "--opacity", "2"],
        &["photo.png", "--min-share", "101%"],
        &["photo.png", "--output-stride", "4"],
        &["photo.png", "--json", "--quiet"],
        &["photo.png", "--format", "jpeg"],
        &["photo.png", "--scales", "0"],
        &["photo.png", "--tile", "5"],
        &["photo.png", "--probs"],
        &["photo.png", "--format", "npy", "--legend"],
        &[],
    ] {
        error(args);
    }
}

/// If the CPU lacks the instructions, the error names them and says what to choose instead.
#[test]
fn bf16_runs_or_says_what_the_cpu_lacks() {
    let args = ["photo.png", "--dtype", "bf16", "--format", "ids", "--weights", model().to_str().unwrap()];
    if Isa::detect_for(Precision::Bf16).is_ok() {
        success(place().path(), &args[..5]);
    } else {
        let said = error(&args);
        assert!(
            said.contains("lacks") && said.contains("AVX512_BF16") && said.contains("leave `--dtype` out"),
            "{said}"
        );
        assert!(!said.contains("Executor::"), "{said}");
    }
    assert!(error(&["photo.png", "--dtype", "f16", "--weights", model().to_str().unwrap()]).contains("f16"));
}

#[test]
fn classes_that_the_model_does_not_know_are_refused_with_those_it_does() {
    for flag in ["--classes", "--cutout"] {
        let said = error(&["photo.png", flag, "Person,unicorn", "--weights", model().to_str().unwrap()]);
        assert!(said.contains("`unicorn`") && said.contains("aeroplane, bicycle"), "{said}");
    }
    let said = error(&["photo.png", "--tile", "65x65", "--overlap", "65", "--weights", model().to_str().unwrap()]);
    assert!(said.contains("overlap"), "{said}");
}

#[test]
fn an_image_becomes_a_file_of_each_format() {
    let dir = place();
    let formats = "overlay,mask,ids,color,contours,json,rle,geojson,npy";
    let args = ["photo.png", "--format", formats, "--cutout", "chair", "--legend", "-o", "out", "--json"];
    let lines = json_lines(&success(dir.path(), &args));
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["width"], &lines[0]["height"]), (&60.into(), &40.into()));
    let written: Vec<&str> =
        lines[0]["outputs"].as_array().unwrap().iter().map(|output| output["path"].as_str().unwrap()).collect();
    assert_eq!(written.len(), 10);
    let out = |suffix: &str| dir.path().join("out").join(format!("photo.{suffix}"));
    for name in ["overlay", "mask", "ids", "color", "contours", "cutout"] {
        let picture = image::open(out(&format!("{name}.png"))).unwrap();
        let has_legend = ["overlay", "color", "contours"].contains(&name);
        assert_eq!((picture.width(), picture.height() > 40), (60, has_legend), "{name}");
    }
    let ids = image::open(out("ids.png")).unwrap().into_luma8();
    assert_eq!(std::fs::read(out("npy")).unwrap()[128..], ids.as_raw()[..]);
    let json = |suffix| serde_json::from_slice::<Value>(&std::fs::read(out(suffix)).unwrap()).unwrap();
    assert_eq!(
        (json("json")["image"].as_str(), json("geojson")["type"].as_str()),
        (Some("photo.png"), Some("FeatureCollection"))
    );
    assert!(json("rle.json").is_array());
    // Besides the outputs there is the table of COCO image ids.
    assert_eq!(names(dir.path()).len(), 3 + 10 + 1);
}

#[test]
fn a_legend_is_below_the_picture_and_leaves_it_as_it_is() {
    let dir = place();
    success(dir.path(), &["photo.png", "--min-share", "0"]);
    success(dir.path(), &["photo.png", "--min-share", "0", "--legend", "-o", "legend.png"]);
    let [plain, with_legend] =
        ["photo.overlay.png", "legend.png"].map(|name| image::open(dir.path().join(name)).unwrap().into_rgb8());
    assert!(with_legend.height() > plain.height());
    assert_eq!(with_legend.as_raw()[..plain.as_raw().len()], plain.as_raw()[..]);
}

#[test]
fn a_palette_changes_colours_and_no_class() {
    let dir = place();
    let colors: String = (0..21).map(|class| format!("#{class:02x}80ff\n")).collect();
    std::fs::write(dir.path().join("palette.txt"), colors).unwrap();
    let ids = |name: &str| {
        let mut decoder = png::Decoder::new(BufReader::new(File::open(dir.path().join(name)).unwrap()));
        decoder.set_transformations(png::Transformations::IDENTITY);
        let mut reader = decoder.read_info().unwrap();
        let mut ids = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut ids).unwrap();
        (ids, reader.info().palette.clone().unwrap().to_vec())
    };
    success(dir.path(), &["photo.png", "--format", "mask", "-o", "own.png"]);
    success(dir.path(), &["photo.png", "--format", "mask", "--palette", "palette.txt", "-o", "other.png"]);
    let (own, other) = (ids("own.png"), ids("other.png"));
    assert_eq!(own.0, other.0);
    assert_eq!((&own.1[45..48], &other.1[45..48]), (&[192, 128, 128][..], &[15, 0x80, 0xff][..]));
}

#[test]
fn a_palette_that_cannot_be_used_is_said_before_anything_is_done() {
    let dir = place();
    for (palette, reason) in [("cityscapes", "19 colours for 21 classes"), ("none.txt", "none.txt")] {
        let output = segment(dir.path(), &["photo.png", "--model", model().to_str().unwrap(), "--palette", palette]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(reason), "{said}");
        assert!(!dir.path().join("photo.overlay.png").exists());
    }
}

/// Probabilities are computed for the cutout's edge, but written only on request.
#[test]
fn a_cutout_does_not_make_probabilities_of_arrays() {
    let dir = place();
    success(dir.path(), &["photo.png", "--format", "npy", "--cutout", "chair", "-o", "out"]);
    assert_eq!(std::fs::read(dir.path().join("out/photo.npy")).unwrap().len(), 128 + 60 * 40);
}

#[test]
fn one_image_gets_a_table() {
    let dir = place();
    let said = success(dir.path(), &["photo.png"]);
    assert!(said.starts_with("photo.png: 60×40\n"), "{said}");
    assert!(said.contains(" %\n") && said.contains("wrote photo.overlay.png ("), "{said}");
    assert_eq!(success(dir.path(), &["photo.png", "--quiet", "-o", "x.png"]), "");
}

/// Several scales, tiles and probabilities can be combined.
#[test]
fn looks_tiles_and_probabilities_combine() {
    let dir = place();
    let args = ["photo.png", "--scales", "0.5,1", "--flip", "--tile", "33x33", "--overlap", "8"];
    success(dir.path(), &[&args[..], &["--format", "npy", "--probs", "--threads", "1"]].concat());
    let npy = std::fs::read(dir.path().join("photo.npy")).unwrap();
    assert!(String::from_utf8_lossy(&npy[..128]).contains("'shape': (40, 60, 21)"));
    let values: Vec<f32> = npy[128..].chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect();
    assert_eq!(values.len(), 40 * 60 * 21);
    assert!(values.chunks_exact(21).all(|pixel| (pixel.iter().sum::<f32>() - 1.0).abs() < 1e-4));
}

#[test]
fn of_a_folder_the_bad_file_is_named_and_the_rest_is_done() {
    let dir = folder();
    let output = segment(dir.path(), &with_model(&["in", "-o", "out", "--json"]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot read the image") && said.contains("b.jpg"), "{said}");
    let lines = json_lines(&String::from_utf8(output.stdout).unwrap());
    let name = |line: &Value| Path::new(line["image"].as_str().unwrap()).file_name().unwrap().to_owned();
    assert_eq!(lines.iter().map(name).collect::<Vec<_>>(), ["a.png", "b.jpg", "c.jpg", "d.png"]);
    assert!(lines[1]["error"].as_str().unwrap().contains("cannot read") && lines[0].get("error").is_none());
    let out = names(&dir.path().join("out"));
    assert_eq!(out, ["a.overlay.png", "c.overlay.jpg", "sub/d.overlay.png"]);
    assert_eq!(image::open(dir.path().join("out/sub/d.overlay.png")).unwrap().width(), 300);
}

#[test]
fn several_images_get_a_line_each_and_a_last_one() {
    let dir = folder();
    std::fs::remove_file(dir.path().join("in/b.jpg")).unwrap();
    let output = segment(dir.path(), &with_model(&["in/a.png", "in/c.jpg"]));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), 2);
    assert!(said.lines().all(|line| line.contains("; wrote ")), "{said}");
    // The progress bar is for terminals only.
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("2 images in ") && told.lines().count() == 1, "{told}");
    assert_eq!(names(dir.path()), ["a.overlay.png", "c.overlay.jpg", "in/a.png", "in/c.jpg", "in/sub/d.png"]);
}

#[test]
fn standard_input_is_an_input() {
    let dir = place();
    let photo = std::fs::read(dir.path().join("photo.png")).unwrap();
    let run = |bytes: Vec<u8>| command(dir.path(), &with_model(&["-"])).write_stdin(bytes).output().unwrap();
    assert_eq!(run(photo).status.code(), Some(0));
    assert_eq!(image::open(dir.path().join("stdin.overlay.png")).unwrap().width(), 60);
    std::fs::remove_file(dir.path().join("stdin.overlay.png")).unwrap();
    assert_eq!(run(b"nonsense".to_vec()).status.code(), Some(1));
}

/// A server that answers requests for `path` with `content`, and all others with 404.
fn serve(path: &'static str, content: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut request).unwrap() > 2 {}
            let found = request.starts_with(&format!("GET {path} "));
            let (status, body) = if found { ("200 OK", &content[..]) } else { ("404 Not Found", &b"no"[..]) };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).unwrap();
        }
    });
    address
}

#[test]
fn addresses_are_fetched_and_one_that_fails_is_an_input_that_failed() {
    let dir = place();
    let address = serve("/pictures/cat.png", std::fs::read(dir.path().join("photo.png")).unwrap());
    let (good, bad) = (format!("{address}/pictures/cat.png"), format!("{address}/dog.png"));
    let mut command = command(dir.path(), &with_model(&[&good, &bad]));
    let output = command.env("NO_PROXY", "127.0.0.1").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot fetch") && said.contains("dog.png") && said.contains("404"), "{said}");
    assert!(dir.path().join("cat.overlay.png").is_file());
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let dir = folder();
    let mut child = start(dir.path(), &["in/a.png", "in/c.jpg", "in/sub/d.png"]);
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!said.contains("error") && !said.contains("panicked"), "{said}");
}

fn start(dir: &Path, args: &[&str]) -> Child {
    std::process::Command::new(env!("CARGO_BIN_EXE_candle-deeplab"))
        .current_dir(dir)
        .arg("segment")
        .args(with_model(args))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Whenever the signal comes.
#[cfg(unix)]
#[test]
fn sigterm_leaves_whole_files_only() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    photo(900, 700).save(dir.path().join("in/0.png")).unwrap();
    for copy in 1..400 {
        std::fs::hard_link(dir.path().join("in/0.png"), dir.path().join(format!("in/{copy}.png"))).unwrap();
    }
    for finished in [1, 4, 7] {
        let out = dir.path().join(format!("out{finished}"));
        let mut child = start(dir.path(), &["in", "-o", out.to_str().unwrap(), "--format", "overlay,npy", "--quiet"]);
        let begin = Instant::now();
        while !out.is_dir() || names(&out).len() < finished {
            assert!(begin.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(3));
        }
        let kill = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let left = names(&out);
        assert!(left.len() >= finished && left.len() < 800);
        for name in left {
            let bytes = std::fs::read(out.join(&name)).unwrap();
            match name.rsplit_once('.') {
                Some((_, "npy")) => assert_eq!(bytes.len(), 128 + 900 * 700, "{name}"),
                _ => assert_eq!(image::load_from_memory(&bytes).unwrap().width(), 900, "{name}"),
            }
        }
    }
}

/// A folder with replacements of `ffprobe` and `ffmpeg` that behave as far as we need: they report a video of three
/// frames with 4×2 pixels, and keep what is written to them.
#[cfg(unix)]
fn ffmpeg() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let scripts = [
        (
            "ffprobe",
            r#"echo '{"streams": [{"codec_type": "video", "width": 4, "height": 2, "avg_frame_rate": "25/1"},
  {"codec_type": "audio", "codec_name": "aac"}], "format": {"duration": "0.12"}}'"#,
        ),
        (
            "ffmpeg",
            r#"for last in "$@"; do :; done
case "$*" in
  *broken*) echo "moov atom not found" >&2; exit 1;;
esac
if [ "$last" = pipe:1 ]; then
  head -c 72 /dev/zero
else
  cat > "${last#file:}"
  echo "$*" > "$(dirname "$0")/arguments"
fi"#,
        ),
    ];
    for (name, script) in scripts {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

#[cfg(unix)]
fn with_path(dir: &Path, args: &[&str], path: &Path) -> Output {
    let path = std::env::join_paths([path, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    command(dir, &with_model(args)).env("PATH", path).output().unwrap()
}

#[cfg(unix)]
#[test]
fn a_video_goes_through_ffmpeg_frame_by_frame() {
    let (dir, programs) = (tempfile::tempdir().unwrap(), ffmpeg());
    std::fs::write(dir.path().join("film.mp4"), "").unwrap();
    let output = with_path(dir.path(), &["film.mp4", "--format", "color", "--json"], programs.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let line = &json_lines(&String::from_utf8(output.stdout).unwrap())[0];
    assert_eq!((&line["frames"], &line["width"], &line["height"]), (&3.into(), &4.into(), &2.into()));
    assert_eq!(names(dir.path()), ["film.color.mp4", "film.mp4"]);
    // All frames are black, so each is of one class and one colour.
    let frames = std::fs::read(dir.path().join("film.color.mp4")).unwrap();
    assert_eq!(frames.len(), 3 * 4 * 2 * 3);
    assert!(frames.chunks_exact(24).all(|frame| frame == &frames[..24]));
    let arguments = std::fs::read_to_string(programs.path().join("arguments")).unwrap();
    for expected in ["-s 4x2 -r 25/1", "-i file:film.mp4", "-map 1:a? -c:a:0 copy"] {
        assert!(arguments.contains(expected), "{arguments}");
    }
}

#[cfg(unix)]
#[test]
fn all_frames_of_a_film_are_higher_by_their_legend() {
    let (dir, programs) = (tempfile::tempdir().unwrap(), ffmpeg());
    std::fs::write(dir.path().join("film.mp4"), "").unwrap();
    let output = with_path(dir.path(), &["film.mp4", "--legend"], programs.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let bytes = std::fs::read(dir.path().join("film.overlay.mp4")).unwrap().len();
    let height = bytes / (3 * 4 * 3);
    assert!(height > 2);
    let arguments = std::fs::read_to_string(programs.path().join("arguments")).unwrap();
    assert!(arguments.contains(&format!("-s 4x{height} ")), "{arguments}");
}

#[cfg(unix)]
#[test]
fn a_video_that_ffmpeg_cannot_read_leaves_nothing() {
    let (dir, programs) = (tempfile::tempdir().unwrap(), ffmpeg());
    std::fs::write(dir.path().join("broken.mp4"), "").unwrap();
    let output = with_path(dir.path(), &["broken.mp4"], programs.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("broken.mp4") && said.contains("moov atom not found"), "{said}");
    assert_eq!(names(dir.path()), ["broken.mp4"]);
}

#[cfg(unix)]
#[test]
fn without_ffmpeg_it_is_said_where_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("film.mp4"), "").unwrap();
    let output = command(dir.path(), &with_model(&["film.mp4"])).env("PATH", dir.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("install ffmpeg"), "{said}");
}

#[test]
fn shells_and_man_are_served() {
    let print = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_candle-deeplab")).args(args).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(print(&["completions", shell]).contains("cutout"), "{shell}");
    }
    assert!(print(&["man"]).contains(".TH candle-deeplab-segment"));
    let dir = tempfile::tempdir().unwrap();
    let pages: PathBuf = dir.path().join("man1");
    print(&["man", "--output", pages.to_str().unwrap()]);
    assert!(names(&pages).contains(&"candle-deeplab-segment.1".into()));
}

/// Parts that know nothing of each other write the files of one run, COCO's numbers among them, and a run that was stopped
/// is completed.
#[test]
fn parts_of_the_work_together_are_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("in/sub")).unwrap();
    for index in 0..6 {
        photo(40 + index, 30).save(dir.path().join(format!("in/{index}.png"))).unwrap();
        photo(30, 40 + index).save(dir.path().join(format!("in/sub/photo {index}.png"))).unwrap();
    }
    let formats = ["--format", "mask,rle"];
    success(dir.path(), &[&["in", "-o", "whole"], &formats[..]].concat());
    for part in ["0/3", "2/3", "1/3"] {
        success(dir.path(), &[&["in", "-o", "parts", "--resume", "--shard", part], &formats[..]].concat());
    }
    let content = |folder: &str| {
        let folder = dir.path().join(folder);
        names(&folder).into_iter().map(|name| (std::fs::read(folder.join(&name)).unwrap(), name)).collect::<Vec<_>>()
    };
    let whole = content("whole");
    assert_eq!(whole.len(), 2 * 12 + 1);
    assert!(content("parts") == whole);

    let lost = dir.path().join("parts/sub/photo 3.mask.png");
    std::fs::remove_file(&lost).unwrap();
    let untouched = std::fs::metadata(dir.path().join("parts/0.mask.png")).unwrap().modified().unwrap();
    let said = success(dir.path(), &[&["in", "-o", "parts", "--resume"], &formats[..]].concat());
    assert!(said.contains("photo 3") && !said.contains("photo 4"), "{said}");
    assert!(content("parts") == whole);
    assert_eq!(std::fs::metadata(dir.path().join("parts/0.mask.png")).unwrap().modified().unwrap(), untouched);
}
