//! How many threads compute, and which pool they belong to.

/// Leaves all parallel work to rayon. To be called first thing in `main`, before any thread is started.
///
/// Candle's element-wise operations have a pool of their own whose threads wait for each other by spinning. Beside rayon's
/// it only takes cores away: on two shared cores a training step lost a fifth of its time in that wait.
pub fn leave_to_rayon() {
    // SAFETY: the caller promises that no other thread runs yet, so nobody reads the environment meanwhile.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
}

/// Computes with so many threads; 0 takes as many as the machine has. It can only be chosen once in a process.
pub fn use_threads(threads: u32) {
    if threads > 0 {
        // A second job in one process (tests) keeps the first one's choice.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads as usize).build_global();
    }
}
