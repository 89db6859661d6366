//! A waker that tells apart why a task was woken.
//!
//! Most wakes of a connection come from its socket and from the disk. What else it waits for, a dozen futures some of which take
//! locks that all connections share, is looked at only when one of those rang.

use futures_util::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// Rung by the rarer causes; it wakes the task as well.
#[derive(Debug)]
pub(super) struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    /// A bell that is rung: nothing was looked at yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { rung: AtomicBool::new(true), task: AtomicWaker::new() })
    }

    /// Whom it wakes the next time. Called in the first poll, in each by another waker, and after each successful
    /// [`take`](Self::take), before which somebody may have rung; then `take` is to be called once more before the task sleeps.
    pub(super) fn set_task(&self, task: &Waker) {
        self.task.register(task);
    }

    /// Whether it rang since the last time.
    pub(super) fn take(&self) -> bool {
        // The cheap look first: this stands on the path of every message.
        self.rung.load(Ordering::Acquire) && self.rung.swap(false, Ordering::AcqRel)
    }

    /// Rings it in the task's own poll, where nobody needs to be woken.
    pub(super) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::{Context, Poll};

    #[test]
    fn is_rung_at_first_and_once_for_each_time() {
        let bell = Bell::new();
        assert!(bell.take() && !bell.take());
        bell.ring();
        bell.ring();
        assert!(bell.take() && !bell.take());
    }

    #[tokio::test]
    async fn a_future_polled_with_it_wakes_the_task_and_rings() {
        let bell = Bell::new();
        assert!(bell.take());
        let (sender, mut receiver) = tokio::sync::oneshot::channel();
        let waker = Waker::from(bell.clone());
        let sending = async move { sender.send(7).unwrap() };
        let waiting = poll_fn(|cx| {
            bell.set_task(cx.waker());
            let polled = std::pin::Pin::new(&mut receiver);
            match Future::poll(polled, &mut Context::from_waker(&waker)) {
                Poll::Ready(value) => Poll::Ready((value, bell.take())),
                Poll::Pending => Poll::Pending,
            }
        });
        let (received, ()) = tokio::join!(waiting, sending);
        assert_eq!(received, (Ok(7), true));
    }

    /// As a connection uses it: the task is told of each ring, not of the first only.
    #[tokio::test(start_paused = true)]
    async fn rings_again_and_again() {
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        let mut timer = Box::pin(tokio::time::sleep(std::time::Duration::from_secs(1)));
        let mut rings = 0;
        poll_fn(|cx| {
            while bell.take() {
                bell.set_task(cx.waker());
                if timer.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    rings += 1;
                    timer.as_mut().reset(tokio::time::Instant::now() + std::time::Duration::from_secs(1));
                    bell.ring();
                }
            }
            if rings == 3 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
