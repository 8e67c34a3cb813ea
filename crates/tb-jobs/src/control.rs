//! What the user can ask of a job: pause, stop, resume, evaluate or save now, end at once. It works from any process that
//! opened the home: a waiting job changes in the database, a running one through its `control.json`.

use std::path::Path;

use tb_core::{
    ids::JobId,
    job::{Job, JobAction, JobStatus},
    run_folder::{Control, LockHolder, Want},
};
use tb_data::files::RunFolder;

use crate::{
    core::Core,
    error::{Error, Result},
    queue,
};

/// Halts a job: a waiting one at once, a running one after its next step, at a checkpoint.
pub(crate) async fn pause(core: &Core, id: &JobId) -> Result<Job> {
    halt(core, id, JobAction::Pause, Want::Pause).await
}

/// Ends a job: one that does not run at once, a running one after its next step, with its result so far.
pub(crate) async fn stop(core: &Core, id: &JobId) -> Result<Job> {
    halt(core, id, JobAction::Stop, Want::Stop).await
}

async fn halt(core: &Core, id: &JobId, action: JobAction, want: Want) -> Result<Job> {
    let mut tx = core.db.begin().await?;
    let mut job = core.job_in(&mut tx, id).await?;
    if job.status == JobStatus::Running {
        write_control(&job, |control| control.want = want)?;
        // The transaction is only there so that two processes never edit one control.json at once.
        return Ok(job);
    }
    job.status = job.status.next(action)?;
    job.completed_at_ms = Some(core.clock.now_ms());
    let job = core.store_job(&mut tx, &job).await?;
    tx.commit().await?;
    core.told();
    Ok(job)
}

/// Lets a job at rest go on: it waits at the end of the queue and goes on from its last checkpoint. Of a running job that
/// was asked to pause or stop and has not yet, the wish is taken back.
pub(crate) async fn resume(core: &Core, id: &JobId) -> Result<Job> {
    let mut tx = core.db.begin().await?;
    let mut job = core.job_in(&mut tx, id).await?;
    if job.status == JobStatus::Running {
        if RunFolder::open(Path::new(&job.run_dir))?.control()?.want == Want::Run {
            job.status.next(JobAction::Resume)?;
        }
        write_control(&job, |control| control.want = Want::Run)?;
        return Ok(job);
    }
    if job.status == JobStatus::Pending {
        job.status.next(JobAction::Resume)?;
    }
    queue::send_to_end(&mut tx, &mut job).await?;
    // Before the commit: whoever claims the job must find the wish to run.
    write_control(&job, |control| control.want = Want::Run)?;
    let job = core.store_job(&mut tx, &job).await?;
    tx.commit().await?;
    core.told();
    Ok(job)
}

/// Asks a running job for an evaluation after its next step.
pub(crate) async fn evaluate_now(core: &Core, id: &JobId) -> Result<Job> {
    ask(core, id, |control| control.evaluate_now = control.evaluate_now.wrapping_add(1)).await
}

/// Asks a running job for a checkpoint after its next step.
pub(crate) async fn checkpoint_now(core: &Core, id: &JobId) -> Result<Job> {
    ask(core, id, |control| control.checkpoint_now = control.checkpoint_now.wrapping_add(1)).await
}

async fn ask(core: &Core, id: &JobId, wish: impl FnOnce(&mut Control)) -> Result<Job> {
    let mut tx = core.db.begin().await?;
    let job = core.job_in(&mut tx, id).await?;
    if job.status != JobStatus::Running {
        return Err(Error::NotRunning { id: id.clone(), status: job.status });
    }
    write_control(&job, wish)?;
    Ok(job)
}

/// Ends the worker of a running job without waiting for its next step: for one that hangs. Its last checkpoint stays.
pub(crate) async fn kill(core: &Core, id: &JobId) -> Result<Job> {
    let job = ask(core, id, |control| control.want = Want::Stop).await?;
    match RunFolder::open(Path::new(&job.run_dir))?.holder()? {
        Some(holder) => end_process(id, &holder)?,
        // It has not begun, or is leaving: it will find the wish to stop, or is gone.
        None => tracing::info!(job = %id, "no worker holds the run that was to be ended"),
    }
    Ok(job)
}

#[cfg(unix)]
fn end_process(id: &JobId, holder: &LockHolder) -> Result<()> {
    let fail = |reason: String| Error::Unreachable { id: id.clone(), reason };
    let here = crate::host_lock::host_name();
    if holder.host != here {
        return Err(fail(format!("it runs on {}", holder.host)));
    }
    let pid = i32::try_from(holder.pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| fail(format!("{} is no process", holder.pid)))?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).map_err(|e| fail(e.to_string()))
}

#[cfg(not(unix))]
fn end_process(id: &JobId, holder: &LockHolder) -> Result<()> {
    Err(Error::Unreachable { id: id.clone(), reason: format!("end process {} in the task list", holder.pid) })
}

fn write_control(job: &Job, wish: impl FnOnce(&mut Control)) -> Result<()> {
    let run = RunFolder::open(Path::new(&job.run_dir))?;
    let mut control = run.control()?;
    wish(&mut control);
    Ok(run.write_control(&control)?)
}
