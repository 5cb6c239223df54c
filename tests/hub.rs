//! Tests of the Hub's client against a server that imitates the Hub, and networks that fail.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

#[path = "support/hub.rs"]
mod hub;
mod support;
#[path = "support/torch_file.rs"]
mod torch_file;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Module, Tensor};
use candle_deeplab_hub::hub::{Event, Hub, LowestRate, RepoId, Settings, Token};
use candle_deeplab_hub::{Error, Zoo};
use hub::{How, Server, TOKEN, git_hash, noise, sha256};
use support::shared::shared;
use tempfile::TempDir;

const REPO: &str = "org/model";
const WEIGHTS: &str = "model.safetensors";

/// A server with one repo, and an empty cache.
struct World {
    server: Server,
    home: TempDir,
    weights: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let (server, weights) = (Server::start(), noise(1_000_000));
        server.put(REPO, &[("config.json", b"{}"), ("onnx/deep.txt", b"deep"), (WEIGHTS, &weights)]);
        Self { server, home: tempfile::tempdir().unwrap(), weights }
    }

    fn settings(&self) -> Settings {
        Settings {
            endpoint: self.server.hub.clone(),
            cache: self.home.path().join("hub"),
            models: self.home.path().join("assets/candle-deeplab"),
            token: None,
            offline: false,
            no_progress: true,
            namespace: None,
            timeout: Duration::from_secs(5),
            lowest_rate: LowestRate::default(),
            backoff: Duration::from_millis(5),
        }
    }

    fn hub_with(&self, change: impl FnOnce(&mut Settings)) -> Hub {
        let mut settings = self.settings();
        change(&mut settings);
        Hub::new(settings).unwrap()
    }

    fn hub(&self) -> Hub {
        self.hub_with(|_| {})
    }

    fn repo_folder(&self) -> PathBuf {
        self.home.path().join("hub/models--org--model")
    }

    fn blob(&self) -> PathBuf {
        self.repo_folder().join("blobs").join(sha256(&self.weights))
    }

    fn partial(&self) -> PathBuf {
        self.blob().with_extension("incomplete")
    }

    /// Downloads the weights, which must succeed.
    fn fetch(&self) {
        let path = file(&self.hub(), "main", WEIGHTS).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), self.weights);
        assert!(!self.partial().exists());
    }

    /// Downloads the weights, which must fail. Returns the message.
    fn fetch_error(&self) -> String {
        file(&self.hub(), "main", WEIGHTS).unwrap_err().to_string()
    }

    /// The ranges that were requested from the CDN.
    fn ranges(&self) -> Vec<Option<String>> {
        let requests = self.server.requests().into_iter().filter(|request| request.on_cdn);
        requests.map(|request| request.headers.get("range").cloned()).collect()
    }
}

fn file(hub: &Hub, revision: &str, file: &str) -> Result<PathBuf, Error> {
    hub.file(&RepoId::new(REPO).unwrap(), revision, file)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

// ---- what is fetched, and where it lies ----

#[test]
fn files_lie_where_pythons_client_has_them() {
    let world = World::new();
    let commit = world.server.repo(REPO).unwrap().commit;
    for name in ["config.json", "onnx/deep.txt", WEIGHTS] {
        let path = file(&world.hub(), "main", name).unwrap();
        assert_eq!(path, world.repo_folder().join("snapshots").join(&commit).join(name));
    }
    let mut blobs = vec![git_hash(b"{}"), git_hash(b"deep"), sha256(&world.weights)];
    blobs.sort();
    assert_eq!(names(&world.repo_folder().join("blobs")), blobs);
    assert_eq!(names(&world.repo_folder()), ["blobs", "refs", "snapshots"]);
    assert_eq!(std::fs::read_to_string(world.repo_folder().join("refs/main")).unwrap(), commit);
    assert_eq!(names(&world.home.path().join("hub")), [".locks", "models--org--model"]);
    #[cfg(unix)]
    {
        let link = std::fs::read_link(world.repo_folder().join("snapshots").join(&commit).join(WEIGHTS)).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(sha256(&world.weights)));
        let deep = std::fs::read_link(world.repo_folder().join("snapshots").join(&commit).join("onnx/deep.txt"));
        assert_eq!(deep.unwrap(), Path::new("../../../blobs").join(git_hash(b"deep")));
    }
}

