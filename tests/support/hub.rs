//! A server that imitates the Hugging Face Hub, on two ports: the Hub itself, and the "CDN" that it redirects to for
//! large files, which is also the authors' host. It can be told to misbehave.

#![allow(dead_code)] // each test uses its part

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The only token that the server knows; its account is called `org`.
pub(crate) const TOKEN: &str = "hf_good";

/// A running server; it ends with the process.
pub(crate) struct Server {
    /// The Hub's address.
    pub(crate) hub: String,
    /// The CDN's address, which is another host to a client.
    pub(crate) cdn: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    hub: String,
    cdn: String,
    repos: BTreeMap<String, Repo>,
    /// The files of the CDN, by path.
    files: HashMap<String, Vec<u8>>,
    faults: Vec<Fault>,
    requests: Vec<Request>,
    /// The parts of uploads that are sent in several, by hash.
    parts: BTreeMap<String, BTreeMap<u64, Vec<u8>>>,
    /// Uploads larger than this are sent in parts of this size.
    part_size: Option<usize>,
}

/// A repo, with its files at one commit.
#[derive(Default, Clone)]
pub(crate) struct Repo {
    pub(crate) commit: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) gated: bool,
    pub(crate) private: bool,
}

/// A request that the server has received.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) on_cdn: bool,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// A way to misbehave for a number of requests.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// Applies to requests whose method and address contain this, e.g. `GET http`.
    pub(crate) when: String,
    pub(crate) times: usize,
    pub(crate) how: How,
}

#[derive(Debug, Clone)]
pub(crate) enum How {
    /// Answers with a status, and optionally asks to wait for some seconds.
    Status(u16, Option<u64>),
    /// Closes the connection after this many bytes of the content.
    CutAt(usize),
    /// Sends nothing more after this many bytes of the content.
    StallAt(usize),
    /// Sends pieces of this many bytes, with this many milliseconds between them.
    Slow(usize, u64),
    /// Sends so many bytes without having said how many.
    Endless(usize),
    /// Sends the headers byte by byte, with so many milliseconds between them.
    SlowHead(u64),
    /// Sends another content of the same length.
    Damage,
    /// Sends the whole file, whatever range is requested.
    IgnoreRange,
    /// Redirects to another address.
    Redirect(String),
    /// Omits a header, or sends it with another value.
    Header(&'static str, Option<&'static str>),
}

pub(crate) fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// The hash of a file as a git blob.
pub(crate) fn git_hash(content: &[u8]) -> String {
    hex(&Sha1::new().chain_update(format!("blob {}\0", content.len())).chain_update(content).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether git would store the file by LFS.
pub(crate) fn is_lfs(path: &str) -> bool {
    [".safetensors", ".bin", ".pth", ".gz"].iter().any(|suffix| path.ends_with(suffix))
}

/// Bytes without a pattern, the same in every run.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(byte).collect()
}

impl Server {
    pub(crate) fn start() -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, cdn) = (listen(), listen());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { hub: address(&hub), cdn: address(&cdn), ..State::default() }));
        let server = Self { hub: address(&hub), cdn: address(&cdn), state: state.clone() };
        for (listener, on_cdn) in [(hub, false), (cdn, true)] {
            let state = state.clone();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = state.clone();
                    // A client that was killed has closed the connection, which is no failure.
                    thread::spawn(move || serve(stream, on_cdn, &state).ok());
                }
            });
        }
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Creates a repo with these files, or the repo's next commit.
    pub(crate) fn put(&self, repo: &str, files: &[(&str, &[u8])]) {
        self.change(repo, |repo| {
            repo.files = files.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())).collect();
        });
    }

    /// Changes a repo, which makes a new commit.
    pub(crate) fn change(&self, repo: &str, change: impl FnOnce(&mut Repo)) {
        let mut state = self.state();
        let entry = state.repos.entry(repo.into()).or_default();
        change(entry);
        let mut hash = Sha1::new().chain_update(repo).chain_update(&entry.commit);
        for (path, content) in &entry.files {
            hash.update(format!("{path} {}", git_hash(content)));
        }
        entry.commit = hex(&hash.finalize());
    }

    pub(crate) fn repo(&self, repo: &str) -> Option<Repo> {
        self.state().repos.get(repo).cloned()
    }

    /// Adds an author's file, and returns its address.
    pub(crate) fn author(&self, path: &str, content: &[u8]) -> String {
        self.state().files.insert(format!("/{path}"), content.to_vec());
        format!("{}/{path}", self.cdn)
    }

    /// Misbehaves from here on.
    pub(crate) fn fault(&self, when: &str, times: usize, how: How) {
        self.state().faults.push(Fault { when: when.into(), times, how });
    }

    /// Accepts uploads larger than this only in parts.
    pub(crate) fn set_part_size(&self, size: usize) {
        self.state().part_size = Some(size);
    }

    /// Behaves well again, and forgets the requests.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.requests.clear();
    }

    /// The requests since the last reset.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }
}

