//! Decides which files a run will write, and finds what can be wrong with them before any time is spent.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use super::names::{Name, names};
use super::target::{Destination, Encoding, Target, pictures, pixels, suffix};
use crate::args::{EncodingArgs, Format, PictureFormat};
use crate::ffmpeg::{Container, Pixels};
use crate::input::{Input, Source};

/// An input and the files that will be made of it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) input: Input,
    /// The input's name below the output folder.
    pub(super) name: PathBuf,
    pub(super) targets: Vec<Target>,
    /// The image's number in COCO results.
    pub(super) image_id: u64,
    /// Whether this run does it: it belongs to the run's part of the work, and not all of its outputs are there.
    pub(super) is_wanted: bool,
}

/// What the user wants written, and how.
#[derive(Debug)]
pub(super) struct Wishes<'a> {
    pub(super) formats: &'a [Format],
    pub(super) output: Option<&'a Path>,
    pub(super) encoding: &'a EncodingArgs,
    pub(super) force: bool,
    /// Whether outputs that are there are left as they are.
    pub(super) resume: bool,
    /// The part of the work that is done, of how many.
    pub(super) shard: Option<(u64, u64)>,
}

/// Everything that a run will do.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) jobs: Vec<Job>,
    /// Inputs that cannot be segmented beside the others, and why.
    pub(super) refused: Vec<(Input, String)>,
    /// The folder of the outputs; `None` where they go to standard output.
    pub(super) folder: Option<PathBuf>,
    /// Messages about requested outputs that will not be made.
    pub(super) left_out: Vec<String>,
}

/// Where outputs go.
enum Place<'a> {
    Stdout,
    File(&'a Path),
    /// A folder that is created with the first output.
    Folder(&'a Path),
}

/// Plans every output. An existing output is an error without `force`; one that would replace an input always is.
pub(super) fn plan(inputs: Vec<Input>, wishes: &Wishes) -> Result<Plan> {
    let (mut left_out, mut wanted) = (vec![], vec![]);
    for input in inputs {
        let (formats, unfit) = possible(&input, wishes);
        if !unfit.is_empty() {
            let said = format!(
                "`{}` is a video, and {} of a video are files for each frame: add `--frames`",
                input.shown(),
                unfit.join(", ")
            );
            // An error only for a video given by name: one found in a folder may be there by chance.
            ensure!(!input.named, "{said}");
            left_out.push(format!("left out: {said}"));
        }
        if !formats.is_empty() {
            wanted.push((input, formats));
        }
    }
    ensure!(!wanted.is_empty(), "there is nothing to do: {}", left_out.join("\n"));

    let place = place(&wanted, wishes)?;
    let (inputs, formats): (Vec<Input>, Vec<Vec<Format>>) = wanted.into_iter().unzip();
    let job = |(input, (name, formats)): (Input, (Name, Vec<Format>))| {
        let target = |format: &Format| target(&input, &name, *format, &place, wishes);
        let targets = formats.iter().map(target).collect::<Result<Vec<_>>>()?;
        let is_wanted = wishes.shard.is_none_or(|(part, of)| part_of(&input.relative, of) == part);
        Ok(Job { input, name: name.file, targets, image_id: 0, is_wanted })
    };
    let suffixes = |(input, formats): (&Input, &Vec<Format>)| {
        formats.iter().map(|format| ending(input, *format, wishes)).collect::<Vec<_>>()
    };
    let names = names(&inputs, &inputs.iter().zip(&formats).map(suffixes).collect::<Vec<_>>());
    let jobs = inputs.into_iter().zip(names.into_iter().zip(formats)).map(job).collect::<Result<Vec<_>>>()?;
    check_pictures(&jobs, wishes.encoding)?;
    let (mut jobs, refused) = apart(jobs);
    if let ([], [(_, reason), ..]) = (&jobs[..], &refused[..]) {
        bail!("{reason}");
    }
    if wishes.resume {
        jobs.iter_mut().for_each(leave_existing);
    }
    check_existing(&jobs, wishes.force)?;
    let folder = match place {
        Place::Stdout => None,
        Place::File(path) => Some(path.parent().unwrap_or(Path::new("")).to_owned()),
        Place::Folder(path) => Some(path.to_owned()),
    };
    Ok(Plan { jobs, refused, folder, left_out })
}

/// The formats that an input can have, and the names of the requested ones that it cannot.
fn possible(input: &Input, wishes: &Wishes) -> (Vec<Format>, Vec<&'static str>) {
    let is_possible = |format: &Format| {
        !input.is_moving() || wishes.encoding.frames || pixels(*format).is_some() || *format == Format::Json
    };
    let (possible, unfit): (Vec<Format>, Vec<Format>) = wishes.formats.iter().partition(|format| is_possible(format));
    (possible, unfit.into_iter().map(Format::name).collect())
}

fn place<'a>(wanted: &[(Input, Vec<Format>)], wishes: &Wishes<'a>) -> Result<Place<'a>> {
    let Some(path) = wishes.output else {
        return Ok(Place::Folder(Path::new("")));
    };
    let shown = path.display();
    let is_file = |input: &Input| !(input.is_moving() && wishes.encoding.frames);
    let only = match wanted {
        [(input, formats)] if is_file(input) => formats.first().filter(|_| formats.len() == 1),
        _ => None,
    };
    if path.as_os_str() == "-" {
        ensure!(only.is_some(), "`-o -` is for one output: give one input, one format, and no `--frames`");
        return Ok(Place::Stdout);
    }
    if path.is_dir() || path.to_string_lossy().ends_with(std::path::is_separator) {
        return Ok(Place::Folder(path));
    }
    if only.is_none() {
        ensure!(!path.exists(), "`{shown}` is a file, and there are several to write: name a folder with `-o`");
        ensure!(
            path.extension().is_none(),
            "`{shown}` is called like a file, and there are several to write: name a folder with `-o`, \
             e.g. `-o {shown}/`"
        );
        return Ok(Place::Folder(path));
    }
    if path.extension().is_none() {
        ensure!(!path.exists(), "the output `{shown}` is a file without an extension: choose another name with `-o`");
        return Ok(Place::Folder(path));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(folder.is_dir(), "the output's directory `{}` does not exist", folder.display());
    Ok(Place::File(path))
}