/// The cache imitates what Python's huggingface_hub 2.4 was seen to write.
#[test]
fn what_python_has_fetched_is_not_fetched_again() {
    let world = World::new();
    let commit = world.server.repo(REPO).unwrap().commit;
    let (blobs, snapshot) = (world.repo_folder().join("blobs"), world.repo_folder().join("snapshots").join(&commit));
    for folder in [&blobs, &snapshot, &world.repo_folder().join("refs")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(world.repo_folder().join("refs/main"), &commit).unwrap();
    std::fs::write(world.blob(), &world.weights).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(format!("../../blobs/{}", sha256(&world.weights)), snapshot.join(WEIGHTS)).unwrap();
    #[cfg(not(unix))]
    std::fs::write(snapshot.join(WEIGHTS), &world.weights).unwrap();
    for offline in [false, true] {
        world.server.reset();
        let hub = world.hub_with(|settings| settings.offline = offline);
        assert_eq!(file(&hub, "main", WEIGHTS).unwrap(), snapshot.join(WEIGHTS));
        assert!(world.server.requests().iter().all(|request| request.method == "HEAD"));
    }
}

#[test]
fn a_branch_is_asked_about_and_a_commit_is_not() {
    let world = World::new();
    let old = file(&world.hub(), "main", "config.json").unwrap();
    let commit = world.server.repo(REPO).unwrap().commit;
    world.server.change(REPO, |repo| drop(repo.files.insert("config.json".into(), b"{\"new\": 1}".to_vec())));
    let new = file(&world.hub(), "main", "config.json").unwrap();
    assert_eq!(std::fs::read(&new).unwrap(), b"{\"new\": 1}");
    assert_eq!(std::fs::read(&old).unwrap(), b"{}");
    world.server.reset();
    assert_eq!(file(&world.hub(), &commit, "config.json").unwrap(), old);
    assert_eq!(world.server.requests().len(), 0);
    // The first digits of a commit's hash are a revision, too.
    let short = &world.server.repo(REPO).unwrap().commit[..7];
    assert_eq!(file(&world.hub(), short, "config.json").unwrap(), new);
}

#[test]
fn the_token_is_for_the_hub_and_for_nobody_else() {
    let world = World::new();
    world.server.change(REPO, |repo| repo.gated = true);
    let hub = world.hub_with(|settings| settings.token = Some(Token::new(TOKEN, "a test").unwrap()));
    for name in ["config.json", WEIGHTS] {
        file(&hub, "main", name).unwrap();
    }
    let requests = world.server.requests();
    let told = |on_cdn: bool| {
        let of_host = requests.iter().filter(move |request| request.on_cdn == on_cdn);
        of_host.map(|request| request.headers.contains_key("authorization")).collect::<Vec<_>>()
    };
    assert_eq!(told(true), [false]);
    assert!(told(false).len() >= 2 && told(false).into_iter().all(|told| told));
}

// ---- what goes wrong on the way ----

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    let world = World::new();
    world.server.fault("GET cdn", 1, How::CutAt(300_000));
    world.fetch();
    let ranges = world.ranges();
    assert_eq!((ranges.len(), &ranges[0]), (2, &None));
    assert_eq!(ranges[1].as_deref(), Some("bytes=300000-"));
}

#[test]
fn another_process_goes_on_too() {
    let world = World::new();
    world.server.fault("GET cdn", 1, How::CutAt(700_000));
    world.server.fault("GET cdn", 100, How::Status(503, None));
    let error = world.fetch_error();
    assert!(error.contains("503") && error.contains("what has arrived is kept"), "{error}");
    assert_eq!(std::fs::metadata(world.partial()).unwrap().len(), 700_000);
    assert!(!world.blob().exists());
    world.server.reset();
    world.fetch();
    assert_eq!(world.ranges(), [Some("bytes=700000-".to_owned())]);
}

#[test]
fn a_connection_that_always_breaks_is_given_up() {
    let world = World::new();
    world.server.fault("GET cdn", 100, How::CutAt(100));
    let error = world.fetch_error();
    assert!(error.contains("the connection") && error.contains("try again"), "{error}");
    // The first attempt and four retries.
    assert_eq!(world.ranges().len(), 5);
}

#[test]
fn a_server_that_sends_all_again_is_understood() {
    let world = World::new();
    world.server.fault("GET cdn", 1, How::CutAt(300_000));
    world.server.fault("GET cdn", 1, How::IgnoreRange);
    world.fetch();
}

#[test]
fn what_is_left_over_and_damaged_is_fetched_again() {
    let world = World::new();
    std::fs::create_dir_all(world.blob().parent().unwrap()).unwrap();
    for left_over in [vec![0; 5000], vec![0; 1_000_000], vec![0; 2_000_000]] {
        std::fs::write(world.partial(), left_over).unwrap();
        world.fetch();
        std::fs::remove_file(world.blob()).unwrap();
        std::fs::remove_dir_all(world.repo_folder().join("snapshots")).unwrap();
    }
}

#[test]
fn what_is_not_what_was_promised_is_not_kept() {
    let world = World::new();
    for name in ["config.json", WEIGHTS] {
        world.server.fault("GET", 100, How::Damage);
        let error = file(&world.hub(), "main", name).unwrap_err();
        assert!(matches!(error, Error::Digest { .. }), "{error}");
        assert!(error.to_string().contains("not what was promised"), "{error}");
        assert_eq!(names(&world.repo_folder().join("blobs")), [""; 0]);
        world.server.reset();
    }
    world.fetch();
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let world = World::new();
    world.server.fault("HEAD hub", 2, How::Status(500, None));
    world.server.fault("HEAD hub", 1, How::Status(429, Some(0)));
    world.server.fault("GET cdn", 2, How::Status(502, None));
    world.fetch();
    // It is asked again only after the time that it asks for.
    let world = World::new();
    world.server.fault("HEAD hub", 1, How::Status(429, Some(1)));
    let start = Instant::now();
    world.fetch();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_server_that_says_nothing_more_is_not_waited_for() {
    let world = World::new();
    world.server.fault("GET cdn", 1, How::StallAt(400_000));
    let start = Instant::now();
    let path =
        file(&world.hub_with(|settings| settings.timeout = Duration::from_millis(300)), "main", WEIGHTS).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), world.weights);
    assert!(start.elapsed() < Duration::from_secs(15));
    assert_eq!(world.ranges()[1].as_deref(), Some("bytes=400000-"));
}

