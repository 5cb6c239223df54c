//! Progress bars of downloads and uploads.

use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Mutex, PoisonError};

use candle_deeplab_hub::hub::{Event, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exit;

/// Draws a bar for each transfer, on a terminal only: nothing of it gets into a pipe or a log.
pub fn progress(wanted: bool) -> Progress {
    if !wanted {
        return Arc::new(|_| {});
    }
    if !stderr().is_terminal() {
        // That a file is replaced is no progress, and is always said.
        return Arc::new(|event| {
            if let Event::Damaged { what } = event {
                damaged(what);
            }
        });
    }
    let bar: Mutex<Option<ProgressBar>> = Mutex::new(None);
    Arc::new(move |event| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begin { what, done, total } => *bar = Some(begin(what, done, total)),
            Event::Advance { done } => {
                if let Some(bar) = &*bar {
                    bar.set_position(done);
                }
            }
            Event::End => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
            }
            Event::Waiting { what } => eprintln!("waiting for another process that is fetching {}", plain(what)),
            Event::Damaged { what } => damaged(what),
            Event::Converting { what } => eprintln!("converting {}", plain(what)),
            _ => {}
        }
    })
}

fn damaged(what: &str) {
    exit::say(&format!("damaged, and not used: {}", plain(what)));
}

fn begin(what: &str, done: u64, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = match total {
        Some(_) => "{msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{msg} {spinner} {bytes} {bytes_per_sec}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let what = plain(what);
    // The last part of an address tells most.
    let name: Vec<char> = what.rsplit('/').next().unwrap_or(&what).chars().take(40).collect();
    bar.set_message(name.into_iter().collect::<String>());
    bar.set_position(done);
    bar.reset_eta();
    bar
}

/// Replaces control characters, which a terminal would obey.
fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}
