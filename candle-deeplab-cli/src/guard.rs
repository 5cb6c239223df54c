//! A crash in the work on one input is that input's failure, and not the end of the run.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use anyhow::{Result, anyhow};

thread_local! {
    /// What panics in this thread say is kept for the error.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Does something; a panic in it becomes an error.
pub(crate) fn guard<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                usual(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    // Whatever it was working on is dropped.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    done.unwrap_or_else(|panic| Err(anyhow!("{what} crashed: {}", text(panic.as_ref()))))
}

/// What a panic said.
fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_says_what_it_said() {
        let crash =
            |number: u32| guard("the decoder", || if number > 1 { panic!("number {number}") } else { Ok(number) });
        assert_eq!(crash(1).unwrap(), 1);
        assert_eq!(crash(2).unwrap_err().to_string(), "the decoder crashed: number 2");
        let said = guard("it", || -> Result<()> { panic!("plainly") }).unwrap_err().to_string();
        assert_eq!(said, "it crashed: plainly");
        assert!(!GUARDED.get());
    }
}