#[test]
fn a_slow_server_is_waited_for() {
    let world = World::new();
    world.server.fault("GET cdn", 1, How::Slow(100_000, 60));
    let hub = world.hub_with(|settings| settings.timeout = Duration::from_millis(500));
    file(&hub, "main", WEIGHTS).unwrap();
    assert_eq!(world.ranges().len(), 1);
}

// ---- what has no end ----

#[test]
fn a_recipe_without_an_end_is_refused() {
    let world = World::new();
    world.server.fault("/config.json", 100, How::Endless(3 << 20));
    let error = file(&world.hub(), "main", "config.json").unwrap_err();
    assert!(matches!(error, Error::Answer { .. }), "{error}");
    assert!(error.to_string().contains("config.json: more than 1 MiB is not a recipe: refused"), "{error}");
    // It was asked for once, and nothing of it is left.
    assert_eq!(world.server.requests().iter().filter(|request| request.method == "GET").count(), 1);
    assert_eq!(names(&world.repo_folder().join("blobs")), [""; 0]);
}

#[test]
fn an_answer_without_an_end_is_refused() {
    let world = World::new();
    let dir = model_dir(world.home.path());
    let hub = world.hub_with(|settings| settings.token = Some(Token::new(TOKEN, "a test").unwrap()));
    world.server.fault("/api/whoami-v2", 100, How::Endless(3 << 20));
    let error = hub.publish(&dir, &RepoId::new("org/narrow").unwrap(), false, "A model").unwrap_err().to_string();
    assert!(error.contains("it has more than 1048576 bytes"), "{error}");
}

#[test]
fn a_byte_now_and_then_is_no_transfer() {
    let world = World::new();
    let dir = model_dir(world.home.path());
    let hub = world.hub_with(|settings| {
        settings.lowest_rate = LowestRate { bytes: 1000, within: Duration::from_millis(100) };
        settings.timeout = Duration::from_millis(100);
        settings.token = Some(Token::new(TOKEN, "a test").unwrap());
    });
    let publish = || hub.publish(&dir, &RepoId::new("org/narrow").unwrap(), false, "A model").map(drop);
    let fetch = || file(&hub, "main", WEIGHTS).map(drop);
    let says = |when: &str, how: How, request: &dyn Fn() -> Result<(), Error>, says: &str| {
        world.server.reset();
        world.server.fault(when, 100, how);
        let error = request().unwrap_err();
        assert!(error.is_remote() && error.to_string().contains(says), "{when}: {error}");
    };
    says(
        "GET cdn",
        How::Slow(1, 10),
        &fetch,
        "too slow: less than 1000 bytes in 0.1 seconds; what has arrived is kept",
    );
    assert_eq!(world.ranges().len(), 1);
    assert!((1..100).contains(&std::fs::metadata(world.partial()).unwrap().len()));
    says("HEAD hub", How::SlowHead(10), &fetch, "no answer in time");
    says("/api/whoami-v2", How::Slow(1, 20), &publish, "too slow: less than 1000 bytes");
    // What has arrived is gone on with.
    world.server.reset();
    file(&hub, "main", WEIGHTS).unwrap();
    assert!(world.ranges()[0].is_some());
}

// ---- what somebody has put into the cache ----

/// Runs what may hang where it should not.
#[cfg(unix)]
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(20)).expect("it hangs")
}

/// Puts something that is no regular file into the place of a file.
#[cfg(unix)]
fn plant(what: &str, at: &Path) {
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    if at.symlink_metadata().is_ok() {
        std::fs::remove_file(at).unwrap();
    }
    match what {
        "pipe" => assert!(std::process::Command::new("mkfifo").arg(at).status().unwrap().success()),
        target => std::os::unix::fs::symlink(target, at).unwrap(),
    }
}

#[cfg(unix)]
#[test]
fn a_planted_link_is_not_written_through() {
    let world = World::new();
    let theirs = world.home.path().join("theirs");
    for hard in [false, true] {
        std::fs::write(&theirs, "precious").unwrap();
        match hard {
            false => plant(theirs.to_str().unwrap(), &world.partial()),
            true => std::fs::hard_link(&theirs, world.partial()).unwrap(),
        }
        let error = world.fetch_error();
        let says = if hard { "a hard link" } else { "it is a link, not a regular file" };
        assert!(error.contains(&format!("{}.incomplete", sha256(&world.weights))), "{error}");
        assert!(error.contains(says) && error.contains("remove it, and run the command again"), "{error}");
        assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "precious");
        std::fs::remove_file(world.partial()).unwrap();
    }
    // Nor is a file made where a broken link leads.
    let nowhere = world.home.path().join("nowhere");
    plant(nowhere.to_str().unwrap(), &world.partial());
    world.fetch_error();
    assert!(!nowhere.exists());
    std::fs::remove_file(world.partial()).unwrap();
    world.fetch();
}

