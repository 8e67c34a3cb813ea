//! The program `tonebridge`.
fn main() {}
