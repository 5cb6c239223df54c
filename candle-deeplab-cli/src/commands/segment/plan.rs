//! Which files a run will write. Whatever can be wrong with them is found before any time is spent.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use crate::args::Format;
use crate::input::{Input, Source};

/// An input and the files that will be made of it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) input: Input,
    pub(super) targets: Vec<Target>,
}

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) format: Format,
    pub(super) path: PathBuf,
}

/// Where outputs go.
enum Place<'a> {
    File(&'a Path),
    /// It is made when something is written.
    Folder(&'a Path),
}

/// Decides on every output. Those that exist are an error without `force`, and one that would replace an input always.
pub(super) fn plan(inputs: Vec<Input>, formats: &[Format], output: Option<&Path>, force: bool) -> Result<Vec<Job>> {
    let moving = inputs.iter().find(|input| input.is_moving());
    let unfit = formats.iter().find(|format| !format.is_picture());
    if let (Some(input), Some(format)) = (moving, unfit) {
        let (input, format) = (input.shown(), format.suffix());
        bail!("`{input}` is a video, which can become overlay, color or contours, but not {format}");
    }
    let place = place(output, &inputs, formats)?;
    let mut stems: HashMap<PathBuf, usize> = HashMap::new();
    inputs.iter().for_each(|input| *stems.entry(input.relative.with_extension("")).or_default() += 1);
    let targets = |input: &Input| match place {
        Place::File(path) => formats.iter().map(|&format| Target { format, path: path.to_owned() }).collect::<Vec<_>>(),
        Place::Folder(folder) => {
            let stem = input.relative.with_extension("");
            let name = if stems.get(&stem) == Some(&1) { stem } else { input.relative.clone() };
            let target = |&format| Target { format, path: folder.join(with_suffix(&name, &suffix(input, format))) };
            formats.iter().map(target).collect()
        }
    };
    let jobs: Vec<Job> = inputs
        .into_iter()
        .map(|input| (targets(&input), input))
        .map(|(targets, input)| Job { input, targets })
        .collect();
    check(&jobs, force)?;
    Ok(jobs)
}

fn place<'a>(output: Option<&'a Path>, inputs: &[Input], formats: &[Format]) -> Result<Place<'a>> {
    let Some(path) = output else {
        return Ok(Place::Folder(Path::new("")));
    };
    let shown = path.display();
    if path.is_dir() || path.to_string_lossy().ends_with(std::path::is_separator) {
        return Ok(Place::Folder(path));
    }
    let ([input], [format]) = (inputs, formats) else {
        let outputs = inputs.len() * formats.len();
        ensure!(!path.exists(), "`{shown}` is a file, and there are {outputs} to write: name a folder with `-o`");
        ensure!(
            path.extension().is_none(),
            "`{shown}` is called like a file, and there are {outputs} to write: name a folder with `-o`, \
             e.g. `-o {shown}/`"
        );
        return Ok(Place::Folder(path));
    };
    let Some(extension) = path.extension() else {
        ensure!(!path.exists(), "the output `{shown}` is a file without an extension: choose another name with `-o`");
        return Ok(Place::Folder(path));
    };
    if !input.is_moving() {
        let expected = format.extension();
        ensure!(
            extension.eq_ignore_ascii_case(expected),
            "the output `{shown}` is written as {}: give it a name that ends in `.{expected}`",
            expected.to_uppercase()
        );
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(folder.is_dir(), "the output's directory `{}` does not exist", folder.display());
    Ok(Place::File(path))
}

/// What an input's output is called after its name.
fn suffix(input: &Input, format: Format) -> OsString {
    let kind = format.suffix();
    let container = match &input.source {
        Source::Video(path) => {
            // These take sound of any kind that others hold; the rest is put into Matroska, which takes everything.
            let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
            if ["mp4", "m4v", "mov", "mkv"].iter().any(|known| extension == *known) { extension } else { "mkv".into() }
        }
        Source::Camera(_) => "mp4".into(),
        Source::File(_) | Source::Stdin | Source::Url(_) => return kind.into(),
    };
    let mut suffix = OsString::from(kind.split_once('.').map_or(kind, |(kind, _)| kind));
    suffix.push(".");
    suffix.push(container);
    suffix
}

fn with_suffix(name: &Path, suffix: &OsString) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn check(jobs: &[Job], force: bool) -> Result<()> {
    let inputs: HashSet<PathBuf> = jobs.iter().filter_map(|job| job.input.path()?.canonicalize().ok()).collect();
    let mut writers: HashMap<&Path, &Input> = HashMap::new();
    let mut existing = vec![];
    for (input, path) in
        jobs.iter().flat_map(|job| job.targets.iter().map(|target| (&job.input, target.path.as_path())))
    {
        let shown = path.display();
        if let Some(other) = writers.insert(path, input) {
            let (a, b) = (other.shown(), input.shown());
            bail!(
                "`{a}` and `{b}` would both become `{shown}`: give the folder that they are in, or run them one by one"
            );
        }
        let is_input = path.canonicalize().is_ok_and(|path| inputs.contains(&path));
        ensure!(!is_input, "the output `{shown}` is the image itself, or another input: choose another with `-o`");
        if path.symlink_metadata().is_ok() {
            existing.push(path);
        }
    }
    if let (false, Some(first)) = (force, existing.first()) {
        let others = match existing.len() - 1 {
            0 => String::new(),
            more => format!(", and so do {more} other outputs"),
        };
        bail!("{}", already_there(first, &others));
    }
    Ok(())
}

