//! Tests of `candle-deeplab serve` as a process.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use ureq::http::Response;
use ureq::{Agent, Body};

#[path = "support/shared.rs"]
#[allow(dead_code)] // each test uses its part
mod shared;

const PROGRAM: &str = env!("CARGO_BIN_EXE_candle-deeplab");

/// A server of the bundled model, which is ended with the test.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut process = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--quiet"])
            .args(args)
            .env_remove("CANDLE_DEEPLAB_API_KEY")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the server ended before it listened");
            if let Some(address) = line.trim().strip_prefix("http://") {
                break address.to_owned();
            }
        };
        // The rest is read, so that the server never waits for a reader.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let server = Self { process, address };
        let start = Instant::now();
        while server.get("v2/health/ready").status() != 200 {
            assert!(start.elapsed() < Duration::from_secs(60), "the server does not become ready");
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn get(&self, path: &str) -> Response<Body> {
        agent().get(self.url(path)).call().unwrap()
    }

    fn post(&self, path: &str, body: &[u8]) -> Response<Body> {
        agent().post(self.url(path)).send(body).unwrap()
    }

    /// Sends a request on a connection of its own, and does not wait for its answer.
    fn start_post(&self, path: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!("POST /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        stream
    }

    /// The answer's JSON, which must have a status.
    fn json(&self, path: &str, body: &Value, status: u16) -> Value {
        let mut response = self.post(path, body.to_string().as_bytes());
        let text = response.body_mut().read_to_string().unwrap();
        assert_eq!(response.status(), status, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    #[cfg(unix)]
    fn terminate(&self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(120)));
    Agent::new_with_config(config.build())
}

fn bytes(mut response: Response<Body>) -> Vec<u8> {
    assert_eq!(response.status(), 200, "{:?}", response.body_mut().read_to_string());
    response.body_mut().read_to_vec().unwrap()
}

fn said(mut response: Response<Body>) -> (u16, String) {
    let text = response.body_mut().read_to_string().unwrap();
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    (response.status().as_u16(), json["error"].as_str().unwrap().to_owned())
}

/// A photograph that the network sees something in: the one that the program brings along.
fn photo() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/cat.jpg")).unwrap()
}

/// What `segment` writes for an image.
fn segment(dir: &Path, image: &[u8], format: &str, extension: &str) -> Vec<u8> {
    let path = dir.join("photo.jpg");
    std::fs::write(&path, image).unwrap();
    let out = dir.join("out");
    let args = ["segment", "--quiet", "--force", "--format", format, "-o"];
    let done = Command::new(PROGRAM).args(args).arg(&out).arg(&path).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    std::fs::read(out.join(format!("photo.{extension}"))).unwrap()
}

fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    DynamicImage::from(image.clone()).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 5) as u8, (y * 7) as u8, (x * y / 9) as u8]))
}

#[test]
fn a_photograph_is_segmented_as_the_program_does_it() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(&[]));
    let photo = photo();
    for (format, extension, content_type) in [
        ("mask", "mask.png", "image/png"),
        ("ids", "ids.png", "image/png"),
        ("geojson", "geojson", "application/geo+json"),
        ("npy", "npy", "application/x-npy"),
        ("overlay", "overlay.jpg", "image/jpeg"),
        ("contours", "contours.jpg", "image/jpeg"),
    ] {
        let response = server.post(&format!("v1/segment?format={format}"), &photo);
        assert_eq!(response.headers()["content-type"], content_type);
        assert!(response.headers()["server-timing"].to_str().unwrap().contains("compute;dur="));
        assert!(bytes(response) == segment(dir.path(), &photo, format, extension), "{format}");
    }
    // The same in a form, and by what is accepted.
    let mut form = b"--x\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n".to_vec();
    form.extend_from_slice(&photo);
    form.extend_from_slice(b"\r\n--x\r\nContent-Disposition: form-data; name=\"format\"\r\n\r\nmask\r\n--x--\r\n");
    let sent = agent().post(server.url("v1/segment")).header("Content-Type", "multipart/form-data; boundary=x");
    assert!(bytes(sent.send(&form).unwrap()) == segment(dir.path(), &photo, "mask", "mask.png"));
    let sent = agent().post(server.url("v1/segment")).header("Accept", "application/json");
    let statistics: Value = serde_json::from_slice(&bytes(sent.send(&photo).unwrap())).unwrap();
    let written: Value = serde_json::from_slice(&segment(dir.path(), &photo, "json", "json")).unwrap();
    assert_eq!(statistics["classes"], written["classes"]);
    assert!(!statistics["classes"].as_array().unwrap().is_empty());
}

