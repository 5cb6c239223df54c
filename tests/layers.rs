//! Checks the order of modules: a module uses only those before it in its crate's order, and no files use each other in
//! a circle.
//!
//! The sources are read as text, in which `use` declarations and paths such as `crate::graph::Value` or
//! `bands::stretches` count. A name that a module only re-exports (`pub use`) belongs to the file that defines it.
//! Tests may use anything.

#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

/// A crate of the workspace, with the order of its modules.
struct Crate {
    folder: &'static str,
    /// Its modules. Each may use itself and those before it. A submodule that is listed has its own place. If the list
    /// is empty, only circles are faults.
    order: &'static [&'static str],
    /// Known faults, as pairs of modules of which the first uses the second. An entry has to be removed when its fault
    /// is mended.
    known: &'static [(&'static str, &'static str)],
}

const CRATES: &[Crate] = &[
    Crate {
        folder: "candle-deeplab",
        order: &[
            "recycling",
            "error",
            "file",
            "header",
            "atomic",
            "apart",
            "suggest",
            "pipeline",
            "labels",
            "graph",
            "config",
            "arch",
            "exec::cuda::kernels",
            "ops",
            "upsample",
            "mistaken",
            "weights",
            "exec::choice",
            "exec::eager",
            "exec::train",
            "exec::fuse",
            "exec::fold",
            "exec::cpu",
            "exec::cuda",
            "exec",
            "device",
            "model",
            "bundled",
            "pixels",
            "npy",
            "segment",
            "mask",
            "metrics",
            "onnx",
        ],
        known: &[],
    },
    Crate {
        folder: "weights-convert",
        order: &[
            "version",
            "shown",
            "decision",
            "dtype",
            "format",
            "axes",
            "error",
            "read::file",
            "read::quantization",
            "read::tensor",
            "read::reader",
            "read::pickle",
            "read",
            "families::options",
            "families::names",
            "families::conventions",
            "families::layers",
            "families::backbones",
            "families::family",
            "families",
            "card",
            "report",
            "convert",
            "verify",
        ],
        known: &[],
    },
    Crate {
        folder: "candle-deeplab-hub",
        order: &[
            "error", "entry", "table", "registry", "hub", "name", "files", "convert", "archive", "store", "resolve",
            "cache",
        ],
        known: &[],
    },
    Crate {
        folder: "candle-deeplab-train",
        order: &[
            "error",
            "lines",
            "random",
            "tensors",
            "data",
            "augment",
            "loader",
            "loss",
            "optim",
            "schedule",
            "eval",
            "log",
            "recipe",
            "start",
            "checkpoint",
            "run",
        ],
        known: &[],
    },
    Crate {
        folder: "candle-deeplab-serve",
        order: &[
            "error",
            "settings",
            "otlp",
            "logs",
            "meter",
            "problem",
            "turn",
            "queue",
            "models",
            "app",
            "body",
            "work",
            "answer",
            "fetch",
            "format",
            "options",
            "multipart",
            "segment",
            "v2",
            "tools",
            "openapi",
            "page",
            "auth",
            "drain",
            "unread",
            "observe",
            "routes",
            "server",
        ],
        known: &[],
    },
    Crate { folder: "candle-deeplab-cli", order: &[], known: &[] },
];

#[test]
fn modules_use_one_another_in_one_direction() {
    let faults: Vec<String> = CRATES.iter().flat_map(|of| Sources::read(of.folder).faults(of)).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The files of a crate by module path, e.g. `exec::cpu`; the root's path is empty.
struct Sources(BTreeMap<String, Source>);

/// What a file uses and declares. A path is the list of its segments.
#[derive(Default)]
struct Source {
    /// The modules that it declares, without tests.
    children: BTreeSet<String>,
    /// The paths that it uses.
    uses: Vec<Vec<String>>,
    /// The names that it re-exports, with the paths that they stand for.
    passed_on: BTreeMap<String, Vec<String>>,
}

/// One module uses another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: String,
    to: String,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.from, self.to)
    }
}

