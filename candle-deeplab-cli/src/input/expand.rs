//! From arguments to a list of inputs.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::address::{name_of_url, of_address};
use super::kinds::{IMAGES, VIDEOS, is_camera, of_file, original_of_ours};
use super::source::{Input, Source, name_of};
use super::walk::Walk;

/// What there is to segment, and what was left out of it, to be said.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) inputs: Vec<Input>,
    pub(crate) left_out: Vec<String>,
}

/// The inputs that arguments name, in the order of the arguments; within a folder or a pattern by name. What is named
/// twice is taken once. Nothing is looked for in `except`, the folder for outputs.
///
/// A shell that expands `*.jpg` names this program's own photo.overlay.jpg beside photo.jpg; where both are named, the
/// former is left out.
pub(crate) fn expand(arguments: &[PathBuf], except: Option<&Path>) -> Result<Inputs> {
    let except = except.and_then(|dir| dir.canonicalize().ok());
    let (mut inputs, mut known) = (vec![], HashSet::new());
    for argument in arguments {
        let found = expand_one(argument, except.as_deref())?;
        inputs.extend(found.into_iter().filter(|input| known.insert(input.source.clone())));
    }
    let names: HashSet<PathBuf> = inputs
        .iter()
        .flat_map(|input| [name_of(&input.relative), name_of(&input.relative.with_extension(""))])
        .collect();
    let made_of_another = |input: &Input| {
        input.path().and_then(original_of_ours).is_some_and(|original| names.contains(Path::new(original)))
    };
    let (ours, inputs): (Vec<Input>, Vec<Input>) = inputs.into_iter().partition(made_of_another);
    let left_out =
        ours.iter().map(|input| format!("`{}` is left out: this program made it of another input", input.shown()));
    Ok(Inputs { inputs, left_out: left_out.collect() })
}

fn expand_one(argument: &Path, except: Option<&Path>) -> Result<Vec<Input>> {
    let text = argument.to_str().unwrap_or_default();
    let shown = argument.display();
    if text == "-" {
        return Ok(vec![Input::named(Source::Stdin, "stdin")]);
    }
    if let Some(source) = of_address(text) {
        let name = name_of_url(text, if matches!(source, Source::Url(_)) { "image" } else { "stream" });
        return Ok(vec![Input::named(source, name)]);
    }
    match std::fs::metadata(argument) {
        Ok(found) if found.is_dir() => {
            let inputs = Walk::new(except).inputs(argument, argument)?;
            ensure!(
                !inputs.is_empty(),
                "there are no images and no videos in `{shown}` ({}, {})",
                IMAGES.join(", "),
                VIDEOS.join(", ")
            );
            Ok(inputs)
        }
        Ok(found) if is_camera(argument, &found) => {
            Ok(vec![Input::named(Source::Camera(argument.into()), name_of(argument))])
        }
        Ok(found) => {
            ensure!(
                found.is_file(),
                "`{shown}` is a pipe or a device, and no file: send its content to standard input, and give `-` as the input"
            );
            Ok(vec![Input::named(of_file(argument.into()), name_of(argument))])
        }
        Err(_) if text.contains(['*', '?', '[']) => expand_pattern(text, except),
        Err(error) => Err(error).with_context(|| format!("there is no input `{shown}`")),
    }
}

