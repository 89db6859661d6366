//! A connection as its task and the disk share it.
//!
//! What a busy connection waits for most is the disk, and all it has to do then is to write PUBACKs. Its task is not run for that:
//! who tells it that more is on disk writes them at once. The log tells many together, so that their answers leave one right after
//! the other, without a turn of the scheduler for each. The task is woken where there is more to do than that, or where it runs.

use super::connection::Connection;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection that is served. Dropping it drops the connection, whoever holds wakers of it.
pub(super) struct Served<S>(Arc<Desk<S>>);

/// What the task and the log's list of waits hold. As a waker it is to be told that more is on disk.
struct Desk<S> {
    /// Held for one poll at most, and only the task waits for it. Taken out at the end: a wait that is still in the log's list holds
    /// nothing then.
    connection: Mutex<Option<Connection<S>>>,
    task: Mutex<Waker>,
}

/// Who is woken in a poll of a connection.
pub(super) struct Wakers<'a, 'b> {
    /// By all but the disk.
    pub(super) task: &'a mut Context<'b>,
    /// By the disk.
    pub(super) disk: &'a Waker,
    /// Whether the task is another than before.
    pub(super) is_new: bool,
}

impl<S> Served<S> {
    pub(super) fn new(connection: Connection<S>) -> Self {
        let (connection, task) = (Mutex::new(Some(connection)), Mutex::new(Waker::noop().clone()));
        Self(Arc::new(Desk { connection, task }))
    }

    /// What `look` finds of the connection, while it is served.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Connection<S>) -> T) -> Option<T> {
        lock(&self.0.connection).as_ref().map(look)
    }

    /// Ends serving.
    pub(super) fn take(&self) -> Option<Box<Connection<S>>> {
        lock(&self.0.connection).take().map(Box::new)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Served<S> {
    /// Polls the connection until it is ready with something; `None` where it was taken.
    pub(super) async fn poll<T>(
        &self,
        mut poll: impl FnMut(&mut Connection<S>, &mut Wakers<'_, '_>) -> Poll<T>,
    ) -> Option<T> {
        let disk = Waker::from(self.0.clone());
        let mut known: Option<Waker> = None;
        let polling = poll_fn(|task| {
            // Always the same as long as the connection is a task of its own.
            let is_new = known.as_ref().is_none_or(|known| !known.will_wake(task.waker()));
            if is_new {
                known = Some(task.waker().clone());
                lock(&self.0.task).clone_from(task.waker());
            }
            match &mut *lock(&self.0.connection) {
                Some(connection) => poll(connection, &mut Wakers { task, disk: &disk, is_new }).map(Some),
                None => Poll::Ready(None),
            }
        });
        polling.await
    }
}

impl<S> Drop for Served<S> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Wake for Desk<S> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let task = lock(&self.task);
        let is_done = match self.connection.try_lock() {
            Ok(mut connection) => connection.as_mut().is_none_or(|connection| {
                let disk = Waker::from(self.clone());
                connection.acknowledge_at_once(&mut Context::from_waker(&task), &disk)
            }),
            // The task runs, and may have looked at the disk already.
            Err(_) => false,
        };
        if !is_done {
            task.wake_by_ref();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under these locks ends the connection's task, and with it all that they protect.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