impl Sources {
    fn read(folder: &str) -> Self {
        let src = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(folder).join("src");
        let mut texts = Vec::new();
        collect(&src, "", &mut texts);
        assert!(texts.len() > 1, "no sources in {}", src.display());
        Self::of(&texts)
    }

    /// Parses pairs of a module and its text. A library and a program in the same folder share the root.
    fn of(texts: &[(String, String)]) -> Self {
        let (mut sources, mut tests) = (BTreeMap::<String, Source>::new(), BTreeSet::new());
        for (module, text) in texts {
            let (tokens, of_tests) = without_tests(&tokens(text));
            tests.extend(of_tests.into_iter().map(|child| join(module, &child)));
            sources.entry(module.clone()).or_default().add(&tokens);
        }
        sources.retain(|module, _| !tests.iter().any(|test| is_in(module, test)));
        Self(sources)
    }

    /// The faults of a crate, one per line.
    fn faults(&self, of: &Crate) -> Vec<String> {
        let mut faults = Vec::new();
        let mut arrows = self.arrows();
        let known = |arrow: &Arrow, (from, to): &(&str, &str)| is_in(&arrow.from, from) && is_in(&arrow.to, to);
        for pair @ (from, to) in of.known {
            if !arrows.iter().any(|arrow| known(arrow, pair)) {
                faults.push(format!("{from} → {to} is mended: strike it from the known faults"));
            }
        }
        arrows.retain(|arrow| !of.known.iter().any(|pair| known(arrow, pair)));
        // The longest listed name that contains a module gives its place.
        let place = |module: &str| {
            let names = of.order.iter().enumerate().filter(|(_, name)| is_in(module, name));
            names.max_by_key(|(_, name)| name.len()).map(|(place, _)| place)
        };
        if !of.order.is_empty() {
            let placeless = self.0.keys().filter(|module| !module.is_empty() && place(module).is_none());
            faults.extend(placeless.map(|module| format!("{module} has no place in the order of modules")));
            let against = arrows.iter().filter(|arrow| place(&arrow.from) < place(&arrow.to));
            faults.extend(against.map(|arrow| format!("{arrow} runs against the order of modules")));
        }
        faults.extend(circles(&arrows).into_iter().map(|circle| format!("a circle: {}", circle.join(" → "))));
        faults.into_iter().map(|fault| format!("{}: {fault}", of.folder)).collect()
    }

    /// The uses between files. Not counted are those of the root, which may re-export anything, and those of a module's
    /// own file by its submodules.
    fn arrows(&self) -> BTreeSet<Arrow> {
        let mut arrows = BTreeSet::new();
        for (from, source) in self.0.iter().filter(|(module, _)| !module.is_empty()) {
            let targets = source.uses.iter().filter_map(|path| self.resolve(from, path));
            arrows.extend(targets.filter(|to| !is_in(from, to)).map(|to| Arrow { from: from.clone(), to }));
        }
        arrows
    }

