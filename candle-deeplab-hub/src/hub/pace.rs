//! How slow a transfer may be.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

/// The lowest rate of a transfer: so many bytes within so much time. A server that sends a byte a second keeps every
/// timeout of a single read, and would not end for years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LowestRate {
    /// Bytes that must get through.
    pub bytes: u64,
    /// The time that they may take.
    pub within: Duration,
}

impl Default for LowestRate {
    /// 16 KiB a minute, which is less than any modem.
    fn default() -> Self {
        Self { bytes: 16 << 10, within: Duration::from_secs(60) }
    }
}

/// A transfer is slower than the lowest rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooSlow(LowestRate);

impl std::error::Error for TooSlow {}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LowestRate { bytes, within } = self.0;
        write!(f, "too slow: less than {bytes} bytes in {} seconds", within.as_secs_f64())
    }
}

impl From<TooSlow> for io::Error {
    fn from(slow: TooSlow) -> Self {
        Self::new(ErrorKind::TimedOut, slow)
    }
}

/// The rate of one transfer. Only waiting for the network counts, not what is done with the bytes.
#[derive(Debug)]
pub(super) struct Pace {
    lowest: LowestRate,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(lowest: LowestRate) -> Self {
        Self { lowest, waited: Duration::ZERO, bytes: 0 }
    }

    /// So many bytes took so long.
    ///
    /// # Errors
    /// [`TooSlow`] where that was below the lowest rate.
    pub(super) fn count(&mut self, bytes: usize, waited: Duration) -> Result<(), TooSlow> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.waited = self.waited.saturating_add(waited);
        if self.waited < self.lowest.within {
            return Ok(());
        }
        let slow = self.bytes < self.lowest.bytes;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if slow { Err(TooSlow(self.lowest)) } else { Ok(()) }
    }
}

/// What arrives, which ends with an error where it arrives too slowly.
pub(super) struct Paced<R> {
    inner: R,
    pace: Pace,
}

impl<R> Paced<R> {
    pub(super) fn new(inner: R, lowest: LowestRate) -> Self {
        Self { inner, pace: Pace::new(lowest) }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        let read = self.inner.read(buffer)?;
        if read > 0 {
            self.pace.count(read, start.elapsed())?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_in_each_stretch_of_time() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(LowestRate { bytes: 600, within: 60 * second });
        // Slow is fast enough, for ever; a fast beginning is no excuse for what follows.
        assert!((0..1000).all(|_| pace.count(10, second).is_ok()));
        assert!(pace.count(1 << 30, second).is_ok());
        let lasted = (0..1000).take_while(|_| pace.count(1, second).is_ok()).count();
        assert!((60..=120).contains(&lasted), "{lasted}");
    }
}
