//! Where the time of a step goes, by operation. Off unless [`start`] was called; then every operation is timed, on a GPU by its own clock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

static ON: AtomicBool = AtomicBool::new(false);
static FOUND: Mutex<Option<HashMap<&'static str, Entry>>> = Mutex::new(None);

thread_local! {
    /// Seconds of the spans inside each span that is open on this thread.
    static INSIDE: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// What an operation has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Entry {
    /// How often it ran.
    pub calls: u64,
    /// Seconds in all, without the operations inside it.
    pub seconds: f64,
}

/// Begins to time operations.
pub fn start() {
    *FOUND.lock().unwrap_or_else(PoisonError::into_inner) = Some(HashMap::new());
    ON.store(true, Ordering::Relaxed);
}

/// Ends it; what was found, longest first. On a GPU the caller has waited for the device.
#[must_use]
pub fn stop() -> Vec<(&'static str, Entry)> {
    ON.store(false, Ordering::Relaxed);
    #[cfg(feature = "cuda")]
    crate::ops::gpu::collect_profile();
    let found = FOUND.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut all: Vec<_> = found.unwrap_or_default().into_iter().collect();
    all.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds).then(a.0.cmp(b.0)));
    all
}

/// Whether operations are timed.
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Counts one call of an operation.
pub(crate) fn add(name: &'static str, seconds: f64) {
    if let Some(found) = FOUND.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        let entry = found.entry(name).or_default();
        entry.calls += 1;
        entry.seconds += seconds;
    }
}

/// An operation that is running on this thread; counted when it is dropped.
pub(crate) struct Span {
    name: &'static str,
    begun: Instant,
}

/// Begins an operation of the host, where operations are timed.
pub(crate) fn span(name: &'static str) -> Option<Span> {
    is_on().then(|| {
        INSIDE.with_borrow_mut(|inside| inside.push(0.0));
        Span { name, begun: Instant::now() }
    })
}

impl Drop for Span {
    fn drop(&mut self) {
        let whole = self.begun.elapsed().as_secs_f64();
        let inside = INSIDE.with_borrow_mut(|inside| {
            let mine = inside.pop().unwrap_or(0.0);
            if let Some(outer) = inside.last_mut() {
                *outer += whole;
            }
            mine
        });
        add(self.name, whole - inside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_does_not_count_what_runs_inside_it() {
        assert!(span("nothing").is_none(), "it is off");
        start();
        {
            let _outer = span("profile test, outer");
            let _inner = span("profile test, inner");
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
        let found: HashMap<_, _> = stop().into_iter().collect();
        let (outer, inner) = (found["profile test, outer"], found["profile test, inner"]);
        assert!((outer.calls, inner.calls) == (1, 1) && inner.seconds >= 0.03 && outer.seconds < 0.03, "{found:?}");
    }
}
