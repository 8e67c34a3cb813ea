//! `Jobs`: what the layers above hold. Submitting, controlling and following jobs; the work is done by the other files.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tb_core::{event::EventBody, ids::JobId, job::Job};
use tb_db::Db;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::{
    bus::{Bus, Subscription},
    clock::{Clock, SystemClock},
    control,
    core::Core,
    error::{Error, Result},
    hook::OnDone,
    host_lock::HostLock,
    queue::{self, NewJob},
    supervisor,
    workers::WorkerBinary,
};

/// Whether a process may run the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosting {
    /// It does if no other does, and takes over when the other ends.
    WhenFree,
    /// It only submits, controls and follows: for programs that live for a moment.
    Never,
}

/// The jobs of one home folder, cheap to clone. One of the processes that open a home supervises; the others work through
/// the database and the run folders. Dropping the last clone ends the supervision, not the workers.
#[derive(Clone)]
pub struct Jobs {
    core: Arc<Core>,
    tasks: Arc<Tasks>,
}

/// The spawned tasks: dropped with the last clone of [`Jobs`].
struct Tasks {
    closing: watch::Sender<bool>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for handle in self.handles.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            handle.abort();
        }
    }
}

impl Jobs {
    /// Opens the jobs of `home` (run folders in `home/runs`) with the machine's clock, supervising if no other process
    /// does. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// The home folder cannot be written, or the database cannot be read.
    pub async fn open(db: Db, home: &Path, workers: Vec<WorkerBinary>, on_done: Arc<dyn OnDone>) -> Result<Self> {
        Self::open_as(db, home, workers, on_done, Arc::new(SystemClock), Hosting::WhenFree).await
    }

    /// As [`Jobs::open`], with a clock and the choice never to supervise.
    ///
    /// # Errors
    /// As [`Jobs::open`].
    pub async fn open_as(
        db: Db,
        home: &Path,
        workers: Vec<WorkerBinary>,
        on_done: Arc<dyn OnDone>,
        clock: Arc<dyn Clock>,
        hosting: Hosting,
    ) -> Result<Self> {
        let fail = |source| Error::File { path: home.to_path_buf(), source };
        let home = std::path::absolute(home).map_err(fail)?;
        std::fs::create_dir_all(home.join(queue::RUNS)).map_err(fail)?;
        let bus = Bus::new(db.clone());
        let seq = tb_db::events::last_seq(&db).await?;
        let lock = match hosting {
            Hosting::WhenFree => HostLock::try_take(&home, clock.now_ms())?,
            Hosting::Never => None,
        };
        let core = Arc::new(Core {
            db,
            home,
            workers,
            clock,
            on_done,
            bus: bus.clone(),
            queue_changed: Notify::new(),
            supervises: AtomicBool::new(lock.is_some()),
        });
        let (closing, closed) = watch::channel(false);
        let mut handles = vec![tokio::spawn(bus.pump(seq))];
        match hosting {
            Hosting::WhenFree => handles.push(tokio::spawn(supervisor::run(Arc::clone(&core), lock, closed))),
            Hosting::Never => {}
        }
        Ok(Self { core, tasks: Arc::new(Tasks { closing, handles: Mutex::new(handles) }) })
    }

    /// The worker programs that were given at the opening.
    #[must_use]
    pub fn workers(&self) -> &[WorkerBinary] {
        &self.core.workers
    }

    /// Whether this process runs the queue now.
    #[must_use]
    pub fn supervises(&self) -> bool {
        self.core.supervises.load(Ordering::Acquire)
    }

    /// The job as stored.
    ///
    /// # Errors
    /// There is no such job.
    pub async fn get(&self, id: &JobId) -> Result<Job> {
        self.core.job(id).await
    }

    /// Writes the run folder and puts the job at the end of the queue.
    ///
    /// # Errors
    /// A hyperparameter out of range, a device that no worker has, a folder that cannot be written; nothing is queued then.
    pub async fn submit(&self, new: NewJob) -> Result<Job> {
        queue::submit(&self.core, new).await
    }

