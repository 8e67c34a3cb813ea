//! The real window on a virtual screen, driven as a user would: it shows its page, the page reaches the core, and the desktop
//! around it (tray, notifications, a second start, closing) is told what it must know. Only Linux's window can be driven.
#![cfg(target_os = "linux")]
// Helpers of tests stand outside `#[test]` functions, where clippy does not know that they are tests.
#![allow(clippy::unwrap_used)]

mod closing;
mod desktop;
mod page;
mod services;
mod startup;
mod trip;