fn target(input: &Input, name: &Name, format: Format, place: &Place, wishes: &Wishes) -> Result<Target> {
    let usual = usual(input, format, wishes);
    let within = |folder: &Path| folder.join(name.output(&ending(input, format, wishes)));
    let (encoding, to) = match place {
        Place::Stdout => {
            // A pipe needs a container that is written without seeking.
            let streamed = match usual {
                Encoding::Film(Container::Mp4 | Container::M4v | Container::Mov) => {
                    let is_transparent = pixels(format) == Some(Pixels::Rgba);
                    Encoding::Film(if is_transparent { Container::Webm } else { Container::Mkv })
                }
                other => other,
            };
            (streamed, Destination::Stdout)
        }
        Place::File(path) => (named(path, usual, format, wishes.encoding)?, Destination::File((*path).to_owned())),
        Place::Folder(folder) if becomes_frames(input, wishes) => (usual, Destination::Frames(within(folder))),
        Place::Folder(folder) => (usual, Destination::File(within(folder))),
    };
    Ok(Target { format, encoding, to })
}

fn becomes_frames(input: &Input, wishes: &Wishes) -> bool {
    input.is_moving() && wishes.encoding.frames
}

/// How an output is written where its name does not say it.
fn usual(input: &Input, format: Format, wishes: &Wishes) -> Encoding {
    let is_film = input.is_moving() && !wishes.encoding.frames;
    if is_film { film(input, format) } else { image(input, format, wishes.encoding.picture_format) }
}

/// What an output is called behind its input's name.
fn ending(input: &Input, format: Format, wishes: &Wishes) -> String {
    if becomes_frames(input, wishes) { "frames".into() } else { suffix(format, usual(input, format, wishes)) }
}