    /// Halts a job: a waiting one at once, a running one at a checkpoint after its next step (the job that is given back
    /// is still running then; [`Jobs::wait`] waits for it).
    ///
    /// # Errors
    /// The job's state does not allow it.
    pub async fn pause(&self, id: &JobId) -> Result<Job> {
        control::pause(&self.core, id).await
    }

    /// Lets a job at rest go on from its last checkpoint: it waits at the end of the queue. Of a running job, a wish to
    /// pause or stop that it has not obeyed yet is taken back.
    ///
    /// # Errors
    /// The job's state does not allow it.
    pub async fn resume(&self, id: &JobId) -> Result<Job> {
        control::resume(&self.core, id).await
    }

    /// Ends a job: one that does not run at once, a running one after its next step with its result so far.
    ///
    /// # Errors
    /// The job's state does not allow it.
    pub async fn stop(&self, id: &JobId) -> Result<Job> {
        control::stop(&self.core, id).await
    }

    /// Ends the worker of a running job at once, for one that hangs; the job is stopped, its last checkpoint stays.
    ///
    /// # Errors
    /// The job does not run, or its worker runs on another machine.
    pub async fn kill(&self, id: &JobId) -> Result<Job> {
        control::kill(&self.core, id).await
    }

    /// Moves a waiting job to a place in the queue; 0 is the next to run, and a place beyond the end is the end.
    ///
    /// # Errors
    /// The job does not wait.
    pub async fn move_in_queue(&self, id: &JobId, place: i64) -> Result<Job> {
        queue::move_to(&self.core, id, place).await
    }

    /// Asks a running job for an evaluation after its next step.
    ///
    /// # Errors
    /// The job does not run.
    pub async fn evaluate_now(&self, id: &JobId) -> Result<Job> {
        control::evaluate_now(&self.core, id).await
    }

    /// Asks a running job for a checkpoint after its next step.
    ///
    /// # Errors
    /// The job does not run.
    pub async fn checkpoint_now(&self, id: &JobId) -> Result<Job> {
        control::checkpoint_now(&self.core, id).await
    }

    /// Every event after `after_seq`: stored ones first, then live ones, from this and all other processes, without a gap
    /// and without doubles.
    #[must_use]
    pub fn subscribe(&self, after_seq: i64) -> Subscription {
        self.core.bus.subscribe(after_seq)
    }

    /// Waits until the job is at rest, and gives it. A job that no process supervises may wait for ever.
    ///
    /// # Errors
    /// There is no such job.
    pub async fn wait(&self, id: &JobId) -> Result<Job> {
        let mut events = self.subscribe(tb_db::events::last_seq(&self.core.db).await?);
        loop {
            let job = self.get(id).await?;
            if job.status.is_at_rest() {
                return Ok(job);
            }
            loop {
                match events.next().await {
                    Some(event) => {
                        if matches!(&event.body, EventBody::Job { job } if job.id == *id && job.status.is_at_rest()) {
                            break;
                        }
                    }
                    None => return self.get(id).await,
                }
            }
        }
    }

    /// Says that another part of this program has committed events: subscribers get them at once. Without it they get them
    /// a moment later.
    pub fn wake(&self) {
        self.core.told();
    }

    /// Ends the supervision in good order and frees the host lock; workers go on. Other clones only see what is stored.
    pub async fn close(&self) {
        // Nobody listening means nothing supervises here.
        let _ = self.tasks.closing.send(true);
        let handles: Vec<_> = self.tasks.handles.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        let mut handles = handles.into_iter();
        if let Some(pump) = handles.next() {
            pump.abort();
        }
        for handle in handles {
            // It ends by itself; a panic in it was logged where it happened.
            let _ = handle.await;
        }
    }
}
