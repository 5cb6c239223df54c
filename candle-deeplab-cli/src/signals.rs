//! The signals that tell the program to end.

use std::io;
#[cfg(unix)]
use std::task::Poll;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C and, on Unix, SIGTERM and the end of the terminal, except those that the program was started to ignore: `nohup` does
/// so with the end of the terminal, and scripts with Ctrl-C for what they run in the background.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    heard: Vec<Signal>,
}

impl Signals {
    /// Listens from now on, within a runtime of tokio.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            heard: ending().into_iter().map(signal).collect::<io::Result<_>>()?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        std::future::poll_fn(|context| {
            // All of them, so that each wakes this task.
            let came = self.heard.iter_mut().fold(false, |came, signal| came | signal.poll_recv(context).is_ready());
            if came { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            // It cannot be heard, and never comes.
            std::future::pending::<()>().await;
        }
    }
}

/// The signals to listen for.
#[cfg(target_os = "linux")]
fn ending() -> Vec<SignalKind> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let is_heard = |kind: &SignalKind| ignored >> (kind.as_raw_value() - 1) & 1 == 0;
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].into_iter().filter(is_heard).collect()
}

/// The signals to listen for. What is ignored cannot be asked for here without `unsafe`, and so the end of the terminal is left
/// to whoever started the program.
#[cfg(all(unix, not(target_os = "linux")))]
fn ending() -> Vec<SignalKind> {
    vec![SignalKind::interrupt(), SignalKind::terminate()]
}
