//! Jobs from submission to rest, with a worker that speaks the run-folder protocol but learns nothing. It and the host that
//! gets killed are this test program itself, started again as another process.
#![cfg(unix)]
// Helpers of tests stand outside `#[test]` functions, where clippy does not know that they are tests.
#![allow(clippy::unwrap_used)]

mod trips {
    pub mod fake_server;
    pub mod fake_worker;
    pub mod support;

    mod control;
    mod crashes;
    mod events;
    mod hosts;
    mod one_shot;
    mod queue;
    mod serving;
}
