//! Serving workers: who answers prompts. One worker per device and base model holds the base in memory and answers through any adapter on
//! it; it is started by the first prompt, started again after a death or when the base's files have changed, and ended when nothing was
//! asked for a while. The worker process is in `serving/worker.rs`, what a caller holds in `serving/answer.rs`.
//!
//! Serving takes no lease: on a device that both use, training and answers share it, and the queue never waits for a prompt.

mod answer;
mod worker;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tb_core::{
    ApiError, ErrorCode,
    serving::{Generate, Load},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{JoinHandle, JoinSet},
};

use crate::{
    clock::Clock,
    error::Error,
    queue::blocking,
    workers::{self, WorkerBinary},
};
pub use answer::{Answer, Piece};
use worker::{Order, State};

/// How often is looked for workers that nobody has asked for long.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// How long the workers together may take to leave at the closing; then they are killed.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// The bounds of serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Answers that one worker makes at once.
    pub at_once: usize,
    /// Callers that wait for a place at one worker; the next is refused.
    pub waiting: usize,
    /// Base models in memory per device; another takes the place of one that rests.
    pub bases_per_device: usize,
    /// How long a worker rests before it ends.
    pub idle_ms: i64,
}

impl Default for Limits {
    /// 4 answers, 32 waiting, 2 bases, 10 minutes.
    fn default() -> Self {
        Self { at_once: 4, waiting: 32, bases_per_device: 2, idle_ms: 10 * 60 * 1000 }
    }
}

/// The serving workers of one process, cheap to clone. Dropping the last clone ends them.
#[derive(Clone)]
pub struct Serving {
    inner: Arc<Inner>,
}

struct Inner {
    workers: Vec<WorkerBinary>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    residents: Mutex<Vec<Arc<Resident>>>,
    attendants: Mutex<JoinSet<()>>,
    closed: AtomicBool,
    idle_look: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(look) = self.idle_look.lock().unwrap_or_else(PoisonError::into_inner).take() {
            look.abort();
        }
    }
}

/// One serving worker, as callers see it.
pub(crate) struct Resident {
    load: Load,
    base: BaseState,
    orders: mpsc::UnboundedSender<Order>,
    state: watch::Receiver<State>,
    places: Arc<Semaphore>,
    /// Callers, those that wait included.
    asked: AtomicUsize,
    used_ms: AtomicI64,
    clock: Arc<dyn Clock>,
    pid: Option<u32>,
}

/// When the files of a base were last changed, and their size together: other files are another base.
type BaseState = (Option<SystemTime>, u64);

/// A worker that is in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct InMemory {
    /// Its base model, device and number type.
    pub load: Load,
    /// Its process, while it lives.
    pub pid: Option<u32>,
    /// Answers that it makes or that wait for a place.
    pub asked: usize,
}

impl Serving {
    /// Serving with the given worker programs; nothing is started yet. Must be called in a tokio runtime.
    #[must_use]
    pub fn new(workers: Vec<WorkerBinary>, clock: Arc<dyn Clock>, limits: Limits) -> Self {
        let inner = Arc::new(Inner {
            workers,
            clock,
            limits,
            residents: Mutex::default(),
            attendants: Mutex::default(),
            closed: AtomicBool::new(false),
            idle_look: Mutex::default(),
        });
        let look = tokio::spawn(look_for_idle(Arc::downgrade(&inner)));
        *inner.idle_look.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
        Self { inner }
    }

    /// Asks the base model `load` to answer. The worker is started if it does not live; the answer waits for it and for a place.
    ///
    /// # Errors
    /// `unavailable`: no worker has the device, too many wait already, as many other bases as allowed are answering, or serving is
    /// closed; or the worker cannot be started. What goes wrong later is the answer's last piece.
    pub async fn generate(&self, load: Load, generate: Generate) -> Result<Answer, ApiError> {
        let folder = load.base.clone();
        let base = blocking(move || base_state(&folder)).await;
        let resident = self.inner.resident(load, base)?;
        Ok(Answer::new(resident, generate))
    }

    /// The workers that live now.
    #[must_use]
    pub fn in_memory(&self) -> Vec<InMemory> {
        let residents = self.inner.residents.lock().unwrap_or_else(PoisonError::into_inner);
        let living = residents.iter().filter(|r| r.lives());
        let show =
            |r: &Arc<Resident>| InMemory { load: r.load.clone(), pid: r.pid, asked: r.asked.load(Ordering::Acquire) };
        living.map(show).collect()
    }

    /// Ends the workers that were not asked for as long as the limits say. It happens by itself several times a minute.
    pub fn end_idle(&self) {
        self.inner.end_idle();
    }

    /// Ends every worker, and waits until they are gone; answers in the making end with `cancelled`. Nothing is served any more.
    pub async fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        let residents = std::mem::take(&mut *self.inner.residents.lock().unwrap_or_else(PoisonError::into_inner));
        for resident in residents {
            // Nobody listening means that it has ended already.
            let _ = resident.orders.send(Order::Leave);
        }
        let mut attendants = std::mem::take(&mut *self.inner.attendants.lock().unwrap_or_else(PoisonError::into_inner));
        // What is left after the limit is aborted with the set, and its process killed with it.
        let _ = tokio::time::timeout(LEAVE_LIMIT, async { while attendants.join_next().await.is_some() {} }).await;
    }
}

