//! Tests of `candle-deeplab segment` on videos, with the real ffmpeg. Without ffmpeg they print that they skip.

#![allow(clippy::unwrap_used)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;
use std::process::Command;

use image::GenericImageView;
use serde_json::Value;
use tempfile::TempDir;

use program::{model, run};

/// A folder with a video that ffmpeg makes with these arguments: one second long, 5 frames per second, with a tone.
fn film(name: &str, arguments: &[&str]) -> Option<TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let size = arguments.first().filter(|first| first.contains('x')).copied().unwrap_or("64x48");
    let picture = format!("testsrc=size={size}:rate=5:duration=1");
    let arguments = if size == "64x48" { arguments } else { &arguments[1..] };
    let made = Command::new("ffmpeg")
        .current_dir(dir.path())
        .args(["-v", "error", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", "sine=duration=1"])
        .args(arguments)
        .arg(name)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: there is no ffmpeg that writes {name}");
        return None;
    }
    Some(dir)
}

fn segment<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["segment", "--model", model()], args].concat()
}

fn success(dir: &Path, args: &[&str]) -> String {
    program::success(dir, &segment(args))
}

/// Codec, pixel format and size of each stream.
fn streams(path: &Path) -> Vec<String> {
    let entries = "stream=codec_name,width,height,pix_fmt";
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", entries, "-of", "json"])
        .arg(path)
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let shown = |stream: &Value| {
        let parts = ["codec_name", "pix_fmt", "width", "height"].map(|name| &stream[name]);
        parts
            .iter()
            .filter(|part| !part.is_null())
            .map(|part| part.to_string().replace('"', ""))
            .collect::<Vec<_>>()
            .join(" ")
    };
    json["streams"].as_array().unwrap().iter().map(shown).collect()
}

/// The frames of a video as raw samples.
fn frames(path: &Path, format: &str) -> Vec<u8> {
    let arguments = ["-map", "0:v:0", "-f", "rawvideo", "-pix_fmt", format, "pipe:1"];
    let output = Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(path).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn each_container_gets_a_sound_that_it_takes() {
    let Some(dir) = film("film.mkv", &["-c:a", "flac"]) else { return };
    for (name, sound) in [
        ("a.mp4", Some("aac")),
        ("a.mov", Some("aac")),
        ("a.mkv", Some("flac")),
        ("a.webm", Some("opus")),
        ("a.gif", None),
    ] {
        success(dir.path(), &["film.mkv", "-o", name]);
        let streams = streams(&dir.path().join(name));
        assert_eq!(streams.len(), 1 + usize::from(sound.is_some()), "{name}: {streams:?}");
        assert!(
            sound.is_none_or(|sound| streams.iter().any(|stream| stream.starts_with(sound))),
            "{name}: {streams:?}"
        );
    }
}

#[test]
fn sound_that_fits_is_copied() {
    for (name, encoder) in [("film.mp4", "aac"), ("film.webm", "libopus"), ("film.mov", "pcm_s16le")] {
        let Some(dir) = film(name, &["-c:a", encoder]) else { return };
        success(dir.path(), &[name, "-o", "out"]);
        let sound = |path: &str| {
            let arguments = ["-map", "0:a", "-c", "copy", "-f", "md5", "-"];
            let path = dir.path().join(path);
            let output = Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(path).args(arguments).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let (before, after) = (sound(name), sound(&format!("out/{}", name.replace("film.", "film.overlay."))));
        assert!(before.starts_with("MD5=") && before == after, "{name}");
    }
}

#[test]
fn a_mask_is_a_lossless_film_of_the_ids() {
    let Some(dir) = film("film.mp4", &["61x47", "-pix_fmt", "yuv444p", "-c:a", "aac"]) else { return };
    success(dir.path(), &["film.mp4", "-o", "out", "--format", "mask,ids"]);
    success(dir.path(), &["film.mp4", "-o", "out", "--format", "ids", "--frames"]);
    let out = dir.path().join("out");
    // Odd sides stay as they are, and there is no sound.
    assert_eq!(streams(&out.join("film.mask.mkv")), ["ffv1 gray 61 47"]);
    let film = frames(&out.join("film.mask.mkv"), "gray");
    assert_eq!(film, frames(&out.join("film.ids.mkv"), "gray"));
    assert_eq!(film.len(), 5 * 61 * 47);
    for (number, frame) in film.chunks_exact(61 * 47).enumerate() {
        let picture = image::open(out.join(format!("film.frames/{:06}.ids.png", number + 1))).unwrap();
        assert_eq!(picture.into_luma8().as_raw(), frame);
    }
    // Decoding to RGB gives the same class ids.
    let colors = frames(&out.join("film.mask.mkv"), "rgb24");
    assert!(colors.chunks_exact(3).zip(&film).all(|(color, id)| color == [*id; 3]));
}

#[test]
fn a_line_of_json_says_what_is_in_a_frame() {
    let Some(dir) = film("film.mp4", &[]) else { return };
    success(dir.path(), &["film.mp4", "--format", "json"]);
    let written = std::fs::read_to_string(dir.path().join("film.jsonl")).unwrap();
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!((&line["frame"], &line["width"]), (&(number + 1).into(), &64.into()));
        assert!((line["seconds"].as_f64().unwrap() - number as f64 / 5.0).abs() < 1e-9);
        let shares = line["classes"].as_array().unwrap().iter().map(|class| class["share"].as_f64().unwrap());
        assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9);
    }
    // Standard output gets the same lines.
    let output = run(dir.path(), &segment(&["film.mp4", "--format", "json", "-o", "-"]));
    assert!(output.status.success() && String::from_utf8(output.stdout).unwrap() == written);
}