/// How an output of an image or of a frame is written where its name does not say it.
fn image(input: &Input, format: Format, wanted: Option<PictureFormat>) -> Encoding {
    // Flat colours with sharp edges do not suit JPEG.
    let is_photograph = matches!(format, Format::Overlay | Format::Contours);
    let usual = if is_photograph && input.is_jpeg() { PictureFormat::Jpeg } else { PictureFormat::Png };
    match pictures(format) {
        [] => Encoding::Data,
        possible => Encoding::Picture(wanted.filter(|wanted| possible.contains(wanted)).unwrap_or(usual)),
    }
}

/// The encoding of a video's output if its name does not choose one.
fn film(input: &Input, format: Format) -> Encoding {
    let Some(pixels) = pixels(format) else { return Encoding::Lines };
    let same = match &input.source {
        Source::Camera(_) => Some(Container::Mp4),
        _ => input.relative.extension().and_then(|extension| Container::of_extension(extension.to_str()?)),
    };
    let usual = match pixels {
        Pixels::Rgba => Container::Webm,
        // Matroska takes every audio codec.
        Pixels::Rgb | Pixels::Gray => Container::Mkv,
    };
    Encoding::Film(same.filter(|same| same.holds(pixels)).unwrap_or(usual))
}

/// The encoding of an output that the user named.
fn named(path: &Path, usual: Encoding, format: Format, args: &EncodingArgs) -> Result<Encoding> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let (encoding, expected): (Option<Encoding>, Vec<&str>) = match usual {
        Encoding::Picture(_) => {
            let possible = pictures(format);
            let picture = PictureFormat::of_extension(extension).filter(|picture| possible.contains(picture));
            if let (Some(picture), Some(wanted)) = (picture, args.picture_format) {
                ensure!(
                    picture == wanted,
                    "`-o {}` and `--picture-format {}` contradict each other: leave one of them out",
                    path.display(),
                    wanted.extension()
                );
            }
            (picture.map(Encoding::Picture), possible.iter().map(|picture| picture.extension()).collect())
        }
        Encoding::Film(_) => {
            let holds = |container: &Container| pixels(format).is_some_and(|pixels| container.holds(pixels));
            let container = Container::of_extension(extension).filter(holds);
            let possible = Container::ALL.iter().filter(|container| holds(container));
            (container.map(Encoding::Film), possible.map(|container| container.extension()).collect())
        }
        Encoding::Data | Encoding::Lines => {
            let expected = match (usual, format) {
                (Encoding::Lines, _) => "jsonl",
                (_, Format::Rle) => "json",
                (_, format) => format.name(),
            };
            (extension.eq_ignore_ascii_case(expected).then_some(usual), vec![expected])
        }
    };
    let Some(encoding) = encoding else {
        let expected = expected.iter().map(|extension| format!("`.{extension}`")).collect::<Vec<_>>().join(", ");
        bail!("the output `{}` is {}: give it a name that ends in {expected}", path.display(), format.name());
    };
    Ok(encoding)
}

/// Refuses options about pictures that no output uses.
fn check_pictures(jobs: &[Job], args: &EncodingArgs) -> Result<()> {
    let pictures = || {
        let targets = jobs.iter().flat_map(|job| &job.targets);
        targets.filter_map(|target| match target.encoding {
            Encoding::Picture(picture) if pictures(target.format).len() > 1 => Some(picture),
            _ => None,
        })
    };
    if let Some(wanted) = args.picture_format {
        ensure!(
            pictures().any(|picture| picture == wanted),
            "`--picture-format {}` is for overlay, color and contours{} of images (of videos with `--frames`): \
             add one of them to `--format`, or leave it out",
            wanted.extension(),
            if wanted == PictureFormat::Jpeg { "" } else { ", and for `--cutout`," }
        );
    }
    ensure!(
        args.quality.is_none() || pictures().any(|picture| picture == PictureFormat::Jpeg),
        "`--quality` is for JPEG, and PNG and WebP are written without loss: add `--picture-format jpeg`, or leave it out"
    );
    Ok(())
}