/// What a pattern matches, for shells that leave patterns to programs. Its first part without wildcards is the root of
/// the tree that outputs mirror.
fn expand_pattern(pattern: &str, except: Option<&Path>) -> Result<Vec<Input>> {
    let wild = |part: &Component| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let base: PathBuf = Path::new(pattern).components().take_while(|part| !wild(part)).collect();
    // As shells do: a wildcard is no dot at a name's beginning.
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let paths =
        glob::glob_with(pattern, options).with_context(|| format!("`{pattern}` is neither a file nor a pattern"))?;
    let paths = paths.map(|path| path.unwrap_or_else(|unreadable| unreadable.path().to_owned()));
    let (links, real): (Vec<PathBuf>, Vec<PathBuf>) = paths.partition(|path| path.is_symlink());
    let (mut inputs, mut folders) = (vec![], Walk::new(except));
    for path in real.into_iter().chain(links) {
        if path.is_dir() {
            inputs.extend(folders.inputs(&path, &base)?);
        } else if original_of_ours(&path).is_none() {
            let relative = path.strip_prefix(&base).unwrap_or(&path).to_owned();
            inputs.push(Input::found(of_file(path), relative));
        }
    }
    inputs.sort_by(|a, b| a.relative.cmp(&b.relative));
    ensure!(!inputs.is_empty(), "nothing matches `{pattern}`, or only what this program has written");
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b.jpg",
            "a.PNG",
            "sub/c.webp",
            "sub/deep/d.tif",
            "notes.txt",
            ".hidden.jpg",
            ".git/e.jpg",
            "a.overlay.png",
            "b.contours.jpg",
            "b.cutout.webp",
            "film.MP4",
            "film.overlay.mp4",
            "film.mask.mkv",
            "film.frames/000001.ids.png",
            "out/b.png",
            "overlay.png",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    fn relative(inputs: &Inputs) -> Vec<String> {
        inputs.inputs.iter().map(|input| input.relative.to_str().unwrap().replace('\\', "/")).collect()
    }

    #[test]
    fn a_folder_is_its_images_and_films_by_name() {
        let dir = tree();
        let inputs = expand(&[dir.path().into()], Some(&dir.path().join("out"))).unwrap();
        assert_eq!(relative(&inputs), ["a.PNG", "b.jpg", "film.MP4", "overlay.png", "sub/c.webp", "sub/deep/d.tif"]);
        assert_eq!(inputs.inputs[1].source, Source::File(dir.path().join("b.jpg")));
        assert_eq!(inputs.inputs[2].source, Source::Video(dir.path().join("film.MP4")));
        // Where outputs lie beside their inputs only their names tell.
        let beside = expand(&[dir.path().into()], Some(dir.path())).unwrap();
        assert_eq!(beside.inputs.len(), 7);
    }

    #[test]
    fn patterns_are_expanded_where_the_shell_did_not() {
        let dir = tree();
        let found = |pattern: &str| expand(&[dir.path().join(pattern)], None).map(|inputs| relative(&inputs));
        assert_eq!(found("*.jpg").unwrap(), ["b.jpg"]);
        assert_eq!(found("**/*.[w]*").unwrap(), ["sub/c.webp"]);
        assert_eq!(found("s*").unwrap(), ["sub/c.webp", "sub/deep/d.tif"]);
        assert!(found("*.jpeg").unwrap_err().to_string().contains("nothing matches"));
        assert!(found("[").unwrap_err().to_string().contains("neither a file nor a pattern"));
        // A file that is called like a pattern is a file.
        std::fs::write(dir.path().join("x[1].jpg"), "").unwrap();
        assert_eq!(found("x[1].jpg").unwrap(), ["x[1].jpg"]);
    }

    #[test]
    fn what_is_named_twice_is_taken_once() {
        let dir = tree();
        let path = dir.path().join("b.jpg");
        assert_eq!(expand(&[path.clone(), path], None).unwrap().inputs.len(), 1);
    }

    #[test]
    fn other_sources_are_told_by_their_looks() {
        let dir = tree();
        let one = |argument: &str| expand(&[dir.path().join(argument)], None).map(|mut found| found.inputs.remove(0));
        assert!(matches!(one("film.MP4").unwrap().source, Source::Video(_)));
        assert!(matches!(one("notes.txt").unwrap().source, Source::File(_)));
        assert!(one("missing.jpg").unwrap_err().to_string().contains("there is no input"));
        let web = expand(&["-".into(), "https://example.org/a/cat.jpg?size=9".into()], None).unwrap().inputs;
        assert_eq!(web[0], Input::named(Source::Stdin, "stdin"));
        assert_eq!(web[1].relative, Path::new("cat.jpg"));
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(one("empty").unwrap_err().to_string().contains("no images"));
    }

    /// What a shell makes of `*.jpg` in a folder where the program has been before.
    #[test]
    fn what_was_made_of_another_input_is_left_out() {
        let dir = tree();
        let both: Vec<PathBuf> = ["b.jpg", "b.contours.jpg"].map(|name| dir.path().join(name)).into();
        let found = expand(&both, None).unwrap();
        assert_eq!(relative(&found), ["b.jpg"]);
        assert!(found.left_out.len() == 1 && found.left_out[0].contains("b.contours.jpg"), "{:?}", found.left_out);
        // Alone it is what somebody wants.
        assert_eq!(relative(&expand(&both[1..], None).unwrap()), ["b.contours.jpg"]);
        assert_eq!(relative(&expand(&[dir.path().join("b*")], None).unwrap()), ["b.jpg"]);
    }
}
