//! Three stages that overlap: while one item is computed, the next ones are read and the last ones are written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// How many items wait between two stages. Only these and those inside a stage are in memory.
const WAITING: usize = 1;

/// Takes the items `0..count` through `read`, `compute` and `write`, and passes the results to `done` in order.
///
/// `read` and `write` each run on `workers` threads. `compute` runs on one, and uses all cores through rayon. If `done`
/// fails, the stages finish their current items and stop.
///
/// # Errors
/// The error of `done`.
pub fn run<A: Send, B: Send, C: Send, E>(
    count: usize,
    workers: usize,
    read: impl Fn(usize) -> A + Sync,
    compute: impl Fn(usize, A) -> B + Send,
    write: impl Fn(usize, B) -> C + Sync,
    mut done: impl FnMut(C) -> Result<(), E>,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let (next, read, write) = (&next, &read, &write);
    thread::scope(|scope| {
        let (read_out, compute_in) = sync_channel(WAITING);
        let (compute_out, write_in) = sync_channel(WAITING);
        let (write_out, results) = sync_channel(WAITING);
        for _ in 0..workers {
            let out: SyncSender<(usize, A)> = read_out.clone();
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || out.send((index, read(index))).is_err() {
                        return;
                    }
                }
            });
        }
        scope.spawn(move || {
            for (index, item) in compute_in {
                if compute_out.send((index, compute(index, item))).is_err() {
                    return;
                }
            }
        });
        // The receiver is dropped with the last writer, which ends the stages before it.
        let write_in: Arc<Mutex<Receiver<(usize, B)>>> = Arc::new(Mutex::new(write_in));
        for _ in 0..workers {
            let (from, out) = (write_in.clone(), write_out.clone());
            scope.spawn(move || {
                let receive = || from.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok((index, item)) = receive() {
                    if out.send((index, write(index, item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop((read_out, write_in, write_out));
        let (mut early, mut expected) = (BTreeMap::new(), 0);
        for (index, result) in results {
            early.insert(index, result);
            while let Some(result) = early.remove(&expected) {
                done(result)?;
                expected += 1;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_order_whoever_is_first() {
        let nap = |index: usize| thread::sleep(Duration::from_millis([9, 0, 4, 1][index % 4]));
        let read = |index: usize| {
            nap(index);
            index * 10
        };
        let write = |index: usize, item: usize| {
            nap(index + 1);
            item + 1
        };
        let mut results = vec![];
        run(
            23,
            4,
            read,
            |_, item| item,
            write,
            |result| {
                results.push(result);
                Ok::<_, ()>(())
            },
        )
        .unwrap();
        assert_eq!(results, (0..23).map(|index| index * 10 + 1).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_to_do_is_done() {
        run(0, 2, |index| index, |_, item| item, |_, item| item, |_| Err("there was something")).unwrap();
    }

    /// Few items are in memory at once, however many there are.
    #[test]
    fn no_more_than_a_few_are_in_hand() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let read = |_| {
            let held = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(held, Ordering::SeqCst);
        };
        let write = |_, ()| {
            thread::sleep(Duration::from_millis(1));
            now.fetch_sub(1, Ordering::SeqCst);
        };
        run(100, 2, read, |_, item| item, write, |()| Ok::<_, ()>(())).unwrap();
        let most = most.into_inner();
        assert!((2..=2 + 1 + WAITING * 2 + 2).contains(&most), "{most}");
    }

    #[test]
    fn a_failure_stops_all_stages() {
        let read = AtomicUsize::new(0);
        let count = |index: usize| {
            read.fetch_add(1, Ordering::SeqCst);
            index
        };
        let result = run(1_000_000, 2, count, |_, i| i, |_, i| i, |i| if i < 5 { Ok(()) } else { Err("enough") });
        assert_eq!(result, Err("enough"));
        assert!(read.into_inner() < 100);
    }
}
