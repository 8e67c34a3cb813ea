//! Whether memory is about to run out. Who counts memory presses; every operation looks before it gives a result, so that a step ends
//! with an error between two operations and everything it held is freed.

use std::sync::atomic::{AtomicBool, Ordering};

static PRESSED: AtomicBool = AtomicBool::new(false);

/// Says that memory is about to run out. Only stores a flag: an allocator may call it.
pub fn press() {
    PRESSED.store(true, Ordering::Relaxed);
}

/// Takes it back: what needed the memory was given up.
pub fn relieve() {
    PRESSED.store(false, Ordering::Relaxed);
}

/// Whether memory is about to run out.
#[must_use]
pub fn is_pressed() -> bool {
    PRESSED.load(Ordering::Relaxed)
}

/// The error of an operation that may not go on.
pub(crate) fn check() -> candle_core::Result<()> {
    if is_pressed() { Err(candle_core::Error::Msg(OUT_OF_MEMORY.to_owned())) } else { Ok(()) }
}

const OUT_OF_MEMORY: &str = "out of memory";

/// Whether Candle says that memory ran out: ours as [`press`] has it, or a device's.
pub(crate) fn is_out_of_memory(error: &candle_core::Error) -> bool {
    // Candle gives a device's refusal as its driver's text only (CUDA_ERROR_OUT_OF_MEMORY, "out of memory").
    let text = error.to_string().to_lowercase();
    text.contains(OUT_OF_MEMORY) || text.contains("out_of_memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_our_own_count_are_told_from_other_errors() {
        let error = |text: &str| candle_core::Error::Msg(text.to_owned());
        assert!(is_out_of_memory(&error(OUT_OF_MEMORY)));
        assert!(is_out_of_memory(&error("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")")));
        assert!(!is_out_of_memory(&error("shape mismatch in matmul")));
    }
}
