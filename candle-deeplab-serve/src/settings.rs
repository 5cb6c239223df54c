//! What a server is told before it starts.

use std::net::SocketAddr;
use std::time::Duration;

/// The settings of a server. The default is for one machine, at `127.0.0.1:8080`, open to nobody else.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address to listen at; port 0 is any free one.
    pub listen: SocketAddr,
    /// Requests of a model that may wait. Those beyond are answered with status 429.
    pub max_queue: usize,
    /// Images that go through a network together.
    pub max_batch: usize,
    /// How long an image waits for others to go through the network with it.
    pub max_delay: Duration,
    /// The time for a request, from its head to its answer. Later ones are answered with status 504.
    pub timeout: Duration,
    /// The longest body of a request in bytes.
    pub max_bytes: usize,
    /// The largest image in pixels.
    pub max_pixels: u64,
    /// Connections at a time. Others wait until one is closed.
    pub max_connections: usize,
    /// The bytes that images on their way may take together, beside what the network takes; by default 1 GiB. One that
    /// takes more gets through alone.
    pub image_memory: u64,
    /// The key that requests must bring, except those for the page, for the interface's document, and about health under
    /// `/v2/health`. Without it, everybody is served.
    pub api_key: Option<String>,
    /// The hosts whose images may be named by their addresses, instead of being sent. Without any, addresses are refused.
    pub url_hosts: Vec<String>,
    /// The web sites (such as `https://example.org`) whose scripts may use this server; `*` is all.
    pub cors: Vec<String>,
    /// Whether clients may load and unload models.
    pub model_control: bool,
}

impl Settings {
    /// The bytes that the bodies of all requests may take together, where one may have `max_bytes`: enough for two of JSON.
    pub fn body_memory(max_bytes: usize) -> u64 {
        (max_bytes as u64).saturating_mul(8)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_queue: 64,
            max_batch: 8,
            max_delay: Duration::from_millis(2),
            timeout: Duration::from_secs(60),
            max_bytes: 64 << 20,
            max_pixels: 64_000_000,
            max_connections: 1024,
            image_memory: 1 << 30,
            api_key: None,
            url_hosts: vec![],
            cors: vec![],
            model_control: false,
        }
    }
}
