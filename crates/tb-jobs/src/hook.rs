//! What the layer above does when a job ends well, inside the transaction that stores the job's last word.

use std::{future::Future, pin::Pin};

use tb_core::{
    eval::EvalReport,
    job::Job,
    run_folder::{Done, Plan},
};
use tb_db::Tx;

/// What a hook gives back: an error undoes the transaction, and the job fails with the error's words.
pub type HookFuture<'a> = Pin<Box<dyn Future<Output = tb_db::Result<()>> + Send + 'a>>;

/// Called when a worker has brought a result. A call may come again for the same job: after an error, and after a resume.
pub trait OnDone: Send + Sync + 'static {
    /// A training came to its end, or was stopped with the result so far (`done.outcome` says which). The plan is the last
    /// one that the worker wrote.
    fn trained<'a>(&'a self, tx: &'a mut Tx, job: &'a Job, plan: Option<&'a Plan>, done: &'a Done) -> HookFuture<'a>;

    /// An evaluation has its result.
    fn evaluated<'a>(&'a self, tx: &'a mut Tx, job: &'a Job, report: &'a EvalReport) -> HookFuture<'a>;
}

/// Does nothing: for programs that only queue and watch.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHook;

impl OnDone for NoHook {
    fn trained<'a>(&'a self, _: &'a mut Tx, _: &'a Job, _: Option<&'a Plan>, _: &'a Done) -> HookFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    fn evaluated<'a>(&'a self, _: &'a mut Tx, _: &'a Job, _: &'a EvalReport) -> HookFuture<'a> {
        Box::pin(async { Ok(()) })
    }
}
