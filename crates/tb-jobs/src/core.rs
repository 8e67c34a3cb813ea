//! What every part of this crate works with: database, home, workers, clock, hook and bus. No rules.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use tb_core::{event::EventBody, ids::JobId, job::Job};
use tb_db::{Db, Tx};
use tokio::sync::Notify;

use crate::{
    bus::Bus,
    clock::Clock,
    error::{Error, Result},
    hook::OnDone,
    workers::WorkerBinary,
};

/// How often a change is tried again when others change the same job.
const CHANGE_TRIES: u32 = 20;

pub(crate) struct Core {
    pub db: Db,
    pub home: PathBuf,
    pub workers: Vec<WorkerBinary>,
    pub clock: Arc<dyn Clock>,
    pub on_done: Arc<dyn OnDone>,
    pub bus: Bus,
    /// Woken when a job may be waiting for a device.
    pub queue_changed: Notify,
    /// Whether this process holds the host lock.
    pub supervises: AtomicBool,
}

impl Core {
    /// The job as this transaction sees it.
    pub async fn job_in(&self, tx: &mut Tx, id: &JobId) -> Result<Job> {
        tb_db::jobs::get(&mut *tx, id).await?.ok_or_else(|| Error::NotFound { id: id.clone() })
    }

    /// The job as stored.
    pub async fn job(&self, id: &JobId) -> Result<Job> {
        tb_db::jobs::get(&self.db, id).await?.ok_or_else(|| Error::NotFound { id: id.clone() })
    }

    /// Stores a changed job and its event; gives the job with its new version.
    pub async fn store_job(&self, tx: &mut Tx, job: &Job) -> Result<Job> {
        let job = tb_db::jobs::update(tx, job).await?;
        let body = EventBody::Job { job: Box::new(job.clone()) };
        tb_db::events::append(tx, self.clock.now_ms(), &body).await?;
        Ok(job)
    }

    /// Changes one job in a transaction of its own, and tells it.
    ///
    /// # Errors
    /// What `change` refuses; `Contended` if others change the job at every try.
    pub async fn change(&self, id: &JobId, mut change: impl FnMut(&mut Job) -> Result<()>) -> Result<Job> {
        for _ in 0..CHANGE_TRIES {
            let mut tx = self.db.begin().await?;
            let mut job = self.job_in(&mut tx, id).await?;
            change(&mut job)?;
            match self.store_job(&mut tx, &job).await {
                Err(Error::Db(tb_db::Error::Stale { .. })) => {}
                Err(error) => return Err(error),
                Ok(job) => {
                    tx.commit().await?;
                    self.told();
                    return Ok(job);
                }
            }
        }
        Err(Error::Contended { id: id.clone() })
    }

    /// After a commit: subscribers and the queue look again.
    pub fn told(&self) {
        self.bus.wake();
        self.queue_changed.notify_one();
    }
}