/// Nothing is replaced unasked.
pub(super) fn already_there(path: &Path, others: &str) -> String {
    format!("`{}` exists{others}: replace it with `--force`, or choose another output with `-o`", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(relative: &[&str]) -> Vec<Input> {
        let input = |name: &&str| Input { source: Source::File(format!("in/{name}").into()), relative: name.into() };
        relative.iter().map(input).collect()
    }

    fn paths(relative: &[&str], formats: &[Format], output: Option<&str>) -> Result<Vec<String>, String> {
        let jobs = plan(inputs(relative), formats, output.map(Path::new), false).map_err(|e| e.to_string())?;
        let path = |target: &Target| target.path.to_str().unwrap().replace('\\', "/");
        Ok(jobs.iter().flat_map(|job| job.targets.iter().map(path)).collect())
    }

    const OVERLAY: &[Format] = &[Format::Overlay];

    #[test]
    fn outputs_are_named_after_inputs_and_formats() {
        let all = [Format::Overlay, Format::Json, Format::Rle, Format::Npy, Format::Cutout];
        let expected = ["cat.overlay.png", "cat.json", "cat.rle.json", "cat.npy", "cat.cutout.png"];
        assert_eq!(paths(&["cat.jpg"], &all, None).unwrap(), expected);
        assert_eq!(
            paths(&["a.b.webp", "no_extension"], OVERLAY, None).unwrap(),
            ["a.b.overlay.png", "no_extension.overlay.png"]
        );
    }

    #[test]
    fn a_folder_mirrors_the_inputs_tree() {
        let expected = ["out/a.mask.png", "out/sub/b.mask.png"];
        assert_eq!(paths(&["a.jpg", "sub/b.jpg"], &[Format::Mask], Some("out")).unwrap(), expected);
        assert_eq!(paths(&["a.jpg"], &[Format::Mask], Some("out")).unwrap(), ["out/a.mask.png"]);
        assert_eq!(paths(&["a.jpg"], &[Format::Mask], Some("x.png/")).unwrap(), ["x.png/a.mask.png"]);
    }

    #[test]
    fn inputs_that_would_share_an_output_keep_their_extensions() {
        let expected = ["a.jpg.overlay.png", "a.png.overlay.png", "b.overlay.png", "sub/a.overlay.png"];
        assert_eq!(paths(&["a.jpg", "a.png", "b.jpg", "sub/a.jpg"], OVERLAY, None).unwrap(), expected);
        let mut twice = inputs(&["a.jpg", "a.jpg"]);
        twice[1].source = Source::File("elsewhere/a.jpg".into());
        let error = plan(twice, OVERLAY, None, true).unwrap_err().to_string();
        assert!(error.contains("in/a.jpg") && error.contains("elsewhere/a.jpg"), "{error}");
    }

    #[test]
    fn one_output_may_be_a_file_and_several_may_not() {
        assert_eq!(paths(&["a.jpg"], OVERLAY, Some("x.PNG")).unwrap(), ["x.PNG"]);
        assert_eq!(paths(&["a.jpg"], &[Format::Geojson], Some("x.geojson")).unwrap(), ["x.geojson"]);
        assert!(paths(&["a.jpg"], OVERLAY, Some("x.jpg")).unwrap_err().contains(".png"));
        assert!(paths(&["a.jpg"], OVERLAY, Some("no/such/x.png")).unwrap_err().contains("`no/such` does not exist"));
        assert!(paths(&["a.jpg", "b.jpg"], OVERLAY, Some("x.png")).unwrap_err().contains("`-o x.png/`"));
        assert!(paths(&["a.jpg"], &[Format::Overlay, Format::Ids], Some("x.png")).is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(paths(&["a.jpg", "b.jpg"], OVERLAY, file.path().to_str()).unwrap_err().contains("is a file"));
    }

    #[test]
    fn nothing_is_replaced_unasked_and_an_input_never() {
        let dir = tempfile::tempdir().unwrap();
        let [image, there] = ["in.png", "in.overlay.png"].map(|name| dir.path().join(name));
        std::fs::write(&image, "").unwrap();
        std::fs::write(&there, "").unwrap();
        let input = || vec![Input { source: Source::File(image.clone()), relative: "in.png".into() }];
        let error = plan(input(), OVERLAY, Some(dir.path()), false).unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");
        assert!(plan(input(), OVERLAY, Some(dir.path()), true).is_ok());
        let roundabout = dir.path().join(".").join("in.png");
        assert!(plan(input(), OVERLAY, Some(&roundabout), true).unwrap_err().to_string().contains("the image itself"));
    }

    #[test]
    fn a_video_stays_a_video() {
        let video = |name: &str| vec![Input { source: Source::Video(name.into()), relative: name.into() }];
        for (name, expected) in [("a.mp4", "a.overlay.mp4"), ("b.MOV", "b.overlay.mov"), ("c.webm", "c.overlay.mkv")] {
            let jobs = plan(video(name), OVERLAY, None, false).unwrap();
            assert_eq!(jobs[0].targets[0].path, Path::new(expected));
        }
        let error = plan(video("a.mp4"), &[Format::Geojson], None, false).unwrap_err().to_string();
        assert!(error.contains("is a video"), "{error}");
    }
}
