//! Runs the tests' server alone, to try other clients with it. It prints its addresses and serves each folder
//! `ROOT/org/name` as a repo until it is killed.

#![allow(clippy::unwrap_used)] // a developer's tool

#[path = "support/hub.rs"]
mod hub;

use std::path::Path;

fn main() {
    let root = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let server = hub::Server::start();
    for owner in std::fs::read_dir(&root).unwrap().map(Result::unwrap) {
        for repo in std::fs::read_dir(owner.path()).unwrap().map(Result::unwrap) {
            let name = format!("{}/{}", owner.file_name().display(), repo.file_name().display());
            let files: Vec<_> = std::fs::read_dir(repo.path())
                .unwrap()
                .map(|file| file.unwrap().path())
                .map(|path| (file_name(&path), std::fs::read(&path).unwrap()))
                .collect();
            let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
            server.put(&name, &files);
            println!("{name}: {} files", files.len());
        }
    }
    println!("HF_ENDPOINT={}", server.hub);
    loop {
        std::thread::park();
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
