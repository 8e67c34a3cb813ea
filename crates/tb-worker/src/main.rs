//! One job or one served model per process.
fn main() {}