    /// The module that defines what a path names; `None` if it is outside the crate.
    fn resolve(&self, from: &str, path: &[String]) -> Option<String> {
        let (mut module, mut rest) = (from.to_owned(), path);
        match rest.first()?.as_str() {
            "crate" => (module, rest) = (String::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {}
            child if self.0.get(from)?.children.contains(child) => {}
            _ => return None,
        }
        while rest.first().is_some_and(|segment| segment == "super") {
            (module, rest) = (module.rsplit_once("::").map_or("", |(parent, _)| parent).to_owned(), &rest[1..]);
        }
        while let Some((segment, after)) = rest.split_first() {
            let child = join(&module, segment);
            if !self.0.contains_key(&child) {
                return match self.0.get(&module)?.passed_on.get(segment) {
                    Some(stands_for) => self.resolve(&module, &[stands_for, after].concat()),
                    None => Some(module),
                };
            }
            (module, rest) = (child, after);
        }
        Some(module)
    }
}

impl Source {
    fn add(&mut self, tokens: &[&str]) {
        let (mut names, mut at) = (BTreeSet::new(), 0);
        let word = |at: usize| tokens.get(at).copied().unwrap_or_default();
        while at < tokens.len() {
            match tokens[at] {
                "use" => {
                    let len = tokens[at..].iter().position(|token| *token == ";").unwrap();
                    let paths = use_tree(&tokens[at + 1..at + len]);
                    // `pub use` and `pub(crate) use` re-export names.
                    let start = tokens[..at].iter().rposition(|token| [";", "}", "]"].contains(token));
                    match word(start.map_or(0, |start| start + 1)) {
                        "pub" => self.passed_on.extend(paths),
                        _ => self.uses.extend(paths.into_iter().map(|(_, path)| path)),
                    }
                    at += len;
                }
                "mod" if word(at + 2) == ";" => {
                    self.children.insert(word(at + 1).to_owned());
                    at += 2;
                }
                // Not a path that is used: `pub(in super::super)`.
                "in" if at > 1 && (word(at - 2), word(at - 1)) == ("pub", "(") => {
                    at += tokens[at..].iter().position(|token| *token == ")").unwrap();
                }
                first if is_name(first) => {
                    let mut path = vec![first.to_owned()];
                    while word(at + 1) == "::" && is_name(word(at + 2)) {
                        path.push(word(at + 2).to_owned());
                        at += 2;
                    }
                    names.insert(first);
                    if path.len() > 1 {
                        self.uses.push(path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        // A file uses a name that it re-exports only if it also mentions it.
        let used = self.passed_on.iter().filter(|(name, _)| names.contains(name.as_str()));
        self.uses.extend(used.map(|(_, path)| path.clone()));
    }
}

/// The names that a `use` declaration introduces, with their paths.
fn use_tree(tokens: &[&str]) -> Vec<(String, Vec<String>)> {
    let Some(brace) = tokens.iter().position(|token| *token == "{") else {
        let (path, alias) = match tokens.iter().position(|token| *token == "as") {
            Some(at) => (&tokens[..at], tokens.get(at + 1)),
            None => (tokens, None),
        };
        let mut path: Vec<String> = path.iter().filter(|token| **token != "::").map(|token| (*token).into()).collect();
        // `bands::{self}` means `bands`; `bands::*` is counted as `bands`.
        path.pop_if(|last| last == "self" || last == "*");
        let name = alias.map(|alias| (*alias).to_owned()).or_else(|| path.last().cloned());
        return name.map(|name| (name, path)).into_iter().collect();
    };
    let (prefix, inner) = (&tokens[..brace], &tokens[brace + 1..tokens.len() - 1]);
    let (mut depth, mut branches) = (0, vec![vec![]]);
    for token in inner {
        depth += i32::from(*token == "{") - i32::from(*token == "}");
        match *token {
            "," if depth == 0 => branches.push(vec![]),
            token => branches.last_mut().unwrap().push(token),
        }
    }
    let whole = |branch: Vec<&str>| use_tree(&[prefix, &branch[..]].concat());
    branches.into_iter().filter(|branch| !branch.is_empty()).flat_map(whole).collect()
}

/// The shortest circle through each file that is in one, without duplicates.
fn circles(arrows: &BTreeSet<Arrow>) -> Vec<Vec<String>> {
    let mut circles: Vec<Vec<String>> = Vec::new();
    for start in arrows.iter().map(|arrow| &arrow.from).collect::<BTreeSet<_>>() {
        if circles.iter().any(|circle| circle.contains(start)) {
            continue;
        }
        let mut paths = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        let mut next = 0;
        while let Some(path) = paths.get(next).cloned() {
            next += 1;
            for arrow in arrows.iter().filter(|arrow| Some(&arrow.from) == path.last()) {
                let longer = [&path[..], std::slice::from_ref(&arrow.to)].concat();
                if arrow.to == *start {
                    circles.push(longer);
                    paths.clear();
                    break;
                }
                if seen.insert(&arrow.to) {
                    paths.push(longer);
                }
            }
        }
    }
    circles
}

/// Collects the sources below a folder.
fn collect(folder: &Path, module: &str, texts: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() {
            collect(&path, &join(module, name), texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let of_folder = matches!(name, "lib" | "main" | "mod");
            let module = if of_folder { module.to_owned() } else { join(module, name) };
            texts.push((module, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The code that is not compiled for tests only, and the test modules that have their own files.
fn without_tests<'a>(tokens: &[&'a str]) -> (Vec<&'a str>, Vec<String>) {
    const TESTS: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut code, mut modules, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        if !tokens[at..].starts_with(&TESTS) {
            code.push(tokens[at]);
            at += 1;
            continue;
        }
        // An item ends with a semicolon or with its closing brace.
        let (start, mut depth) = (at, 0);
        loop {
            depth += i32::from(tokens[at] == "{") - i32::from(tokens[at] == "}");
            at += 1;
            if depth == 0 && matches!(tokens[at - 1], ";" | "}") {
                break;
            }
        }
        if let [.., "mod", name, ";"] = tokens[start..at] {
            modules.push(name.to_owned());
        }
    }
    (code, modules)
}

/// Splits code into words and signs, without comments, strings and characters.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").unwrap() + 2
        } else if let Some(len) = raw_text(rest) {
            len
        } else if first == '"' {
            text_end(&rest[1..], '"') + 1
        } else if first == '\'' {
            // A character or a lifetime.
            let mut chars = rest[1..].chars();
            match (chars.next(), chars.next()) {
                (Some('\\'), _) | (_, Some('\'')) => text_end(&rest[1..], '\'') + 1,
                _ => 1,
            }
        } else {
            let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let len = if word > 0 {
                word
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            if !first.is_whitespace() {
                tokens.push(&rest[..len]);
            }
            len
        };
        rest = &rest[len..];
    }
    tokens
}

/// The length of the raw string that the text begins with.
fn raw_text(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inner = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text.len() - inner.len() + inner.find(&end).unwrap() + end.len())
}

/// Where a string ends, including its closing quote.
fn text_end(text: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == end => return at + 1,
            _ => {}
        }
    }
    panic!("a text without an end: {text:.40}")
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn join(module: &str, child: &str) -> String {
    if module.is_empty() { child.to_owned() } else { format!("{module}::{child}") }
}

/// Whether a module is this one or inside it. All modules are inside the root.
fn is_in(module: &str, whole: &str) -> bool {
    whole.is_empty() || module.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Guards against misread sources, whose faults would go unnoticed.
#[test]
fn arrows_are_found_however_they_are_written() {
    let text = |text: &str| text.to_owned();
    let sources = Sources::of(&[
        (text(""), text("mod a; mod b; mod c; pub use b::deep::Thing;")),
        (text("a"), text("use crate::b::{self, c as d, deep::{One, Two}}; // use crate::nothing;")),
        (
            text("b"),
            text("mod deep; #[cfg(test)] mod tests; pub(crate) use deep::One;\nfn f<'a>() -> &'a str { \"c::x\" }"),
        ),
        (text("b::deep"), text("pub(in super::super) struct One; fn f() { crate::c::f(super::super::a::g()); }")),
        (text("b::tests"), text("use crate::a::All;")),
        (text("c"), text("use crate::Thing; #[cfg(test)] mod tests { use crate::a; } fn f() { r#\"crate::a \"#; }")),
    ]);
    let arrows: Vec<String> = sources.arrows().iter().map(Arrow::to_string).collect();
    assert_eq!(arrows, ["a → b", "a → b::deep", "b::deep → a", "b::deep → c", "c → b::deep"]);
    let of = Crate { folder: "x", order: &["a", "b", "c"], known: &[("b", "a"), ("c", "a")] };
    let faults = sources.faults(&of);
    assert_eq!(
        faults,
        [
            "x: c → a is mended: strike it from the known faults",
            "x: a → b runs against the order of modules",
            "x: a → b::deep runs against the order of modules",
            "x: b::deep → c runs against the order of modules",
            "x: a circle: b::deep → c → b::deep"
        ]
    );
}