/// Takes out those jobs of which an output would be that of an earlier one, or an input.
fn apart(jobs: Vec<Job>) -> (Vec<Job>, Vec<(Input, String)>) {
    let inputs: HashSet<PathBuf> = jobs.iter().filter_map(|job| job.input.path()?.canonicalize().ok()).collect();
    let mut writers: HashMap<PathBuf, String> = HashMap::new();
    let (mut kept, mut refused) = (vec![], vec![]);
    for job in jobs {
        let mut reason = None;
        for path in job.targets.iter().filter_map(Target::path) {
            let (this, shown) = (job.input.shown(), path.display());
            if let Some(other) = writers.get(path) {
                reason = Some(format!(
                    "`{other}` and `{this}` would both become `{shown}`: run this one by itself, into another folder"
                ));
            } else if job.is_wanted && path.canonicalize().is_ok_and(|path| inputs.contains(&path)) {
                reason = Some(format!(
                    "the output `{shown}` is the image itself, or another input: choose another with `-o`"
                ));
            }
        }
        match reason {
            Some(reason) if job.is_wanted => refused.push((job.input, reason)),
            // Another part of the work says so.
            Some(_) => {}
            None => {
                let paths = job.targets.iter().filter_map(Target::path);
                writers.extend(paths.map(|path| (path.to_owned(), job.input.shown())));
                kept.push(job);
            }
        }
    }
    (kept, refused)
}

fn check_existing(jobs: &[Job], force: bool) -> Result<()> {
    if force {
        return Ok(());
    }
    let targets = jobs.iter().filter(|job| job.is_wanted).flat_map(|job| &job.targets);
    let mut existing = targets.filter(|target| is_there(target)).filter_map(Target::path);
    let Some(first) = existing.next() else { return Ok(()) };
    // Frames of a video share a folder.
    let others: HashSet<&Path> = existing.filter(|path| *path != first).collect();
    let others = match others.len() {
        0 => String::new(),
        more => format!(", and so do {more} other outputs"),
    };
    bail!("{}", already_there(first, &others))
}

/// Whether an output is there: files are written whole or not at all. Of a folder of frames, the first is looked at.
fn is_there(target: &Target) -> bool {
    let first = match target.to {
        Destination::Frames(_) => target.of_frame(1),
        _ => target.clone(),
    };
    first.path().is_some_and(|path| path.symlink_metadata().is_ok())
}

/// Takes the outputs that are there out of a job.
fn leave_existing(job: &mut Job) {
    // Frames may be there in part: they are all made anew, which `--force` has to allow.
    job.targets.retain(|target| matches!(target.to, Destination::Frames(_)) || !is_there(target));
    job.is_wanted &= !job.targets.is_empty();
}

/// Which of `parts` parts an input belongs to: its name's FNV-1a hash, which is the same everywhere.
fn part_of(name: &Path, parts: u64) -> u64 {
    let bytes = name.to_string_lossy().replace('\\', "/").into_bytes();
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    // The low bits of this hash are weak for short names.
    (hash ^ (hash >> 32)) % parts
}

