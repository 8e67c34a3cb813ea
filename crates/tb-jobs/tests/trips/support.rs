//! A home folder, its jobs, and what tests ask of them.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tb_core::{
    eval::EvalReport,
    event::{Event, EventBody},
    ids::JobId,
    job::{Job, JobKind},
    recipe::{Hyperparameters, Method},
    run_folder::{
        DataSource, DeviceDescription, Done, ModelSource, Plan, RunEvent, SCHEMA, Task, TrainTask, WorkerDescription,
    },
};
use tb_data::files::RunFolder;
use tb_db::{Db, Tx};
use tb_jobs::{Clock, HookFuture, Hosting, Jobs, NewJob, OnDone, SystemClock, WorkerBinary};
use tempfile::TempDir;

/// Longest time anything may take; only a broken program needs it.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A script that starts this test program as the fake worker. Written once, before anything is spawned: a program that a
/// fork still holds open for writing cannot be started.
static WORKER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("tb-jobs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("fake-worker");
    let program = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = --serve ]; then FAKE_SERVE=1 exec '{0}' --exact trips::fake_server::process --nocapture; fi\n\
         FAKE_RUN=\"$2\" exec '{0}' --exact trips::fake_worker::process --nocapture\n",
        program.display()
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
});

pub fn worker_at(path: &Path, devices: &[&str]) -> WorkerBinary {
    let device = |id: &&str| DeviceDescription {
        id: (*id).into(),
        name: (*id).into(),
        memory_bytes: 1,
        free_bytes: 1,
        units: 1,
        dtypes: vec![],
        features: vec![],
    };
    let devices = devices.iter().map(device).collect();
    WorkerBinary { path: path.into(), description: WorkerDescription { version: "0".into(), schema: SCHEMA, devices } }
}

pub fn worker() -> WorkerBinary {
    worker_at(&WORKER, &["cpu", "cuda:0"])
}

/// What the fake worker is to do, such as `steps=5,ms=10`.
pub fn task(plan: &str) -> Task {
    Task::Train(Box::new(TrainTask {
        method: Method::Sft,
        model: ModelSource { base: "/base".into(), adapter: None },
        data: DataSource { path: plan.into(), mapping: None },
        eval_data: None,
        hyperparameters: Hyperparameters::default(),
    }))
}

pub fn new_job(plan: &str) -> NewJob {
    NewJob {
        name: format!("job {plan}"),
        kind: JobKind::Train,
        model_type: "tone_adjustment".into(),
        base_model: "/base".into(),
        dataset_id: None,
        model_id: None,
        hyperparameters: Hyperparameters::default(),
        task: task(plan),
        device: Some("cpu".into()),
    }
}

/// Notes what it was called with; fails while it is told to.
#[derive(Default)]
pub struct Hook {
    pub trained: Mutex<Vec<(JobId, Option<Plan>, Done)>>,
    pub fails: AtomicBool,
}

impl OnDone for Hook {
    fn trained<'a>(&'a self, tx: &'a mut Tx, job: &'a Job, plan: Option<&'a Plan>, done: &'a Done) -> HookFuture<'a> {
        Box::pin(async move {
            // A write of its own: it must be undone with the rest if the hook fails.
            tb_db::events::append(tx, 7, &EventBody::Stale { tags: vec![tb_core::tag::Tag::Models] }).await?;
            if self.fails.load(Ordering::Acquire) {
                return Err(tb_db::Error::Taken { table: "models", id: "v1".into(), detail: "test".into() });
            }
            self.trained.lock().unwrap().push((job.id.clone(), plan.cloned(), done.clone()));
            Ok(())
        })
    }

    fn evaluated<'a>(&'a self, _: &'a mut Tx, _: &'a Job, _: &'a EvalReport) -> HookFuture<'a> {
        Box::pin(async { Ok(()) })
    }
}

/// A home folder of its own.
pub struct Home {
    pub dir: TempDir,
    pub hook: Arc<Hook>,
}

impl Home {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), hook: Arc::default() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub async fn db(&self) -> Db {
        Db::open(&self.path().join("tonebridge.db")).await.unwrap()
    }

    /// Jobs that supervise if nobody else does.
    pub async fn jobs(&self) -> Jobs {
        self.jobs_with(vec![worker()], Hosting::WhenFree).await
    }

    pub async fn jobs_with(&self, workers: Vec<WorkerBinary>, hosting: Hosting) -> Jobs {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Jobs::open_as(self.db().await, self.path(), workers, self.hook.clone(), clock, hosting).await.unwrap()
    }

    pub fn run(&self, id: &JobId) -> RunFolder {
        RunFolder::open(&self.path().join(tb_jobs::RUNS).join(id.as_str())).unwrap()
    }
}

/// Waits until `ready` gives something.
pub async fn until<T>(what: &str, mut ready: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready().await {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The job at rest.
pub async fn rest(jobs: &Jobs, id: &JobId) -> Job {
    tokio::time::timeout(LIMIT, jobs.wait(id)).await.expect("the job comes to rest").unwrap()
}

/// Lines that the worker has written.
pub fn lines(run: &RunFolder) -> Vec<RunEvent> {
    run.events_after(0).unwrap()
}

/// Waits until the worker has written so many lines; gives its process.
pub async fn written(run: &RunFolder, count: usize) -> u32 {
    until("lines are written", async || (lines(run).len() >= count).then_some(())).await;
    until("the worker holds its lock", async || run.holder().unwrap().map(|h| h.pid).filter(|pid| *pid != 0)).await
}

pub fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

pub async fn all_events(db: &Db) -> Vec<Event> {
    tb_db::events::after(db, 0, 1_000_000).await.unwrap()
}

/// Asserts that every line of the run is stored exactly once: each step's point in the table, each step and each other
/// line in the stream. `repeats` are steps done twice because of a resume.
pub async fn assert_stored_once(db: &Db, run: &RunFolder, id: &JobId, steps: u64) {
    let points = tb_db::metric_points::list(db, id, 0, 0).await.unwrap();
    assert_eq!(points.iter().map(|p| p.step).collect::<Vec<_>>(), (1..=steps).collect::<Vec<_>>());
    let (mut steps_written, mut steps_told) = (BTreeMap::new(), BTreeMap::new());
    let (mut others_written, mut others_told) = (Vec::new(), Vec::new());
    for line in lines(run) {
        match line.body {
            tb_core::run_folder::RunEventBody::Step(point) => *steps_written.entry(point.step).or_insert(0) += 1,
            _ => others_written.push(line.n),
        }
    }
    let events = all_events(db).await;
    assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), (1..=events.len() as i64).collect::<Vec<_>>());
    for event in events {
        match event.body {
            EventBody::Points { job_id, points } if job_id == *id => {
                points.iter().for_each(|p| *steps_told.entry(p.step).or_insert(0) += 1);
            }
            EventBody::Run { job_id, event } if job_id == *id => others_told.push(event.n),
            _ => {}
        }
    }
    assert_eq!(steps_told, steps_written);
    assert_eq!(others_told, others_written);
    assert_eq!(tb_db::ingest::cursor(db, id).await.unwrap(), lines(run).last().unwrap().n);
}
