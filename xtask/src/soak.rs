//! Long tests: the suite's own, with larger numbers, and those that kill the real programs.

mod feedback;
mod http;

use anyhow::{Result, bail};

use crate::engine;

/// `soak kills N`: N kills at random moments across several fine-tuning runs (the suite does twenty). `soak feedback [ROWS
/// [SEED]]`: kills of the server while feedback comes in.
pub fn soak(args: &[String]) -> Result<()> {
    const USAGE: &str = "usage: cargo xtask soak kills N | feedback [ROWS [SEED]]";
    match args {
        [what, number] if what == "kills" && number.parse::<u32>().is_ok() => {
            engine("test", &["--test", "kill", "random_kills", "--", "--nocapture"], &[("TONEBRIDGE_KILLS", number)])
        }
        [what, rest @ ..] if what == "feedback" => feedback::soak(rest),
        _ => bail!(USAGE),
    }
}