#[cfg(unix)]
#[test]
fn a_planted_folder_is_not_written_into() {
    let world = World::new();
    let commit = world.server.repo(REPO).unwrap().commit;
    let theirs = world.home.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(theirs.join("main"), "precious").unwrap();
    std::os::unix::fs::symlink("/nowhere", theirs.join(WEIGHTS)).unwrap();
    for folder in ["refs".to_owned(), format!("snapshots/{commit}"), "snapshots".into(), "blobs".into()] {
        let planted = world.repo_folder().join(&folder);
        plant(theirs.to_str().unwrap(), &planted);
        let error = world.fetch_error();
        assert!(error.contains(&format!("{folder}: it is a link, not a folder: remove it")), "{error}");
        std::fs::remove_file(&planted).unwrap();
        assert_eq!(names(&theirs), ["main", WEIGHTS]);
        assert_eq!(std::fs::read_to_string(theirs.join("main")).unwrap(), "precious");
        std::fs::remove_dir_all(world.repo_folder()).unwrap();
    }
    // The cache and a repo may be elsewhere.
    std::fs::create_dir(theirs.join("repo")).unwrap();
    plant(theirs.join("repo").to_str().unwrap(), &world.repo_folder());
    world.fetch();
    assert_eq!(names(&theirs.join("repo")), ["blobs", "refs", "snapshots"]);
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_neither_waited_for_nor_read() {
    let world = World::new();
    world.fetch();
    let (main, etag) = (world.repo_folder().join("refs/main"), sha256(&world.weights));
    let lock = world.home.path().join(format!("hub/.locks/models--org--model/{etag}.lock"));
    for (place, what, says) in [
        (&main, "pipe", "refs/main: it is a named pipe, not a regular file: remove it"),
        (&main, "/dev/zero", "refs/main: it is a link, not a regular file: remove it"),
        (&lock, "pipe", ".lock: it is a named pipe, not a regular file: remove it"),
        (&lock, "/dev/zero", ".lock: it is a link, not a regular file: remove it"),
        (&world.partial(), "pipe", ".incomplete: it is a named pipe, not a regular file: remove it"),
    ] {
        if *place == world.partial() {
            std::fs::remove_file(world.blob()).unwrap();
        }
        plant(what, place);
        let (offline, hub) = (world.hub_with(|settings| settings.offline = true), world.hub());
        // Without a ref that can be read, the cache does not say where the branch is.
        let found = in_time(move || file(&offline, "main", WEIGHTS).is_ok());
        assert_eq!(found, *place == lock, "{place:?}");
        let error = in_time(move || file(&hub, "main", WEIGHTS)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        std::fs::remove_file(place).unwrap();
        world.fetch();
    }
    // A blob is compared with its digest, and not before it is known to be a file.
    for what in ["pipe", "/dev/zero"] {
        plant(what, &world.blob());
        let hub = world.hub();
        assert_eq!(std::fs::read(in_time(move || file(&hub, "main", WEIGHTS)).unwrap()).unwrap(), world.weights);
        assert!(world.blob().symlink_metadata().unwrap().is_file());
    }
    // A ref has 40 letters.
    std::fs::write(&main, format!("{}{}", world.server.repo(REPO).unwrap().commit, " ".repeat(1000))).unwrap();
    assert!(file(&world.hub_with(|settings| settings.offline = true), "main", WEIGHTS).is_err());
    world.fetch();
}

#[cfg(unix)]
#[test]
fn what_is_listed_and_verified_is_no_pipe() {
    let world = World::new();
    let dir = model_dir(world.home.path());
    let [config, weights] = ["config.json", WEIGHTS].map(|name| std::fs::read(dir.join(name)).unwrap());
    world.server.put(REPO, &[("config.json", &config), (WEIGHTS, &weights)]);
    let zoo = Zoo::new(world.settings()).unwrap();
    zoo.pull(REPO).unwrap();
    let planted = world.repo_folder().join("blobs").join("a".repeat(40));
    for (what, says) in [("pipe", "a named pipe"), ("/dev/zero", "a device")] {
        plant(what, &planted);
        let settings = world.settings();
        let [found] = &in_time(|| Zoo::new(settings).unwrap().cache_verify().unwrap())[..] else { panic!() };
        assert_eq!((found.good, found.bad.len()), (2, 1), "{found:?}");
        assert!(found.bad[0].contains(says), "{found:?}");
    }
    // A pipe is no foreign file either.
    let (settings, pipe) = (world.settings(), world.home.path().join("model.pth"));
    plant("pipe", &pipe);
    let error = in_time(move || Zoo::new(settings).unwrap().pull(pipe.to_str().unwrap())).unwrap_err().to_string();
    assert!(error.contains("model.pth: it is a named pipe"), "{error}");
}

// ---- what has changed in the cache ----

/// The same with another last byte.
fn changed(content: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    *content.last_mut().unwrap() ^= 1;
    content
}

/// Flips a bit of a file.
fn damage(path: &Path) {
    let content = changed(&std::fs::read(path).unwrap());
    std::fs::write(path, content).unwrap();
}

#[test]
fn a_damaged_blob_is_fetched_again() {
    let world = World::new();
    let commit = world.server.repo(REPO).unwrap().commit;
    for (name, content) in [("config.json", &b"{}"[..]), (WEIGHTS, &world.weights)] {
        let path = file(&world.hub(), "main", name).unwrap();
        for revision in ["main", &commit] {
            damage(&path);
            world.server.reset();
            let repo = RepoId::new(REPO).unwrap();
            assert_eq!(world.hub().cached(&repo, revision, name).unwrap(), None);
            // Without the network it is not used, and what to do is said.
            let offline = world.hub_with(|settings| settings.offline = true);
            let down = world.hub_with(|settings| settings.endpoint = "http://127.0.0.1:1".into());
            for (hub, says) in [(offline, "HF_HUB_OFFLINE is set: unset it"), (down, "It cannot be fetched again: ")] {
                let error = file(&hub, revision, name).unwrap_err();
                assert!(matches!(error, Error::Damaged { .. }) && error.is_remote(), "{error}");
                let error = error.to_string();
                assert!(
                    error.contains(name) && error.contains("the file is damaged") && error.contains(says),
                    "{error}"
                );
            }
            assert_eq!(world.server.requests().len(), 0);
            // With it, it is fetched; while that does not work, it is still not used.
            world.server.fault("GET", 100, How::Status(404, None));
            file(&world.hub(), revision, name).unwrap_err();
            world.server.reset();
            assert_eq!(world.hub().cached(&repo, revision, name).unwrap(), None);
            assert_eq!(file(&world.hub(), revision, name).unwrap(), path);
            assert_eq!(std::fs::read(&path).unwrap(), content);
            assert!(world.server.requests().iter().any(|request| request.method == "GET"));
        }
        // What is right is not fetched again.
        world.server.reset();
        file(&world.hub(), "main", name).unwrap();
        assert!(world.server.requests().iter().all(|request| request.method == "HEAD"));
    }
}

#[cfg(unix)]
#[test]
fn a_link_to_another_blob_is_mended() {
    let world = World::new();
    let [path, other] = [WEIGHTS, "config.json"].map(|name| file(&world.hub(), "main", name).unwrap());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(other.read_link().unwrap(), &path).unwrap();
    world.fetch();
}

#[test]
fn a_damaged_model_is_not_loaded() {
    let world = World::new();
    let dir = model_dir(world.home.path());
    let [config, weights] = ["config.json", WEIGHTS].map(|name| std::fs::read(dir.join(name)).unwrap());
    world.server.put("org/narrow", &[("config.json", &config), (WEIGHTS, &weights)]);
    let graph = std::fs::read(narrow().join("frozen_inference_graph.pb")).unwrap();
    world.server.put("org/foreign", &[("graph.pb", &graph)]);
    let names = ["org/narrow".to_owned(), world.server.author("graph.pb", &graph), "org/foreign:graph.pb".into()];
    let told = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
    let tell = told.clone();
    let zoo = Zoo::new(world.settings()).unwrap().with_progress(std::sync::Arc::new(move |event| {
        if let Event::Damaged { what } = event {
            tell.lock().unwrap().push(what.to_owned());
        }
    }));
    let offline = Zoo::new(Settings { offline: true, ..world.settings() }).unwrap();
    for name in names {
        let dir = zoo.pull(&name).unwrap().files.directory().unwrap().to_owned();
        for changed in ["config.json", WEIGHTS] {
            let path = dir.join(changed);
            let content = std::fs::read(&path).unwrap();
            assert_eq!(zoo.find(&name).unwrap().unwrap().files.directory().unwrap(), dir);
            damage(&path);
            assert!(zoo.find(&name).unwrap().is_none(), "{name}");
            match offline.load(&name, &Device::Cpu) {
                // It is made anew of what is here.
                Ok(_) => assert_eq!(name, "org/foreign:graph.pb"),
                Err(error) => {
                    assert!(matches!(error, Error::Damaged { .. }), "{name}: {error}");
                    assert!(error.to_string().contains("unset it and run the command again"), "{error}");
                    zoo.load(&name, &Device::Cpu).unwrap();
                    let said = std::mem::take(&mut *told.lock().unwrap());
                    assert!(said.len() == 1 && said[0].contains(": its "), "{said:?}");
                }
            }
            assert_eq!(std::fs::read(&path).unwrap(), content, "{name} {changed}");
        }
    }
}

#[test]
fn what_is_no_model_is_not_good() {
    let world = World::new();
    let dir = model_dir(world.home.path());
    let [config, weights] = ["config.json", WEIGHTS].map(|name| std::fs::read(dir.join(name)).unwrap());
    let pickle = [&b"\x80\x02}q\x00"[..], &noise(1000)].concat();
    let zoo = Zoo::new(world.settings()).unwrap();
    for (content, says) in [
        (&b"<!DOCTYPE html><html>Not found</html>"[..], "it is a web page, not a safetensors file"),
        (&pickle, "it is a pickle, as PyTorch writes them, not a safetensors file: `weights-convert convert"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a pointer of Git LFS"),
        (b"", "the file is empty"),
        (&weights[..weights.len() / 2], "its header describes"),
        (&noise(1000), "its header claims"),
    ] {
        world.server.put("org/narrow", &[("config.json", &config), (WEIGHTS, content)]);
        let error = zoo.pull("org/narrow").unwrap_err().to_string();
        assert!(error.contains("model.safetensors: ") && error.contains(says), "{error}");
        assert!(zoo.find("org/narrow").unwrap().is_none());
        let [found] = &zoo.cache_verify().unwrap()[..] else { panic!("one model is here") };
        assert!(found.bad.iter().any(|bad| bad.contains(says)), "{found:?}");
        // So it is where another program has fetched it.
        let hub = world.hub();
        let repo = RepoId::new("org/narrow").unwrap();
        for name in ["config.json", WEIGHTS] {
            hub.file(&repo, "main", name).unwrap();
        }
        let error = zoo.load("org/narrow", &Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("model.safetensors: ") && error.contains(says), "{error}");
        zoo.cache_remove("org/narrow").unwrap();
    }
    world.server.put("org/narrow", &[("config.json", &config), (WEIGHTS, &weights)]);
    zoo.pull("org/narrow").unwrap();
}

// ---- refusals, and what to do about them ----

#[test]
fn every_refusal_says_what_to_do() {
    let world = World::new();
    let says = |says: &[&str], revision: &str, name: &str, hub: &Hub| {
        let error = file(hub, revision, name).unwrap_err();
        assert!(error.is_remote());
        let error = error.to_string();
        assert!(says.iter().all(|part| error.contains(part)), "{error}");
    };
    says(&["`org/model` has no file `other.json` at `main`"], "main", "other.json", &world.hub());
    says(&["no branch, tag or commit `v9`"], "v9", "config.json", &world.hub());
    world.server.change(REPO, |repo| repo.gated = true);
    let page = format!("{}/org/model", world.server.hub);
    says(&["is gated: accept its terms at", &page, "HF_TOKEN"], "main", "config.json", &world.hub());
    world.server.change(REPO, |repo| (repo.gated, repo.private) = (false, true));
    says(&["401", "or it is private", "HF_TOKEN"], "main", "config.json", &world.hub());
    let stranger = world.hub_with(|settings| settings.token = Some(Token::new("hf_other", "/u/token").unwrap()));
    says(&["or it is private", "from /u/token"], "main", "config.json", &stranger);
    for (status, parts) in [
        (403, vec!["403", "not granted"]),
        (429, vec!["429", "wait a few minutes"]),
        (500, vec!["500", "try again later"]),
        (418, vec!["418", "HF_ENDPOINT"]),
    ] {
        world.server.reset();
        world.server.fault("HEAD hub", 100, How::Status(status, Some(0)));
        says(&parts, "main", "config.json", &world.hub());
    }
}

#[test]
fn without_a_network_the_cache_is_what_there_is() {
    let world = World::new();
    let offline = world.hub_with(|settings| settings.offline = true);
    let error = file(&offline, "main", WEIGHTS).unwrap_err().to_string();
    assert!(error.contains("not in the cache") && error.contains("unset"), "{error}");
    assert_eq!(world.server.requests().len(), 0);
    world.fetch();
    world.server.reset();
    assert!(file(&offline, "main", WEIGHTS).is_ok());
    assert_eq!(world.server.requests().len(), 0);
    // No server listens on port 1.
    let down = world.hub_with(|settings| settings.endpoint = "http://127.0.0.1:1".into());
    assert!(file(&down, "main", WEIGHTS).is_ok());
    let error = file(&down, "main", "config.json").unwrap_err().to_string();
    assert!(error.contains("nobody answers there") && error.contains("HF_ENDPOINT"), "{error}");
    // The Hub is ill, but the cache has the file.
    world.server.fault("HEAD hub", 100, How::Status(503, None));
    assert!(file(&world.hub(), "main", WEIGHTS).is_ok());
}

#[test]
fn an_answer_that_makes_no_sense_is_refused() {
    for (fault, says) in [
        (How::Header("X-Repo-Commit", None), "is HF_ENDPOINT right"),
        (How::Header("X-Repo-Commit", Some("../../etc")), "is HF_ENDPOINT right"),
        (How::Header("X-Linked-Etag", Some("\"../../../evil\"")), "no usable ETag"),
        (How::Header("X-Linked-Size", Some("99999999999999")), "is not a model: refused"),
        (How::Header("Location", Some("file:///etc/passwd")), "an address that makes no sense"),
        (How::Redirect("/org/model/resolve/main/model.safetensors".into()), "redirected more than"),
    ] {
        let world = World::new();
        world.server.fault("HEAD hub", 100, fault.clone());
        let error = world.fetch_error();
        assert!(error.contains(says), "{fault:?}: {error}");
        assert!(!world.blob().exists() && !world.home.path().join("evil").exists());
    }
    // The server sends more than it announced.
    let world = World::new();
    world.server.fault("HEAD hub", 100, How::Header("X-Linked-Size", Some("1000")));
    let error = world.fetch_error();
    assert!(error.contains("more than it had said"), "{error}");
    assert!(std::fs::metadata(world.partial()).unwrap().len() <= 1000);
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_written_says_so() {
    let world = World::new();
    // A file is in the place of the cache's folder.
    std::fs::write(world.home.path().join("hub"), "").unwrap();
    let error = world.fetch_error();
    assert!(error.contains("hub/models--org--model"), "{error}");
}

// ---- foreign files ----

#[test]
fn a_model_loads_by_its_name_wherever_it_is_from() {
    let world = World::new();
    let zoo = Zoo::new(world.settings()).unwrap();
    let (dir, graph) = (model_dir(world.home.path()), narrow().join("frozen_inference_graph.pb"));
    let [config, weights] = ["config.json", WEIGHTS].map(|file| std::fs::read(dir.join(file)).unwrap());
    world.server.put("org/narrow", &[("config.json", &config), (WEIGHTS, &weights)]);
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(vec![], flate2::Compression::fast()));
    tar.append_path_with_name(graph, "narrow/frozen_inference_graph.pb").unwrap();
    let tarball = world.server.author("narrow.tar.gz", &tar.into_inner().unwrap().finish().unwrap());
    let mut names = vec!["bundled".to_owned(), "org/narrow".into(), tarball];
    if let Some(tensors) = shared("reference/torch/hf_mobilenetv2_os8_voc/names.json") {
        let file = world.home.path().join("checkpoint.pth");
        torch_file::write(&tensors, &file);
        let content = std::fs::read(&file).unwrap();
        let says = br#"{"model_type": "mobilenet_v2", "output_stride": 16}"#;
        world.server.put("org/transformers", &[("config.json", says), ("pytorch_model.bin", &content)]);
        names.extend([world.server.author("deeplab.pth", &content), "org/transformers".into()]);
    }
    let pixels = Tensor::zeros((1, 3, 33, 65), DType::F32, &Device::Cpu).unwrap();
    for name in names {
        let model = zoo.load(&name, &Device::Cpu).unwrap();
        assert_eq!(model.forward(&pixels).unwrap().dims(), [1, 21, 33, 65], "{name}");
    }
}

#[test]
fn a_model_is_converted_again_by_a_converter_that_knows_better() {
    let world = World::new();
    let graph = std::fs::read(narrow().join("frozen_inference_graph.pb")).unwrap();
    let url = world.server.author("graph.pb", &graph);
    let zoo = Zoo::new(world.settings()).unwrap();
    let loaded_with_requests = || {
        world.server.reset();
        assert_eq!(zoo.load(&url, &Device::Cpu).unwrap().config().network.classes, 21);
        !world.server.requests().is_empty()
    };
    let manifest = || {
        let [cached] = &zoo.cache_list().unwrap()[..] else { panic!("one model is here") };
        (cached.path.join("manifest.json"), cached.converted.clone().unwrap(), cached.current)
    };
    assert_eq!([loaded_with_requests(), loaded_with_requests()], [true, false]);
    let (file, made, current) = manifest();
    assert_eq!((made.revision, made.sha256, current), (weights_convert::REVISION, sha256(&graph), true));
    // A model of the converter's previous revision.
    let older = std::fs::read_to_string(&file).unwrap();
    let revision = |number: u32| format!("\"revision\": {number}");
    std::fs::write(&file, older.replace(&revision(made.revision), &revision(made.revision - 1))).unwrap();
    assert!(!manifest().2);
    assert_eq!([loaded_with_requests(), loaded_with_requests()], [true, false]);
    assert!(manifest().2);
}

#[test]
fn only_what_was_named_is_removed() {
    let world = World::new();
    let graph = std::fs::read(narrow().join("frozen_inference_graph.pb")).unwrap();
    world.server.put("org/foreign", &[("graph.pb", &graph)]);
    let zoo = Zoo::new(world.settings()).unwrap();
    let listed = || zoo.cache_list().unwrap().into_iter().map(|cached| cached.name).collect::<Vec<_>>();
    zoo.pull("org/foreign:graph.pb").unwrap();
    let converted = "org/foreign@main:graph.pb";
    assert_eq!(listed(), ["org/foreign", converted]);
    for part in ["org/foreign@v1", "org/foreign:graph.pb", "org/foreign@main:other.pb"] {
        let error = zoo.cache_remove(part).unwrap_err().to_string();
        assert!(error.contains("the whole repo would go: say `org/foreign`"), "{error}");
    }
    assert_eq!(listed().len(), 2);
    assert_eq!(zoo.cache_remove(converted).unwrap().len(), 1);
    assert!(world.home.path().join("hub/models--org--foreign").exists());
    zoo.pull("org/foreign:graph.pb").unwrap();
    assert_eq!(zoo.cache_remove("org/foreign").unwrap().len(), 2);
    assert!(!world.home.path().join("hub/models--org--foreign").exists());
    // An author's repo, which Python programs may use, is removed by its own name only.
    let source = "Matthijs/deeplabv3_mobilenet_v2_1.0_513";
    let theirs = world.home.path().join("hub/models--Matthijs--deeplabv3_mobilenet_v2_1.0_513");
    std::fs::create_dir_all(theirs.join("blobs")).unwrap();
    assert_eq!(listed(), [source]);
    assert!(zoo.cache_remove("deeplabv3-mobilenetv2-voc-hf").unwrap_err().to_string().contains("no such model"));
    assert!(theirs.exists());
    zoo.cache_remove(source).unwrap();
    assert!(!theirs.exists());
}

// ---- the other direction ----

fn narrow() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/xception65_narrow")).to_owned()
}

/// A model directory made from the small model of the tests' own data.
fn model_dir(folder: &Path) -> PathBuf {
    let out = folder.join("narrow");
    weights_convert::convert(&narrow().join("frozen_inference_graph.pb"), &out, &Default::default(), false).unwrap();
    std::fs::write(out.join("README.md"), "# A card\n").unwrap();
    out
}

#[test]
fn a_model_is_published_and_loads_from_there() {
    let world = World::new();
    let dir = model_dir(world.home.path());
    let hub = world.hub_with(|settings| settings.token = Some(Token::new(TOKEN, "a test").unwrap()));
    let repo = RepoId::new("org/narrow").unwrap();
    let weights = std::fs::metadata(dir.join(WEIGHTS)).unwrap().len();
    let published = hub.publish(&dir, &repo, true, "A model").unwrap();
    assert_eq!(published.files, ["config.json", WEIGHTS, "README.md"]);
    assert!(published.sent > weights);
    let there = world.server.repo("org/narrow").unwrap();
    assert_eq!((there.commit.as_str(), there.private), (published.commit.as_str(), true));
    for (path, content) in &there.files {
        assert_eq!(content, &std::fs::read(dir.join(path)).unwrap(), "{path}");
    }
    // Large files that the Hub already has are not sent again.
    let again = hub.publish(&dir, &repo, false, "The same").unwrap();
    assert!(again.sent < weights);
    // The token is sent to the Hub only.
    let leaked = world.server.requests().into_iter().any(|r| r.on_cdn && r.headers.contains_key("authorization"));
    assert!(!leaked);
    let zoo = Zoo::new(hub.settings().clone()).unwrap();
    let model = zoo.load("org/narrow", &Device::Cpu).unwrap();
    assert_eq!(model.config().network.classes, 21);
}

#[test]
fn large_files_are_sent_in_the_parts_that_the_hub_wants() {
    let world = World::new();
    let dir = model_dir(world.home.path());
    world.server.set_part_size(100_000);
    world.server.fault("PUT cdn", 1, How::Status(503, None));
    let hub = world.hub_with(|settings| settings.token = Some(Token::new(TOKEN, "a test").unwrap()));
    hub.publish(&dir, &RepoId::new("org/in-parts").unwrap(), false, "A model").unwrap();
    let content = std::fs::read(dir.join(WEIGHTS)).unwrap();
    assert_eq!(world.server.repo("org/in-parts").unwrap().files[WEIGHTS], content);
    let parts = world.server.requests().into_iter().filter(|request| request.method == "PUT").count();
    assert_eq!(parts, content.len().div_ceil(100_000) + 1);
}

#[test]
fn publishing_says_what_it_lacks() {
    let world = World::new();
    let dir = model_dir(world.home.path());
    let publish = |token: Option<&str>, repo: &str, dir: &Path| {
        let hub = world.hub_with(|settings| settings.token = token.map(|token| Token::new(token, "a test").unwrap()));
        hub.publish(dir, &RepoId::new(repo).unwrap(), false, "A model").unwrap_err().to_string()
    };
    assert!(publish(None, "org/narrow", &dir).contains("/settings/tokens"));
    assert!(publish(Some("hf_other"), "org/narrow", &dir).contains("does not know this token"));
    let refused = publish(Some(TOKEN), "others/narrow", &dir);
    assert!(refused.contains("may not write to `others/narrow`") && refused.contains("the rights"), "{refused}");
    assert!(publish(Some(TOKEN), "org/narrow", world.home.path()).contains("config.json"));
}

#[test]
fn a_branch_has_moved_on_when_its_weights_are_here() {
    let world = World::new();
    let dir = model_dir(world.home.path());
    let [config, weights] = ["config.json", WEIGHTS].map(|name| std::fs::read(dir.join(name)).unwrap());
    world.server.put("org/narrow", &[("config.json", &config), (WEIGHTS, &weights)]);
    let zoo = Zoo::new(world.settings()).unwrap();
    let old = zoo.pull("org/narrow").unwrap().files;
    let other = changed(&weights);
    world.server.put("org/narrow", &[("config.json", &[&config[..], b"\n"].concat()), (WEIGHTS, &other)]);
    world.server.fault("GET cdn", 100, How::CutAt(100));
    zoo.pull("org/narrow").unwrap_err();
    assert_eq!(zoo.find("org/narrow").unwrap().unwrap().files, old);
    world.server.reset();
    let new = zoo.pull("org/narrow").unwrap().files;
    assert_eq!(std::fs::read(new.directory().unwrap().join(WEIGHTS)).unwrap(), other);
    assert_eq!(zoo.find("org/narrow").unwrap().unwrap().files, new);
}

// ---- two at once ----

#[test]
fn two_at_once_fetch_once() {
    let world = World::new();
    world.server.fault("GET cdn", 1, How::Slow(100_000, 20));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let path = file(&world.hub(), "main", WEIGHTS).unwrap();
                assert_eq!(std::fs::read(path).unwrap(), world.weights);
            });
        }
    });
    assert_eq!(world.ranges().len(), 1);
    world.fetch();
}