#[test]
fn several_formats_are_answered_as_a_form() {
    let server = Server::start(&[]);
    let image = png(&picture(60, 40));
    let response = server.post("v1/segment?format=mask,confidence,json", &image);
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap().to_owned();
    let answer = bytes(response);
    let text = String::from_utf8_lossy(&answer);
    let parts: Vec<&str> = text.split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 5);
    for (part, head) in parts[1..].iter().zip([
        "name=\"mask\"; filename=\"mask.png\"\r\nContent-Type: image/png",
        "name=\"confidence\"; filename=\"confidence.png\"\r\nContent-Type: image/png",
        "name=\"json\"; filename=\"json.json\"\r\nContent-Type: application/json",
    ]) {
        assert!(part.contains(head), "{part:.200}");
    }
}

#[test]
fn the_open_inference_protocol_is_spoken() {
    let server = Server::start(&["--max-batch", "2"]);
    let get = |path: &str| -> Value { serde_json::from_slice(&bytes(server.get(path))).unwrap() };
    assert_eq!(get("v2")["name"], "candle-deeplab");
    assert_eq!(get("v2/health/live"), json!({"live": true}));
    assert_eq!(get("v2/models/bundled/versions/1/ready"), json!({"ready": true}));
    let metadata = get("v2/models/bundled");
    assert_eq!(metadata["outputs"][1]["shape"], json!([-1, -1, -1, 21]));
    let index: Value = serde_json::from_slice(&bytes(server.post("v2/repository/index", b""))).unwrap();
    assert_eq!(index, json!([{"name": "bundled", "version": "1", "state": "READY", "reason": ""}]));

    let (a, b) = (picture(40, 30), picture(40, 30));
    let values: Vec<u8> = [a.as_raw().as_slice(), b.as_raw()].concat();
    let request = |parameters: Value, data: Option<Value>| {
        let mut input =
            json!({"name": "image", "shape": [2, 30, 40, 3], "datatype": "UINT8", "parameters": parameters});
        if let Some(data) = data {
            input["data"] = data;
        }
        json!({"id": "7", "inputs": [input], "outputs": [{"name": "label_map"}, {"name": "probabilities"}]})
    };
    let answer = server.json("v2/models/bundled/infer", &request(json!({}), Some(json!(values))), 200);
    assert_eq!((&answer["id"], &answer["model_name"]), (&json!("7"), &json!("bundled")));
    let [map, probabilities] = &answer["outputs"].as_array().unwrap()[..] else { panic!() };
    assert_eq!((&map["shape"], &map["datatype"]), (&json!([2, 30, 40]), &json!("UINT8")));
    assert_eq!((&probabilities["shape"], &probabilities["datatype"]), (&json!([2, 30, 40, 21]), &json!("FP32")));
    let ids: Vec<u64> = map["data"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    let all: Vec<f64> = probabilities["data"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
    for (id, pixel) in ids.iter().zip(all.chunks_exact(21)) {
        assert!((pixel.iter().sum::<f64>() - 1.0).abs() < 1e-4);
        assert!(pixel.iter().all(|p| *p <= pixel[*id as usize] + 1e-5));
    }

    // The same as bytes behind the JSON.
    let mut with_bytes = request(json!({"binary_data_size": values.len()}), None);
    with_bytes["outputs"][0]["parameters"] = json!({"binary_data": true});
    with_bytes["outputs"].as_array_mut().unwrap().pop();
    let json = with_bytes.to_string();
    let body = [json.as_bytes(), &values].concat();
    let sent = agent()
        .post(server.url("v2/models/bundled/infer"))
        .header("Inference-Header-Content-Length", json.len().to_string());
    let response = sent.send(&body).unwrap();
    let length: usize = response.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let answer = bytes(response);
    let head: Value = serde_json::from_slice(&answer[..length]).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 2 * 30 * 40);
    assert!(answer[length..].iter().map(|id| u64::from(*id)).eq(ids));

    // Models are controlled only where the operator allows it.
    assert_eq!(said(server.post("v2/repository/models/bundled/unload", b"{}")).0, 403);
}

#[test]
fn what_cannot_be_served_is_said_in_json() {
    let server = Server::start(&["--max-bytes", "100000", "--max-pixels", "150000"]);
    let image = png(&picture(20, 20));
    let jpeg = photo();
    let claimed = |width: u32, height: u32| {
        // A PNG whose header claims more than it has.
        let mut bytes = png(&picture(1, 1));
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let checksum = crc(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        bytes
    };
    let cases: [(&str, &[u8], u16, &str); 14] = [
        ("v1/segment", b"", 400, "no image in the request"),
        ("v1/segment", b"hello", 415, "is no image that is read here"),
        ("v1/segment", &jpeg[..jpeg.len() / 2], 400, "image: "),
        ("v1/segment", &claimed(60_000, 60_000), 413, "60000×60000"),
        ("v1/segment", &claimed(400, 400), 413, "150000"),
        ("v1/segment", &claimed(1000, 1), 400, "too narrow"),
        ("v1/segment", &vec![0; 100_001], 413, "longer than 100000 bytes"),
        ("v1/segment?format=tiff", &image, 400, "there is no format `tiff`"),
        ("v1/segment?colour=red", &image, 400, "colour"),
        ("v1/segment?opacity=2", &image, 400, "from 0 to 1"),
        ("v1/segment?classes=unicorn", &image, 400, "unicorn"),
        ("v1/segment?format=cutout", &image, 400, "cutout=person"),
        ("v1/segment?model=other", &image, 404, "there is no model `other`"),
        ("v2/models/bundled/infer", b"{}", 400, "inputs"),
    ];
    for (path, body, status, expected) in cases {
        let (found, message) = said(server.post(path, body));
        assert!(found == status && message.contains(expected), "{path}: {found} {message}");
    }
    assert_eq!(said(server.get("nothing/here")).0, 404);
    assert_eq!(said(server.get("v1/segment")).0, 405);
    assert_eq!(said(server.get("assets/..%2f..%2fCargo.toml")).0, 404);
    let by_url = json!({"url": "http://127.0.0.1/a.png"}).to_string();
    let sent = agent().post(server.url("v1/segment")).header("Content-Type", "application/json").send(by_url);
    assert_eq!(said(sent.unwrap()).0, 403);
    // It is as well as before.
    bytes(server.post("v1/segment", &image));
}

/// A client that is still sending sees why its request is refused, and no broken connection.
#[test]
fn refusals_arrive_however_long_the_body_is() {
    let server = Server::start(&["--max-bytes", "2000000"]);
    let long = vec![0; 3 << 20];
    let (status, message) = said(server.post("v1/segment", &long));
    assert!(status == 413 && message.contains("longer than 2000000 bytes"), "{status} {message}");
    for (path, expected) in [
        ("v1/segment?model=other", 404),
        ("v2/models/other/infer", 404),
        ("v2/models/bundled/versions/2/infer", 404),
        ("v2/repository/models/bundled/load", 403),
        ("setup", 413),
        ("nothing/here", 404),
        ("metrics", 405),
    ] {
        let (status, message) = said(server.post(path, &long));
        assert_eq!(status, expected, "{path}: {message}");
    }
    let encoded = agent().post(server.url("v1/segment")).header("Content-Encoding", "br").send(&long);
    assert_eq!(said(encoded.unwrap()).0, 415);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "secret").unwrap();
    let server = Server::start(&["--api-key-file", dir.path().join("key").to_str().unwrap()]);
    assert_eq!(said(server.post("v1/segment", &long)).0, 401);
}

/// The checksum of a PNG's chunk.
fn crc(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

#[test]
fn the_page_and_its_interface_need_no_other_host() {
    let server = Server::start(&[]);
    let response = server.get("");
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let page = String::from_utf8(bytes(response)).unwrap();
    for file in page.split(['"', '\'']).filter(|text| text.starts_with("assets/")) {
        let response = server.get(file);
        assert_eq!(response.status(), 200, "{file}");
    }
    let interface: Value = serde_json::from_slice(&bytes(server.get("openapi.json"))).unwrap();
    assert!(interface["paths"]["/v2/models/{model}/infer"]["post"].is_object());
    let metrics = String::from_utf8(bytes(server.get("metrics"))).unwrap();
    assert!(metrics.contains("candle_deeplab_requests_total{route=\"/openapi.json\",method=\"GET\",status=\"200\"} 1"));
}

/// `tests/serve/page.py` drives Chromium, where both it and Python are installed.
#[test]
fn the_page_does_in_a_browser_what_it_promises() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/serve/page.py");
    let server = Server::start(&[]);
    let checked = match Command::new("python3").arg(&script).arg(&server.address).output() {
        Ok(checked) if checked.status.code() == Some(77) => return shared::skip("there is no Chromium here"),
        Ok(checked) => checked,
        Err(_) => return shared::skip("there is no python3 here"),
    };
    let said = String::from_utf8_lossy(&checked.stdout);
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("ok ")).collect();
    assert!(checked.status.success(), "{lines:#?}\n{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn a_key_is_asked_for_where_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "secret\n").unwrap();
    let server = Server::start(&["--api-key-file", file.to_str().unwrap()]);
    assert_eq!(said(server.get("v1/models")).0, 401);
    let with = |value: &str| agent().get(server.url("v1/models")).header("Authorization", value).call().unwrap();
    assert_eq!(with("Bearer secret").status(), 200);
    assert_eq!(with(&format!("Basic {}", STANDARD.encode("x:secret"))).status(), 200);
    assert_eq!(with("Bearer other").status(), 401);
    // The page has to load before it can ask for the key.
    assert_eq!(server.get("").status(), 200);
    std::fs::write(&file, "\n").unwrap();
    let refused = Command::new(PROGRAM).arg("serve").arg("--api-key-file").arg(&file).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("has no key"));
}

