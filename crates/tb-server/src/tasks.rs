//! The owner of work that must not end with the request that began it: a caller who hangs up does not leave a change half done.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
};

use tokio::{sync::oneshot, task::JoinSet};

/// Running changes; dropping them aborts them.
#[derive(Default)]
pub(crate) struct Tasks {
    running: Mutex<JoinSet<()>>,
}

impl Tasks {
    /// Starts `work` and waits for it; if the caller stops waiting, it goes on. None if it broke or was ended.
    pub async fn see_through<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (told, done) = oneshot::channel();
        {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            while running.try_join_next().is_some() {}
            running.spawn(async move {
                // Nobody waiting any more is the case this is for.
                let _ = told.send(work.await);
            });
        }
        done.await.ok()
    }

    /// Waits until all has ended.
    pub async fn finish(&self) {
        let mut running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        while running.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    #[tokio::test]
    async fn work_goes_on_when_its_caller_hangs_up() {
        let tasks = Tasks::default();
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        let work = async move {
            tokio::task::yield_now().await;
            told.store(true, Ordering::SeqCst);
        };
        assert!(tasks.see_through(work).now_or_never().is_none());
        tasks.finish().await;
        assert!(done.load(Ordering::SeqCst));
        assert_eq!(tasks.see_through(async { 5 }).await, Some(5));
        assert_eq!(tasks.see_through(async { panic!("for the test") }).await, None::<()>);
    }
}