#[test]
fn a_cutout_is_transparent_where_nothing_was_wanted() {
    let Some(dir) = film("film.mp4", &["-c:a", "aac"]) else { return };
    for name in ["x.webm", "x.mov", "x.gif"] {
        // It does not matter which class the untrained network finds, as long as some pixels are transparent or opaque.
        success(dir.path(), &["film.mp4", "--cutout", "background", "-o", name]);
        let ids = run(dir.path(), &segment(&["film.mp4", "--format", "ids", "-o", "-", "--quiet"]));
        std::fs::write(dir.path().join("ids.mkv"), ids.stdout).unwrap();
        let ids = frames(&dir.path().join("ids.mkv"), "gray");
        let decoder: &[&str] = if name == "x.webm" { &["-c:v", "libvpx-vp9"] } else { &[] };
        let output = Command::new("ffmpeg")
            .current_dir(dir.path())
            .args(["-v", "error"])
            .args(decoder)
            .args(["-i", name, "-f", "rawvideo", "-pix_fmt", "rgba", "pipe:1"])
            .output()
            .unwrap();
        let alphas = output.stdout.chunks_exact(4).map(|pixel| pixel[3] > 127);
        let wrong = alphas.zip(&ids).filter(|(is_shown, id)| *is_shown != (**id == 0)).count();
        assert_eq!(output.stdout.len(), 4 * ids.len(), "{name}");
        // Lossy codecs may move an edge.
        assert!(wrong * 20 <= ids.len(), "{name}: {wrong} of {}", ids.len());
    }
}

#[test]
fn what_ffmpeg_cannot_write_is_said_before_any_frame_is_computed() {
    let Some(dir) = film("film.mp4", &[]) else { return };
    for (args, reason) in [
        (&["film.mp4", "-o", "x.avi"][..], "`.mp4`, `.m4v`, `.mov`, `.mkv`, `.webm`, `.gif`"),
        (&["film.mp4", "-o", "x.mp4", "--format", "mask"], "ends in `.mkv`"),
        (&["film.mp4", "--cutout", "person", "-o", "x.mp4"], "`.mov`, `.webm`, `.gif`"),
        (&["film.mp4", "--format", "npy"], "--frames"),
    ] {
        let said = program::refused(dir.path(), &segment(args));
        assert!(said.contains(reason), "{said}");
    }
}

