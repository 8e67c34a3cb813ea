//! Long tests: the suite's own, with larger numbers.

use anyhow::{Result, bail};

use crate::engine;

/// `soak kills N`: N kills at random moments across several fine-tuning runs (the suite does twenty).
pub fn soak(args: &[String]) -> Result<()> {
    let [what, number] = args else { bail!("usage: cargo xtask soak kills N") };
    let (true, Ok(_)) = (what == "kills", number.parse::<u32>()) else { bail!("usage: cargo xtask soak kills N") };
    engine("test", &["--test", "kill", "random_kills", "--", "--nocapture"], &[("TONEBRIDGE_KILLS", number)])
}