#[test]
fn annotation_tools_get_what_they_ask_for() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(&[]));
    let photo = photo();
    let npy = segment(dir.path(), &photo, "npy", "npy");
    let size = image::load_from_memory(&photo).unwrap();
    let (width, height) = (size.width() as usize, size.height() as usize);
    let ids = &npy[npy.len() - width * height..];
    let base64 = STANDARD.encode(&photo);

    // CVAT: the masks of all regions of a class are the class.
    let functions: Value = serde_json::from_slice(&bytes(server.get("api/functions"))).unwrap();
    let spec = functions["bundled"]["metadata"]["annotations"]["spec"].as_str().unwrap();
    let spec: Value = serde_json::from_str(spec).unwrap();
    assert_eq!((spec.as_array().unwrap().len(), &spec[14]["name"]), (20, &json!("person")));
    let found = server.json("api/function_invocations", &json!({"image": base64}), 200);
    let mut drawn = vec![0; ids.len()];
    for annotation in found.as_array().unwrap() {
        let class = spec.as_array().unwrap().iter().find(|entry| entry["name"] == annotation["label"]).unwrap();
        let mask: Vec<usize> =
            annotation["mask"].as_array().unwrap().iter().map(|value| value.as_u64().unwrap() as usize).collect();
        let (pixels, &[left, top, right, bottom]) = mask.split_at(mask.len() - 4) else { panic!() };
        assert_eq!(pixels.len(), (right - left + 1) * (bottom - top + 1));
        for (index, _) in pixels.iter().enumerate().filter(|(_, pixel)| **pixel == 1) {
            let (x, y) = (left + index % (right - left + 1), top + index / (right - left + 1));
            drawn[y * width + x] = class["id"].as_u64().unwrap() as u8;
        }
    }
    assert!(!found.as_array().unwrap().is_empty() && drawn == ids);

    // Label Studio: a brush for each class with a label.
    let config = r#"<View><Image name="i" value="$photo"/><BrushLabels name="b" toName="i"><Label value="Person"/>
        <Label value="Beast" predicted_values="dog,cat,horse,sheep,cow,bird"/></BrushLabels></View>"#;
    assert_eq!(
        server.json("setup", &json!({"project": "1", "schema": config}), 200),
        json!({"model_version": "bundled"})
    );
    let task = |image: &str| json!({"tasks": [{"id": 3, "data": {"photo": image}}], "label_config": config});
    let answer = server.json("predict", &task(&format!("data:image/jpeg;base64,{base64}")), 200);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 1);
    for region in results[0]["result"].as_array().unwrap() {
        assert_eq!((&region["from_name"], &region["value"]["format"]), (&json!("b"), &json!("rle")));
        assert_eq!(region["original_width"], width);
    }
    let refused = server.json("predict", &task("/data/upload/1/a.jpg"), 403);
    assert!(refused["error"].as_str().unwrap().starts_with("task 3: "), "{refused}");
}

