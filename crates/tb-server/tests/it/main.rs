//! The server over real sockets, one file per subject; each test has a home folder and a port of its own.
// Helpers of tests stand outside `#[test]` functions, where clippy does not know that they are tests.
#![allow(clippy::unwrap_used)]

mod support;

mod access;
mod commands;
mod door;
mod events;
mod feedback;
mod interface;
mod lifecycle;
mod limits;
mod origins;
mod uploads;
mod users;
