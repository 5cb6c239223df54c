//! Inputs that are damaged, too large, endless or confusing: each is one failure, and the rest goes on.

#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;

use image::{Rgb, RgbImage};
use program::{model, refused, run, success};
use serde_json::Value;
use tempfile::TempDir;

fn photo() -> RgbImage {
    RgbImage::from_fn(200, 150, |x, y| Rgb([(x * 5) as u8, (y * 7) as u8, (x * y / 9) as u8]))
}

/// A folder `in` with a picture `good.png`.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    photo().save(dir.path().join("in/good.png")).unwrap();
    dir
}

fn jpeg(dir: &Path, name: &str, percent: usize) {
    let path = dir.join(name);
    photo().save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() * percent / 100]).unwrap();
}

fn json_lines(bytes: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn segment<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["segment", "-m", model()], args].concat()
}

// ---- damaged pictures ----

#[test]
fn a_jpeg_of_which_a_part_is_missing_is_refused_with_the_way_out() {
    let dir = place();
    for percent in [90, 50, 30] {
        jpeg(dir.path(), "cut.jpg", percent);
        let output = run(dir.path(), &segment(&["cut.jpg", "in/good.png", "-o", "out", "--force"]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("cut.jpg") && said.contains("data end after") && said.contains("--lenient"), "{said}");
        assert!(dir.path().join("out/good.overlay.png").exists() && !dir.path().join("out/cut.overlay.jpg").exists());
    }
}

/// Nine kilobytes cannot hold 18 000×18 000 pixels, whatever they say.
#[test]
fn a_jpeg_that_claims_far_more_than_it_has_is_refused() {
    let dir = place();
    jpeg(dir.path(), "claim.jpg", 100);
    let mut bytes = std::fs::read(dir.path().join("claim.jpg")).unwrap();
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let side = 18_000_u16.to_be_bytes();
    bytes[frame + 5..frame + 9].copy_from_slice(&[side, side].concat());
    std::fs::write(dir.path().join("claim.jpg"), bytes).unwrap();
    let output = run(dir.path(), &segment(&["claim.jpg"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("data end after 0 %"), "{said}");
}

#[test]
fn what_is_there_of_a_picture_is_taken_on_request_and_said_everywhere() {
    let dir = place();
    jpeg(dir.path(), "cut.jpg", 60);
    let said = success(dir.path(), &segment(&["cut.jpg", "--lenient", "--format", "json,mask"]));
    assert!(said.starts_with("cut.jpg: damaged: its data end after "), "{said}");
    let document: Value = serde_json::from_slice(&std::fs::read(dir.path().join("cut.json")).unwrap()).unwrap();
    assert!(document["damaged"].as_str().unwrap().contains("data end after"), "{document}");
    let several = ["cut.jpg", "in/good.png", "--lenient", "--force", "-o", "out"];
    let said = success(dir.path(), &segment(&several));
    assert_eq!(said.matches("damaged").count(), 1, "{said}");
    let lines = json_lines(&run(dir.path(), &segment(&[&several[..], &["--json"]].concat())).stdout);
    assert!(lines[0]["damaged"].as_str().unwrap().contains("data end after"), "{lines:?}");
    // Of a picture that is whole nothing is said.
    assert_eq!(lines[1].get("damaged"), None);
}

// ---- pictures that are too large ----

/// A PNG that claims to be so large; it has no pixels.
#[cfg(target_os = "linux")]
fn claim(path: &Path, side: u32) {
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_chunk(png::chunk::IDAT, &[0]).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Decoded it is 196 MB, which fits; as red, green and blue, with its classes and its outputs, it does not.
#[cfg(target_os = "linux")]
#[test]
fn a_picture_that_does_not_fit_is_refused_with_the_numbers_and_the_rest_goes_on() {
    let dir = place();
    claim(&dir.path().join("in/a.png"), 14_000);
    let args = segment(&["in", "-o", "out", "--threads", "1"]);
    let output = assert_cmd::Command::new("sh")
        .args(["-c", "ulimit -v 2500000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_candle-deeplab")])
        .args(args)
        .current_dir(dir.path())
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("in/a.png") && said.contains("14000×14000") && said.contains("MiB are free"), "{said}");
    assert!(dir.path().join("out/good.overlay.png").exists());
}

// ---- folders ----

/// Two ways from each folder to the next make a million ways to the last.
#[cfg(unix)]
#[test]
fn each_folder_is_entered_once_however_many_links_lead_to_it() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let folder = |number: usize| dir.path().join(format!("in/{number:02}"));
    for number in 0..20 {
        std::fs::create_dir_all(folder(number)).unwrap();
        for name in ["a", "b"] {
            symlink(folder(number + 1), folder(number).join(name)).unwrap();
        }
    }
    std::fs::create_dir_all(folder(20)).unwrap();
    photo().save(folder(20).join("photo.png")).unwrap();
    symlink(dir.path().join("in"), folder(20).join("round")).unwrap();
    for input in ["in", "in/00", "in/*"] {
        let lines = json_lines(&run(dir.path(), &segment(&[input, "-o", "out", "--json", "--force"])).stdout);
        assert_eq!(lines.len(), 1, "{input}: {lines:?}");
    }
    // A folder is called by its own name where that is to be had.
    assert!(dir.path().join("out/20/photo.overlay.png").exists());
}

// ---- pipes ----

#[cfg(unix)]
fn pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Nothing waits for what nobody writes.
#[cfg(unix)]
#[test]
fn a_pipe_is_no_film_and_no_picture() {
    let dir = place();
    for name in ["in/film.mp4", "in/photo.jpg", "in/moving.gif", "in/photo.avif"] {
        pipe(&dir.path().join(name));
        let said = refused(dir.path(), &segment(&[name]));
        assert!(said.contains(name) && said.contains("is a pipe") && said.contains("`-`"), "{said}");
    }
    let output = run(dir.path(), &segment(&["in/*.*", "-o", "out"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("is not a regular file").count(), 4, "{said}");
    assert!(dir.path().join("out/good.overlay.png").exists());
    // In a folder it is none of the things that are looked for.
    success(dir.path(), &segment(&["in", "-o", "other"]));
}

/// A program that we started and that never ends, ends with us.
#[cfg(unix)]
#[test]
fn programs_that_we_start_end_with_us() {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};
    let dir = place();
    std::fs::write(dir.path().join("film.mp4"), "").unwrap();
    let ffprobe = dir.path().join("ffprobe");
    std::fs::write(&ffprobe, "#!/bin/sh\necho $$ > started.new && mv started.new started\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(&ffprobe, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths([dir.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_candle-deeplab"));
    command.args(segment(&["film.mp4"])).current_dir(dir.path()).env("PATH", path);
    let mut child = command.spawn().unwrap();
    let (begin, started) = (Instant::now(), dir.path().join("started"));
    while !started.exists() {
        assert!(begin.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(3));
    }
    let signal = |signal: &str, pid: &str| {
        std::process::Command::new("kill").args([signal, pid]).stderr(std::process::Stdio::null()).status().unwrap()
    };
    assert!(signal("-TERM", &child.id().to_string()).success());
    let status = child.wait().unwrap();
    let pid = std::fs::read_to_string(started).unwrap();
    let is_there = signal("-0", pid.trim()).success();
    if is_there {
        signal("-KILL", pid.trim());
    }
    assert!(!is_there && status.code() == Some(130), "{status:?}");
}

// ---- names ----

#[test]
fn pictures_that_are_called_alike_get_names_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let names = ["a.jpg", "a.png", "a.jpg.bmp", "a.rle.png", "a.gif"];
    names.iter().for_each(|name| photo().save(dir.path().join("in").join(name)).unwrap());
    success(dir.path(), &segment(&["in", "-o", "out", "--format", "json,rle"]));
    for name in names {
        assert!(dir.path().join(format!("out/{name}.json")).exists(), "{name}");
        assert!(dir.path().join(format!("out/{name}.rle.json")).exists(), "{name}");
    }
}