#[test]
#[cfg(unix)]
fn requests_that_were_accepted_are_answered_before_the_end() {
    let mut server = Server::start(&["--max-batch", "8", "--max-delay-ms", "3000"]);
    let image = png(&picture(500, 400));
    let asked: Vec<_> = (0..6)
        .map(|_| {
            let (url, image) = (server.url("v1/segment?format=mask"), image.clone());
            thread::spawn(move || bytes(agent().post(url).send(&image).unwrap()).len())
        })
        .collect();
    // All are in the queue.
    wait_until(|| metric(&server, "candle_deeplab_queue_length") == Some(6.0));
    server.terminate();
    // Until then, those who come are told to go elsewhere.
    let refusal = loop {
        let response = server.post("v2/repository/index", b"{}");
        if response.status() != 200 {
            break response;
        }
    };
    assert_eq!((refusal.status().as_u16(), refusal.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    assert_eq!(said(server.post("v1/segment", &vec![0; 3 << 20])).0, 503);
    assert_eq!(server.get("v2/health/ready").status(), 503);
    assert_eq!(server.get("v2/health/live").status(), 200);
    for asked in asked {
        assert!(asked.join().unwrap() > 100);
    }
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(&server.address).is_err());
}

/// Where as many connections are served as there may be, others wait, and are told to go elsewhere at the end.
#[test]
#[cfg(unix)]
fn who_waited_for_a_connection_is_answered_before_the_end() {
    let mut server = Server::start(&["--max-connections", "1", "--max-batch", "8", "--max-delay-ms", "2000"]);
    let image = png(&picture(50, 40));
    let asked = server.start_post("v1/segment?format=mask", &image);
    thread::sleep(Duration::from_millis(300));
    let waiting = server.start_post("v1/segment?format=mask", &image);
    server.terminate();
    let first_line = |mut stream: TcpStream| {
        let mut answer = vec![];
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(first_line(asked), "HTTP/1.1 200 OK");
    assert_eq!(first_line(waiting), "HTTP/1.1 503 Service Unavailable");
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
}

fn metric(server: &Server, name: &str) -> Option<f64> {
    let metrics = String::from_utf8(bytes(server.get("metrics"))).unwrap();
    let line = metrics.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_full_queue_says_so_and_when_to_come_again() {
    let server = Server::start(&["--max-queue", "1"]);
    let image = png(&picture(500, 400));
    let asked: Vec<_> = (0..12)
        .map(|_| {
            let (url, image) = (server.url("v1/segment?format=mask"), image.clone());
            thread::spawn(move || {
                let response = agent().post(url).send(&image).unwrap();
                let retry = response.headers().get("retry-after").is_some();
                (response.status().as_u16(), retry)
            })
        })
        .collect();
    let answers: Vec<_> = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| [(200, false), (429, true)].contains(answer)), "{answers:?}");
    assert!(answers.contains(&(200, false)) && answers.contains(&(429, true)), "{answers:?}");
}

/// Clients that never finish their requests take nothing from those that do.
#[test]
fn slow_clients_do_not_keep_others_waiting() {
    let server = Server::start(&["--max-queue", "4"]);
    let heads = ["GET / HT", "POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n123"];
    let slow: Vec<TcpStream> = (0..100)
        .map(|index| {
            let mut stream = TcpStream::connect(&server.address).unwrap();
            stream.write_all(heads[index % 2].as_bytes()).unwrap();
            stream
        })
        .collect();
    bytes(server.post("v1/segment", &png(&picture(30, 30))));
    // A client that hangs up in the middle of its answer.
    let mut rude = TcpStream::connect(&server.address).unwrap();
    rude.write_all(b"GET /assets/main.js HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    rude.read_exact(&mut [0; 5]).unwrap();
    drop(rude);
    drop(slow);
    bytes(server.post("v1/segment", &png(&picture(30, 30))));
}

/// A client that goes while its image waits for others is counted, and its place is free for them.
#[test]
fn clients_that_go_leave_their_places() {
    let server = Server::start(&["--max-queue", "1", "--max-batch", "8", "--max-delay-ms", "30000"]);
    let gone = server.start_post("v1/segment", &png(&picture(30, 30)));
    wait_until(|| metric(&server, "candle_deeplab_queue_length") == Some(1.0));
    drop(gone);
    let counted = r#"candle_deeplab_requests_total{route="/v1/segment",method="POST",status="499"}"#;
    wait_until(|| metric(&server, counted) == Some(1.0));
    assert_eq!(metric(&server, "candle_deeplab_queue_length"), Some(0.0));
}

fn wait_until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_model_can_be_replaced_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../candle-deeplab/assets/bundled");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(assets.join(file), model.join(file)).unwrap();
    }
    let name = model.to_str().unwrap();
    let server = Server::start(&["--model", name, "--allow-model-control"]);
    let image = png(&picture(90, 70));
    let before = bytes(server.post("v1/segment?format=mask", &image));
    // The file is overwritten, and then gone.
    std::fs::write(model.join("model.safetensors"), b"damaged").unwrap();
    assert!(bytes(server.post("v1/segment?format=mask", &image)) == before);
    // Clients see the folder's name, and no path.
    let load = "v2/repository/models/model/load";
    let (status, message) = said(server.post(load, b"{}"));
    assert!(status == 500 && !message.contains("damaged"), "{status} {message}");
    assert!(bytes(server.post("v1/segment?format=mask", &image)) == before);
    std::fs::copy(assets.join("model.safetensors"), model.join("model.safetensors")).unwrap();
    bytes(server.post(load, b"{}"));
    assert!(bytes(server.post("v1/segment?format=mask", &image)) == before);
    bytes(server.post(&load.replace("/load", "/unload"), b"{}"));
    assert_eq!(said(server.post("v1/segment?format=mask", &image)).0, 503);
}

#[test]
fn a_server_without_its_model_ends_and_says_why() {
    let args = ["serve", "--listen", "127.0.0.1:0", "--model", "no/such/folder"];
    let ended = Command::new(PROGRAM).args(args).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("no/such/folder"));
    let asked = Command::new(PROGRAM).args(["serve", "--health", "--listen", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(asked.status.code(), Some(1));
    let server = Server::start(&[]);
    let asked = Command::new(PROGRAM).args(["serve", "--health", "--listen", &server.address]).output().unwrap();
    assert_eq!(asked.status.code(), Some(0));
}