/// With an ffmpeg that lacks an encoder.
#[cfg(unix)]
#[test]
fn an_encoder_that_ffmpeg_lacks_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let Some(dir) = film("film.mp4", &[]) else { return };
    let programs = tempfile::tempdir().unwrap();
    let script = "#!/bin/sh\ncase \"$*\" in *vp9*) echo \"Unknown encoder 'libvpx-vp9'\" >&2; exit 1;; esac\n\
                  PATH=${PATH#*:} exec ffmpeg \"$@\"\n";
    let path = programs.path().join("ffmpeg");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut paths = vec![programs.path().to_owned()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let output = Command::new(env!("CARGO_BIN_EXE_candle-deeplab"))
        .current_dir(dir.path())
        .env("PATH", std::env::join_paths(paths).unwrap())
        .args(segment(&["film.mp4", "-o", "x.webm"]))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Unknown encoder 'libvpx-vp9'") && said.contains(".webm") && said.contains(".mkv"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn frames_are_images_of_their_own_and_those_of_a_longer_film_go() {
    let Some(dir) = film("film.mp4", &[]) else { return };
    let args = ["film.mp4", "-o", "out", "--frames", "--format", "overlay,rle,npy", "--picture-format", "jpeg"];
    success(dir.path(), &args);
    let folder = dir.path().join("out/film.frames");
    let count = || std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(count(), 3 * 5);
    assert_eq!(image::open(folder.join("000003.overlay.jpg")).unwrap().dimensions(), (64, 48));
    let results: Value = serde_json::from_slice(&std::fs::read(folder.join("000003.rle.json")).unwrap()).unwrap();
    assert!(results.as_array().unwrap().iter().all(|result| result["image_id"] == 3));
    assert!(program::refused(dir.path(), &segment(&args)).contains("--force"));
    success(dir.path(), &[&args[..], &["--force", "--seconds", "0.4"]].concat());
    assert_eq!(count(), 3 * 2);
}

#[test]
fn a_folder_has_films_and_a_gif_that_moves_is_one() {
    let Some(dir) = film("in.gif", &[]) else { return };
    std::fs::create_dir(dir.path().join("in")).unwrap();
    std::fs::rename(dir.path().join("in.gif"), dir.path().join("in/moves.gif")).unwrap();
    image::RgbImage::new(20, 10).save(dir.path().join("in/still.gif")).unwrap();
    success(dir.path(), &["in", "-o", "out"]);
    assert_eq!(streams(&dir.path().join("out/moves.overlay.gif")), ["gif bgra 64 48"]);
    assert!(dir.path().join("out/still.overlay.png").is_file());
    // A format that a video cannot have is written for the images only, and a message says so.
    let output = run(dir.path(), &segment(&["in", "-o", "out", "--format", "npy"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("moves.gif") && said.contains("--frames"), "{said}");
    assert!(dir.path().join("out/still.npy").is_file());
}

/// A stream, here over UDP, has no end: `--seconds` limits it.
#[test]
fn a_stream_is_read_as_long_as_somebody_says() {
    let Some(dir) = film("film.ts", &["-c:v", "mpeg2video", "-g", "1", "-c:a", "mp2"]) else { return };
    // A free port.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("udp://127.0.0.1:{port}");
    let mut sender = Command::new("ffmpeg")
        .current_dir(dir.path())
        .args([
            "-v",
            "error",
            "-re",
            "-stream_loop",
            "60",
            "-i",
            "film.ts",
            "-map",
            "0:v",
            "-c",
            "copy",
            "-f",
            "mpegts",
        ])
        .arg(format!("{address}?pkt_size=1316"))
        .spawn()
        .unwrap();
    let output = run(dir.path(), &segment(&[&address, "--seconds", "1", "-o", "x.mp4", "--json"]));
    sender.kill().unwrap();
    sender.wait().unwrap();
    assert!(output.status.success(), "{output:?}");
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    // One second at 5 frames per second; some frames may be lost.
    assert!(line["frames"].as_u64().is_some_and(|frames| (1..=6).contains(&frames)), "{line}");
    assert_eq!(streams(&dir.path().join("x.mp4")).len(), 1);
}

#[test]
fn an_avif_image_is_read_through_ffmpeg() {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new("ffmpeg")
        .current_dir(dir.path())
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:duration=0.04:rate=25", "-frames:v", "1"])
        .args(["-c:v", "libaom-av1", "-still-picture", "1", "-cpu-used", "8", "x.avif"])
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return println!("skipped: there is no ffmpeg that writes AVIF");
    }
    success(dir.path(), &["x.avif"]);
    assert_eq!(image::open(dir.path().join("x.overlay.png")).unwrap().dimensions(), (64, 48));
    // An image with a rotation is refused rather than shown wrongly.
    let bytes = std::fs::read(dir.path().join("x.avif")).unwrap();
    let turned = [&bytes, &b"\0\0\0\x11free\0\0\0\x09irot\x01"[..]].concat();
    std::fs::write(dir.path().join("turned.avif"), turned).unwrap();
    let output = run(dir.path(), &segment(&["turned.avif"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("turned"), "{said}");
}
