//! Long tests: the suite's own, with larger numbers.

use anyhow::{Result, bail};

use crate::{cargo, root, step_with};

/// `soak kills N`: N kills at random moments across several fine-tuning runs (the suite does twenty).
pub fn soak(args: &[String]) -> Result<()> {
    let [what, number] = args else { bail!("usage: cargo xtask soak kills N") };
    let (true, Ok(_)) = (what == "kills", number.parse::<u32>()) else { bail!("usage: cargo xtask soak kills N") };
    let packages = ["-p", "tb-core", "-p", "tb-data", "-p", "tb-nn", "-p", "tb-worker"];
    let test = ["--test", "kill", "random_kills", "--", "--nocapture"];
    let args = [["test", "--locked"].as_slice(), &packages, &test].concat();
    step_with(&cargo(), &args, &root(), &[("TONEBRIDGE_KILLS", number)])
}