impl Inner {
    /// The worker for a base, with a caller's mark on it; started if there is none.
    fn resident(&self, load: Load, base: BaseState) -> Result<Caller, ApiError> {
        let mut residents = self.residents.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Acquire) {
            return Err(ApiError::new(ErrorCode::Unavailable, "Nothing was generated: the program is closing."));
        }
        // One that has ended, or whose files have changed, gives its place away; callers that it still has keep it alive.
        residents.retain(|r| r.lives() && !(r.load == load && r.base != base));
        if let Some(resident) = residents.iter().find(|r| r.load == load) {
            let asked = resident.asked.load(Ordering::Acquire);
            if asked >= self.limits.at_once + self.limits.waiting {
                let message = format!("Nothing was generated: {asked} prompts wait for this model already.");
                return Err(ApiError::new(ErrorCode::Unavailable, message).hint("Try again in a moment."));
            }
            return Ok(Caller::mark(resident));
        }
        self.make_room(&mut residents, &load.device)?;
        let resident = Arc::new(self.start(load, base)?);
        residents.push(Arc::clone(&resident));
        Ok(Caller::mark(&resident))
    }

    /// Lets the base that has rested longest leave its device, if the device has as many as it may.
    fn make_room(&self, residents: &mut Vec<Arc<Resident>>, device: &str) -> Result<(), ApiError> {
        while residents.iter().filter(|r| r.load.device == device).count() >= self.limits.bases_per_device {
            let resting = residents.iter().enumerate().filter(|(_, r)| r.load.device == device && r.rests());
            let Some((at, _)) = resting.min_by_key(|(_, r)| r.used_ms.load(Ordering::Acquire)) else {
                let message =
                    format!("Nothing was generated: {} other base models answer now.", self.limits.bases_per_device);
                return Err(ApiError::new(ErrorCode::Unavailable, message).hint("Try again when they are done."));
            };
            residents.remove(at);
        }
        Ok(())
    }

    fn start(&self, load: Load, base: BaseState) -> Result<Resident, ApiError> {
        let program = workers::for_device(&self.workers, &load.device).ok_or_else(|| Error::NoDevice {
            device: load.device.clone(),
            existing: self.workers.iter().flat_map(|w| w.description.devices.iter().map(|d| d.id.clone())).collect(),
        })?;
        let started = worker::start(program, &load)?;
        let mut attendants = self.attendants.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended need no owner any more.
        while attendants.try_join_next().is_some() {}
        attendants.spawn(started.attendant);
        tracing::info!(base = %load.base.display(), device = load.device, pid = started.pid, "serving worker started");
        Ok(Resident {
            load,
            base,
            orders: started.orders,
            state: started.state,
            places: Arc::new(Semaphore::new(self.limits.at_once)),
            asked: AtomicUsize::new(0),
            used_ms: AtomicI64::new(self.clock.now_ms()),
            clock: Arc::clone(&self.clock),
            pid: started.pid,
        })
    }

    fn end_idle(&self) {
        let before = self.clock.now_ms() - self.limits.idle_ms;
        let mut residents = self.residents.lock().unwrap_or_else(PoisonError::into_inner);
        // Its orders end with its last holder, and so does the worker.
        residents.retain(|r| r.lives() && !(r.rests() && r.used_ms.load(Ordering::Acquire) <= before));
    }
}

impl Resident {
    fn lives(&self) -> bool {
        match &*self.state.borrow() {
            State::Starting | State::Loaded => true,
            State::Ended(_) => false,
        }
    }

    fn rests(&self) -> bool {
        self.asked.load(Ordering::Acquire) == 0
    }
}

/// A caller's mark on a worker: while it is there the worker is not at rest.
pub(crate) struct Caller {
    resident: Arc<Resident>,
}

impl Caller {
    fn mark(resident: &Arc<Resident>) -> Self {
        resident.asked.fetch_add(1, Ordering::AcqRel);
        Self { resident: Arc::clone(resident) }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.resident.used_ms.store(self.resident.clock.now_ms(), Ordering::Release);
        self.resident.asked.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn look_for_idle(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        inner.end_idle();
    }
}

/// Of the files that a worker reads of a base. What cannot be read is the worker's to name.
fn base_state(folder: &Path) -> BaseState {
    let files = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let read =
        files.filter(|f| f.path().extension().is_some_and(|e| e == "json" || e == "safetensors" || e == "jinja"));
    // Hub downloads are links into a store: the file behind the link counts.
    let states = read.filter_map(|f| std::fs::metadata(f.path()).ok());
    states.fold((None, 0), |(latest, bytes), meta| (latest.max(meta.modified().ok()), bytes + meta.len()))
}