/// An answer, before any misbehaviour is applied.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    content: Vec<u8>,
}

impl Answer {
    fn status(status: u16) -> Self {
        Self { status, headers: vec![], content: vec![] }
    }

    fn json(value: &Value) -> Self {
        Self::status(200).header("Content-Type", "application/json").content(value.to_string().into_bytes())
    }

    fn error(status: u16, code: &str) -> Self {
        Self::status(status).header("X-Error-Code", code).header("X-Error-Message", code)
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn content(self, content: Vec<u8>) -> Self {
        Self { content, ..self }
    }
}

fn serve(stream: TcpStream, on_cdn: bool, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request = Request { on_cdn, method, path, headers, body };

    let (mut answer, fault) = {
        let mut state = state.lock().unwrap();
        state.requests.push(request.clone());
        let host = if on_cdn { "cdn" } else { "hub" };
        let shown = format!("{} {host}{}", request.method, request.path);
        let hit = state.faults.iter_mut().find(|fault| fault.times > 0 && shown.contains(&fault.when));
        let fault = hit.map(|fault| {
            fault.times -= 1;
            fault.how.clone()
        });
        let answer = if on_cdn { cdn(&request, &mut state) } else { hub(&request, &mut state) };
        (answer, fault)
    };
    let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    if let (Some((from, to)), 200, false) = (range, answer.status, matches!(fault, Some(How::IgnoreRange))) {
        let (total, from) = (answer.content.len(), from.parse::<usize>().unwrap());
        let to = to.parse().unwrap_or(usize::MAX).min(total.saturating_sub(1));
        if from >= total {
            answer = Answer::status(416).header("Content-Range", format!("bytes */{total}"));
        } else {
            answer.content = answer.content[from..=to].to_vec();
            answer.status = 206;
            answer.headers.push(("Content-Range".into(), format!("bytes {from}-{to}/{total}")));
        }
    }
    match &fault {
        Some(How::Status(status, wait)) => {
            answer = Answer::status(*status);
            answer.headers.extend(wait.map(|seconds| ("Retry-After".into(), seconds.to_string())));
        }
        Some(How::Redirect(to)) => answer = Answer::status(302).header("Location", to.clone()),
        Some(How::Damage) => answer.content.iter_mut().for_each(|byte| *byte ^= 0x55),
        Some(How::Header(name, value)) => {
            answer.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            answer.headers.extend(value.map(|value| ((*name).into(), value.into())));
        }
        _ => {}
    }
    write_answer(stream, &request.method, &answer, fault.as_ref())
}

fn write_answer(mut stream: TcpStream, method: &str, answer: &Answer, fault: Option<&How>) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", answer.status);
    if !matches!(fault, Some(How::Endless(_))) {
        head += &format!("Content-Length: {}\r\n", answer.content.len());
    }
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(How::SlowHead(pause)) = fault {
        for byte in head.bytes() {
            stream.write_all(&[byte])?;
            thread::sleep(Duration::from_millis(*pause));
        }
        head.clear();
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if method == "HEAD" {
        return stream.shutdown(Shutdown::Write);
    }
    let content = &answer.content;
    match fault {
        Some(How::CutAt(at)) => stream.write_all(&content[..(*at).min(content.len())])?,
        Some(How::StallAt(at)) => {
            stream.write_all(&content[..(*at).min(content.len())])?;
            thread::sleep(Duration::from_secs(20));
        }
        Some(How::Endless(bytes)) => {
            for _ in 0..bytes.div_ceil(1 << 16) {
                stream.write_all(&[b' '; 1 << 16])?;
            }
        }
        Some(How::Slow(piece, pause)) => {
            for piece in content.chunks(*piece) {
                stream.write_all(piece)?;
                thread::sleep(Duration::from_millis(*pause));
            }
        }
        _ => stream.write_all(content)?,
    }
    stream.shutdown(Shutdown::Write)
}

fn cdn(request: &Request, state: &mut State) -> Answer {
    let path = request.path.split('?').next().unwrap();
    if request.method == "PUT" {
        return take(path, request, state);
    }
    let found = match path.strip_prefix("/lfs/") {
        Some(hash) => {
            let mut all = state.repos.values().flat_map(|repo| repo.files.values());
            all.find(|content| sha256(content) == hash).cloned()
        }
        None => state.files.get(path).cloned(),
    };
    match found {
        Some(content) => {
            let etag = format!("\"{}\"", &sha256(&content)[..16]);
            Answer::status(200).header("ETag", etag).header("Accept-Ranges", "bytes").content(content)
        }
        None => Answer::status(404),
    }
}

/// Receives a large file, or a part of one.
fn take(path: &str, request: &Request, state: &mut State) -> Answer {
    let mut parts = path.trim_start_matches("/upload/").split('/');
    let hash = parts.next().unwrap().to_owned();
    match parts.next() {
        Some(number) => {
            drop(state.parts.entry(hash).or_default().insert(number.parse().unwrap(), request.body.clone()))
        }
        None => drop(state.files.insert(format!("/uploaded/{hash}"), request.body.clone())),
    }
    Answer::status(200).header("ETag", format!("\"{}\"", git_hash(&request.body)))
}

fn hub(request: &Request, state: &mut State) -> Answer {
    let path = request.path.split('?').next().unwrap().to_owned();
    let known = request.headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"));
    if path == "/api/models" {
        return Answer::json(&json!([]));
    }
    if path == "/api/whoami-v2" {
        return if known { Answer::json(&json!({ "name": "org" })) } else { Answer::status(401) };
    }
    if request.method == "POST" {
        return if known { post(&path, request, state) } else { Answer::status(401) };
    }
    let Some((repo, rest)) = path[1..].split_once("/resolve/") else { return Answer::status(404) };
    let Some((revision, file)) = rest.split_once('/') else { return Answer::status(404) };
    let (revision, file) = (revision.replace("%2F", "/"), file.replace("%20", " "));
    let Some(entry) = state.repos.get(repo).filter(|entry| !entry.private || known) else {
        return Answer::error(if known { 404 } else { 401 }, "RepoNotFound");
    };
    if entry.gated && !known {
        return Answer::error(401, "GatedRepo");
    }
    if revision != "main" && !entry.commit.starts_with(&revision) {
        return Answer::error(404, "RevisionNotFound");
    }
    let Some(content) = entry.files.get(&file) else {
        return Answer::error(404, "EntryNotFound").header("X-Repo-Commit", &entry.commit);
    };
    let answer = Answer::status(200).header("X-Repo-Commit", &entry.commit);
    if is_lfs(&file) {
        let hash = sha256(content);
        let mut answer = answer.header("X-Linked-Etag", format!("\"{hash}\""));
        answer.status = 302;
        answer
            .header("X-Linked-Size", content.len().to_string())
            .header("ETag", format!("\"{}\"", git_hash(hash.as_bytes())))
            .header("Location", format!("{}/lfs/{hash}?signature=1", state.cdn))
    } else {
        answer.header("ETag", format!("\"{}\"", git_hash(content))).content(content.clone())
    }
}

fn post(path: &str, request: &Request, state: &mut State) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if path == "/api/repos/create" {
        let owner = body["organization"].as_str().unwrap_or("org");
        let name = format!("{owner}/{}", body["name"].as_str().unwrap());
        if owner == "others" {
            return Answer::status(403).content(br#"{"error":"You don't have the rights"}"#.to_vec());
        }
        if state.repos.contains_key(&name) {
            return Answer::status(409);
        }
        let private = body["private"] == true;
        state.repos.insert(name.clone(), Repo { private, ..Repo::default() });
        return Answer::json(&json!({ "url": name }));
    }
    if path.ends_with(".git/info/lfs/objects/batch") {
        let objects: Vec<Value> =
            body["objects"].as_array().unwrap().iter().map(|object| batch(object, state)).collect();
        return Answer::json(&json!({ "objects": objects, "transfer": "basic" }));
    }
    if let Some(hash) = path.strip_prefix("/complete/") {
        let parts = state.parts.remove(hash).unwrap();
        let named = body["parts"].as_array().unwrap().len();
        assert_eq!(named, parts.len());
        let whole: Vec<u8> = parts.into_values().flatten().collect();
        state.files.insert(format!("/uploaded/{hash}"), whole);
        return Answer::status(200);
    }
    if path == "/verify" {
        let content = &state.files[&format!("/uploaded/{}", body["oid"].as_str().unwrap())];
        let same = sha256(content) == body["oid"].as_str().unwrap() && content.len() as u64 == body["size"];
        return Answer::status(if same { 200 } else { 422 });
    }
    let Some(rest) = path.strip_prefix("/api/models/") else { return Answer::status(404) };
    if rest.ends_with("/preupload/main") {
        let mode = |file: &Value| {
            let path = file["path"].as_str().unwrap();
            let mode = if is_lfs(path) { "lfs" } else { "regular" };
            json!({ "path": path, "uploadMode": mode, "shouldIgnore": false })
        };
        let files: Vec<Value> = body["files"].as_array().unwrap().iter().map(mode).collect();
        return Answer::json(&json!({ "files": files }));
    }
    match rest.strip_suffix("/commit/main") {
        Some(repo) => commit(repo, request, state),
        None => Answer::status(404),
    }
}

fn batch(object: &Value, state: &State) -> Value {
    let (hash, size) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap() as usize);
    if state.files.contains_key(&format!("/uploaded/{hash}")) {
        return json!({ "oid": hash, "size": size });
    }
    let verify = json!({ "href": format!("{}/verify", state.hub) });
    let upload = match state.part_size.filter(|part| size > *part) {
        Some(part) => {
            let mut header = serde_json::Map::from_iter([("chunk_size".to_owned(), json!(part.to_string()))]);
            for number in 1..=size.div_ceil(part) {
                header.insert(format!("{number:05}"), json!(format!("{}/upload/{hash}/{number}", state.cdn)));
            }
            json!({ "href": format!("{}/complete/{hash}", state.hub), "header": header })
        }
        None => json!({ "href": format!("{}/upload/{hash}", state.cdn) }),
    };
    json!({ "oid": hash, "size": size, "actions": { "upload": upload, "verify": verify } })
}

fn commit(repo: &str, request: &Request, state: &mut State) -> Answer {
    let text = String::from_utf8(request.body.clone()).unwrap();
    let mut files = vec![];
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let value = &line["value"];
        let path = value["path"].as_str().unwrap_or_default().to_owned();
        match line["key"].as_str().unwrap() {
            "file" => files.push((path, BASE64.decode(value["content"].as_str().unwrap()).unwrap())),
            "lfsFile" => {
                let content = state.files[&format!("/uploaded/{}", value["oid"].as_str().unwrap())].clone();
                files.push((path, content));
            }
            _ => {}
        }
    }
    let entry = state.repos.get_mut(repo).unwrap();
    entry.files.extend(files);
    entry.commit = hex(&Sha1::digest(&request.body));
    Answer::json(&json!({ "commitOid": entry.commit, "commitUrl": "x", "success": true }))
}