/// The message for an output that exists and may not be replaced.
pub(super) fn already_there(path: &Path, others: &str) -> String {
    format!("`{}` exists{others}: replace it with `--force`, or choose another output with `-o`", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> EncodingArgs {
        EncodingArgs { picture_format: None, quality: None, frames: false }
    }

    fn inputs(relative: &[&str]) -> Vec<Input> {
        let input = |name: &&str| {
            let path = PathBuf::from(format!("in/{name}"));
            let is_film = Container::of_extension(path.extension().unwrap_or_default().to_str().unwrap()).is_some();
            let source = if is_film { Source::Video(path) } else { Source::File(path) };
            Input { source, relative: name.into(), named: true }
        };
        relative.iter().map(input).collect()
    }

    fn encoded(
        relative: &[&str],
        formats: &[Format],
        output: Option<&str>,
        encoding: &EncodingArgs,
    ) -> Result<Vec<String>, String> {
        let wishes =
            Wishes { formats, output: output.map(Path::new), encoding, force: false, resume: false, shard: None };
        let plan = plan(inputs(relative), &wishes).map_err(|error| error.to_string())?;
        Ok(plan
            .jobs
            .iter()
            .flat_map(|job| job.targets.iter().map(|target| target.shown().replace('\\', "/")))
            .collect())
    }

    fn paths(relative: &[&str], formats: &[Format], output: Option<&str>) -> Result<Vec<String>, String> {
        encoded(relative, formats, output, &args())
    }

    const OVERLAY: &[Format] = &[Format::Overlay];

    #[test]
    fn outputs_are_named_after_inputs_and_formats() {
        let all = [Format::Overlay, Format::Json, Format::Rle, Format::Npy, Format::Cutout];
        let expected = ["cat.overlay.png", "cat.json", "cat.rle.json", "cat.npy", "cat.cutout.png"];
        assert_eq!(paths(&["cat.webp"], &all, None).unwrap(), expected);
        assert_eq!(
            paths(&["a.jpg", "a.png", "sub/b.tif"], OVERLAY, Some("out")).unwrap(),
            ["out/a.jpg.overlay.jpg", "out/a.png.overlay.png", "out/sub/b.overlay.png"]
        );
        assert_eq!(paths(&["a.jpg"], &[Format::Mask], Some("x.png/")).unwrap(), ["x.png/a.mask.png"]);
    }

    #[test]
    fn photographs_stay_jpegs_and_numbers_and_transparency_never_become_one() {
        let all = [Format::Overlay, Format::Contours, Format::Color, Format::Mask, Format::Ids, Format::Cutout];
        let of = |picture_format| {
            let names = encoded(&["a.JPG"], &all, None, &EncodingArgs { picture_format, ..args() }).unwrap();
            names.iter().map(|name| name.rsplit_once('.').unwrap().1.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of(None), ["jpg", "jpg", "png", "png", "png", "png"]);
        assert_eq!(of(Some(PictureFormat::Jpeg)), ["jpg", "jpg", "jpg", "png", "png", "png"]);
        assert_eq!(of(Some(PictureFormat::Webp)), ["webp", "webp", "webp", "png", "png", "webp"]);
        assert_eq!(of(Some(PictureFormat::Png)), ["png"; 6]);
    }

    #[test]
    fn wishes_that_nothing_fulfils_are_refused() {
        let refused = |formats: &[Format], args: EncodingArgs| encoded(&["a.png"], formats, None, &args).unwrap_err();
        let jpeg = EncodingArgs { picture_format: Some(PictureFormat::Jpeg), ..args() };
        assert!(refused(&[Format::Cutout], jpeg).contains("overlay, color and contours"));
        let webp = || EncodingArgs { picture_format: Some(PictureFormat::Webp), ..args() };
        assert!(refused(&[Format::Mask, Format::Json], webp()).contains("--picture-format webp"));
        assert!(refused(OVERLAY, EncodingArgs { quality: Some(80), ..args() }).contains("--picture-format jpeg"));
        assert!(refused(OVERLAY, EncodingArgs { quality: Some(80), ..webp() }).contains("without loss"));
        assert!(encoded(&["a.jpg", "b.png"], OVERLAY, None, &EncodingArgs { quality: Some(80), ..args() }).is_ok());
        let said = encoded(&["a.jpg"], OVERLAY, Some("x.png"), &webp()).unwrap_err();
        assert!(said.contains("contradict"), "{said}");
    }

    #[test]
    fn one_output_may_be_a_file_and_several_may_not() {
        for name in ["x.PNG", "x.jpg", "x.jpeg", "x.webp"] {
            assert_eq!(paths(&["a.jpg"], OVERLAY, Some(name)).unwrap(), [name]);
        }
        assert_eq!(paths(&["a.jpg"], &[Format::Geojson], Some("x.geojson")).unwrap(), ["x.geojson"]);
        assert_eq!(paths(&["a.jpg"], &[Format::Rle], Some("x.json")).unwrap(), ["x.json"]);
        assert!(paths(&["a.jpg"], OVERLAY, Some("x.bmp")).unwrap_err().contains("`.png`, `.jpg`, `.webp`"));
        assert!(paths(&["a.jpg"], &[Format::Ids], Some("x.jpg")).unwrap_err().contains("ends in `.png`"));
        assert!(paths(&["a.jpg"], &[Format::Cutout], Some("x.jpg")).unwrap_err().contains("`.png`, `.webp`"));
        assert!(paths(&["a.jpg"], OVERLAY, Some("no/such/x.png")).unwrap_err().contains("`no/such` does not exist"));
        assert!(paths(&["a.jpg", "b.jpg"], OVERLAY, Some("x.png")).unwrap_err().contains("`-o x.png/`"));
        assert!(paths(&["a.jpg"], &[Format::Overlay, Format::Ids], Some("x.png")).is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(paths(&["a.jpg", "b.jpg"], OVERLAY, file.path().to_str()).unwrap_err().contains("is a file"));
    }

    #[test]
    fn standard_output_takes_one_output() {
        assert_eq!(paths(&["a.jpg"], OVERLAY, Some("-")).unwrap(), ["-"]);
        assert!(paths(&["a.jpg", "b.jpg"], OVERLAY, Some("-")).unwrap_err().contains("one output"));
        assert!(paths(&["a.jpg"], &[Format::Overlay, Format::Ids], Some("-")).unwrap_err().contains("one output"));
        assert!(encoded(&["a.mp4"], OVERLAY, Some("-"), &EncodingArgs { frames: true, ..args() }).is_err());
        let encoding = |formats: &[Format]| {
            let wishes = Wishes {
                formats,
                output: Some(Path::new("-")),
                encoding: &args(),
                force: false,
                resume: false,
                shard: None,
            };
            plan(inputs(&["a.mp4"]), &wishes).unwrap().jobs[0].targets[0].encoding
        };
        // mp4 cannot be written to a pipe.
        assert_eq!(encoding(OVERLAY), Encoding::Film(Container::Mkv));
        assert_eq!(
            (encoding(&[Format::Cutout]), encoding(&[Format::Json])),
            (Encoding::Film(Container::Webm), Encoding::Lines)
        );
    }

    #[test]
    fn nothing_is_replaced_unasked_and_an_input_never() {
        let dir = tempfile::tempdir().unwrap();
        let [image, there] = ["in.png", "in.overlay.png"].map(|name| dir.path().join(name));
        std::fs::write(&image, "").unwrap();
        std::fs::write(&there, "").unwrap();
        let plan = |output: &Path, force| {
            let input = Input { source: Source::File(image.clone()), relative: "in.png".into(), named: true };
            let wishes =
                Wishes { formats: OVERLAY, output: Some(output), encoding: &args(), force, resume: false, shard: None };
            plan(vec![input], &wishes).map_err(|error| error.to_string())
        };
        assert!(plan(dir.path(), false).unwrap_err().contains("--force"));
        assert!(plan(dir.path(), true).is_ok());
        let roundabout = dir.path().join(".").join("in.png");
        assert!(plan(&roundabout, true).unwrap_err().contains("the image itself"));
    }

    #[test]
    fn what_cannot_be_named_apart_is_refused_alone() {
        let address = |query: &str| Input {
            source: Source::Url(format!("http://example.org/x.jpg?{query}")),
            relative: "x.jpg".into(),
            named: true,
        };
        let mut all = inputs(&["a.jpg", "a.png", "a.jpg.bmp", "a.rle.tif"]);
        all.extend([address("1"), address("2")]);
        let formats = [Format::Json, Format::Rle];
        let wishes =
            Wishes { formats: &formats, output: None, encoding: &args(), force: false, resume: false, shard: None };
        let plan = plan(all, &wishes).unwrap();
        assert_eq!((plan.jobs.len(), plan.refused.len()), (5, 1));
        let (input, reason) = &plan.refused[0];
        assert!(
            input.shown().ends_with("?2") && reason.contains("x.jpg?1") && reason.contains("by itself"),
            "{reason}"
        );
    }

    #[test]
    fn a_video_stays_a_video() {
        let all = [Format::Overlay, Format::Mask, Format::Json, Format::Cutout];
        let of = |name| paths(&[name], &all, None).unwrap().join(" ");
        assert_eq!(of("a.mp4"), "a.overlay.mp4 a.mask.mkv a.jsonl a.cutout.webm");
        assert_eq!(of("a.mov"), "a.overlay.mov a.mask.mkv a.jsonl a.cutout.mov");
        assert_eq!(of("a.webm"), "a.overlay.webm a.mask.mkv a.jsonl a.cutout.webm");
        assert_eq!(of("a.gif"), "a.overlay.gif a.mask.mkv a.jsonl a.cutout.gif");
        assert!(paths(&["a.mp4"], &[Format::Mask], Some("x.mp4")).unwrap_err().contains("ends in `.mkv`"));
        assert!(paths(&["a.mp4"], OVERLAY, Some("x.avi")).unwrap_err().contains("`.mp4`, `.m4v`, `.mov`"));
        assert_eq!(paths(&["a.mp4"], OVERLAY, Some("x.gif")).unwrap(), ["x.gif"]);
    }

    #[test]
    fn frames_go_into_a_folder_in_any_format() {
        let frames = || EncodingArgs { frames: true, ..args() };
        let all = [Format::Overlay, Format::Geojson];
        assert_eq!(encoded(&["a.mp4"], &all, Some("out"), &frames()).unwrap(), ["out/a.frames", "out/a.frames"]);
        assert!(encoded(&["a.mp4"], OVERLAY, Some("x.png"), &frames()).unwrap_err().contains("several"));
        // Without `--frames` a video given by name is refused, and one found in a folder is left out.
        assert!(paths(&["a.mp4"], &all, None).unwrap_err().contains("`--frames`"));
        let mut found = inputs(&["a.mp4", "b.jpg"]);
        found[0].named = false;
        let wishes = Wishes {
            formats: &[Format::Npy],
            output: None,
            encoding: &args(),
            force: false,
            resume: false,
            shard: None,
        };
        let plan = plan(found, &wishes).unwrap();
        assert_eq!(plan.jobs.len(), 1);
        assert!(plan.left_out[0].contains("in/a.mp4"), "{:?}", plan.left_out);
    }

    #[test]
    fn parts_together_are_the_whole_and_names_do_not_depend_on_them() {
        let names: Vec<String> = (0..200).map(|index| format!("sub/photo {index}.jpg")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).chain(["a.jpg", "a.png"]).collect();
        let of = |shard| {
            let args = args();
            let output = Some(Path::new("out"));
            let wishes = Wishes { formats: OVERLAY, output, encoding: &args, force: false, resume: false, shard };
            let jobs = plan(inputs(&names), &wishes).unwrap().jobs.into_iter().filter(|job| job.is_wanted);
            jobs.map(|job| job.targets[0].shown()).collect::<Vec<_>>()
        };
        let mut whole = of(None);
        let parts: Vec<Vec<String>> = (0..7).map(|part| of(Some((part, 7)))).collect();
        assert!(parts.iter().all(|part| (15..45).contains(&part.len())), "{:?}", parts.iter().map(Vec::len));
        let mut together = parts.concat();
        together.sort();
        whole.sort();
        assert_eq!(together, whole);
    }

    #[test]
    fn resuming_makes_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.overlay.jpg", "a.json", "b.json"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let (args, formats) = (args(), [Format::Overlay, Format::Json]);
        let plan = |resume| {
            let output = Some(dir.path());
            let wishes = Wishes { formats: &formats, output, encoding: &args, force: false, resume, shard: None };
            plan(inputs(&["a.jpg", "b.jpg", "c.jpg"]), &wishes)
        };
        assert!(plan(false).unwrap_err().to_string().contains("--force"));
        let jobs = plan(true).unwrap().jobs.into_iter().filter(|job| job.is_wanted);
        let made =
            jobs.flat_map(|job| job.targets).map(|target| target.path().unwrap().file_name().unwrap().to_owned());
        assert_eq!(made.collect::<Vec<_>>(), ["b.overlay.jpg", "c.overlay.jpg", "c.json"]);
    }
}
