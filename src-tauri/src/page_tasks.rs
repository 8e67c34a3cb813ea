//! What runs for a page: subscriptions and streams. A reload or a new page ends all of the old one's.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tauri::async_runtime::JoinHandle;

/// The tasks of every webview, by number.
#[derive(Default)]
pub struct PageTasks {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    last_id: u32,
    running: HashMap<u32, Task>,
}

struct Task {
    webview: String,
    handle: JoinHandle<()>,
}

impl PageTasks {
    /// Runs `work` for the page in `webview`, and gives the number by which it can be stopped.
    pub fn spawn(&self, webview: &str, work: impl Future<Output = ()> + Send + 'static) -> u32 {
        // Held while spawning, so that a task that ends at once finds itself in the list.
        let mut inner = lock(&self.inner);
        inner.last_id = inner.last_id.wrapping_add(1);
        let id = inner.last_id;
        let list = Arc::clone(&self.inner);
        let handle = tauri::async_runtime::spawn(async move {
            work.await;
            lock(&list).running.remove(&id);
        });
        inner.running.insert(id, Task { webview: webview.to_owned(), handle });
        id
    }

    /// Stops one task of the page in `webview`; one that has ended already is no error.
    pub fn stop(&self, webview: &str, id: u32) {
        let mut inner = lock(&self.inner);
        if inner.running.get(&id).is_some_and(|task| task.webview == webview)
            && let Some(task) = inner.running.remove(&id)
        {
            task.handle.abort();
        }
    }

    /// Stops every task of the page in `webview`.
    pub fn stop_all(&self, webview: &str) {
        lock(&self.inner).running.retain(|_, task| {
            let stays = task.webview != webview;
            if !stays {
                task.handle.abort();
            }
            stays
        });
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        lock(&self.inner).running.len()
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// A task that never ends by itself, and a receiver that hears when it was dropped.
    fn endless(tasks: &PageTasks, webview: &str) -> (u32, oneshot::Receiver<()>) {
        let (alive, dropped) = oneshot::channel();
        let id = tasks.spawn(webview, async move {
            let _alive: oneshot::Sender<()> = alive;
            std::future::pending::<()>().await;
        });
        (id, dropped)
    }

    #[test]
    fn a_reload_ends_the_tasks_of_that_page_only() {
        tauri::async_runtime::block_on(async {
            let tasks = PageTasks::default();
            let (_, first) = endless(&tasks, "main");
            let (_, second) = endless(&tasks, "main");
            let (other, third) = endless(&tasks, "other");
            tasks.stop_all("main");
            assert!(first.await.is_err() && second.await.is_err(), "both were dropped");
            assert_eq!(tasks.count(), 1);
            tasks.stop("main", other);
            assert_eq!(tasks.count(), 1, "a page cannot stop another page's task");
            tasks.stop("other", other);
            assert!(third.await.is_err());
            assert_eq!(tasks.count(), 0);
        });
    }

    #[test]
    fn a_task_that_ends_leaves_the_list() {
        tauri::async_runtime::block_on(async {
            let tasks = PageTasks::default();
            let (ended, end) = oneshot::channel();
            tasks.spawn("main", async move {
                let _ = ended.send(());
            });
            end.await.unwrap();
            while tasks.count() > 0 {
                tokio::task::yield_now().await;
            }
        });
    }
}
