//! `doctor`: is everything here that the work needs?

use serde::{Deserialize, Serialize};
use tb_core::{ApiError, run_folder::DeviceDescription};
use ts_rs::TS;

use crate::{
    Ctx,
    commands::Nothing,
    ctx::{no_worker, now_ms},
};

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// All is well.
    Ok,
    /// It works, with a drawback.
    Warn,
    /// It does not work.
    Fail,
}

/// One check.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// What was found.
    pub state: CheckState,
    /// In words.
    pub detail: String,
    /// What to do about it; empty if nothing.
    pub hint: String,
}

/// All checks.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct DoctorReport {
    /// Version of the program.
    pub version: String,
    /// The checks.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// Whether nothing fails.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.checks.iter().all(|c| c.state != CheckState::Fail)
    }
}

pub(crate) async fn devices(ctx: &Ctx, _: Nothing) -> Result<Vec<DeviceDescription>, ApiError> {
    Ok(ctx.jobs().workers().iter().flat_map(|w| w.description.devices.clone()).collect())
}

pub(crate) async fn run(ctx: &Ctx, _: Nothing) -> Result<DoctorReport, ApiError> {
    let mut checks = vec![home(ctx), database(ctx).await];
    checks.extend(workers(ctx));
    checks.push(supervisor(ctx));
    checks.push(if ctx.settings().offline {
        check("network", CheckState::Ok, "The offline switch is set: nothing leaves this machine.", "")
    } else {
        check("network", CheckState::Ok, "Nothing here goes to the network.", "")
    });
    Ok(DoctorReport { version: env!("CARGO_PKG_VERSION").into(), checks })
}

fn home(ctx: &Ctx) -> Check {
    let probe = ctx.home().join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, now_ms().to_string());
    std::fs::remove_file(&probe).ok();
    match written {
        Ok(()) => check("home folder", CheckState::Ok, &format!("{} can be written.", ctx.home().display()), ""),
        Err(e) => check(
            "home folder",
            CheckState::Fail,
            &format!("{} cannot be written: {e}.", ctx.home().display()),
            "Set TONEBRIDGE_HOME to a folder that you may write to.",
        ),
    }
}

async fn database(ctx: &Ctx) -> Check {
    const RESTORE: &str = "Restore the newest backup of tonebridge.db.";
    let looked = async { Ok::<_, tb_db::Error>((ctx.db().engine().await?, ctx.db().problems().await?)) }.await;
    match looked {
        Ok((engine, problems)) if problems.is_empty() => {
            check("database", CheckState::Ok, &format!("{engine}, whole, every write synced."), "")
        }
        Ok((_, problems)) => check("database", CheckState::Fail, &problems.join("; "), RESTORE),
        Err(e) => check("database", CheckState::Fail, &e.to_string(), RESTORE),
    }
}

fn workers(ctx: &Ctx) -> Vec<Check> {
    let workers = ctx.jobs().workers();
    if workers.is_empty() {
        let error = no_worker();
        return vec![check("worker", CheckState::Fail, &error.message, &error.hint)];
    }
    let mut checks = Vec::new();
    for worker in workers {
        for device in &worker.description.devices {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            let detail = format!(
                "{}: {}, {} threads, {:.1} of {:.1} GiB free, {} ({}).",
                device.id,
                device.name,
                device.units,
                gib(device.free_bytes),
                gib(device.memory_bytes),
                device.features.join(" "),
                worker.path.display()
            );
            let low = device.free_bytes < 2 << 30;
            let state = if low { CheckState::Warn } else { CheckState::Ok };
            checks.push(check(
                "device",
                state,
                &detail,
                if low { "Less than 2 GiB are free: close programs." } else { "" },
            ));
        }
    }
    checks
}

fn supervisor(ctx: &Ctx) -> Check {
    if ctx.jobs().supervises() {
        check("queue", CheckState::Ok, "This program runs the queue.", "")
    } else {
        check("queue", CheckState::Ok, "Another ToneBridge program runs the queue; jobs from here join it.", "")
    }
}

fn check(name: &str, state: CheckState, detail: &str, hint: &str) -> Check {
    Check { name: name.into(), state, detail: detail.into(), hint: hint.into() }
}
