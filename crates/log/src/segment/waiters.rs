//! Who waits for records to become durable, and how they are told: many of a round by one hand-over to their runtime.
//!
//! Waking a task from the writer's thread takes the runtime's global queue and may take a system call; and a waker may do more than
//! that, as writing an answer. So the writer hands what it would wake to short tasks of the runtime, which wake them from its workers.
//! One alone is woken from the writer's thread: it is answered soonest so.

use super::partition::Status;
use crate::api::Place;
use crate::{Error, Wait};
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;

/// How many are told by one task of the runtime: no more, so that a worker that tells them looks at something else in between, and
/// workers share in it.
const TOLD_TOGETHER: usize = 64;

/// Tasks waiting for records of one partition.
pub(super) struct Waiters(Mutex<State>);

struct State {
    /// The cursor's offset behind the last durable record.
    end: u64,
    status: Status,
    last_key: u64,
    waiting: Vec<Waiter>,
}

struct Waiter {
    key: u64,
    offset: u64,
    waker: Waker,
}

/// A wait that leaves the list when it is dropped: one for each wait under way, so that the callers bound the list.
struct Guard<'a> {
    waiters: &'a Waiters,
    wait: Wait,
}

impl Waiters {
    /// `end` is behind the last record that is durable already.
    pub(super) fn new(end: u64) -> Self {
        Self(Mutex::new(State { end, status: Status::Open, last_key: 0, waiting: Vec::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a record is durable. Cancel-safe.
    pub(super) async fn wait(&self, offset: u64, runtime: &Runtime) -> Result<(), Error> {
        let mut guard = Guard { waiters: self, wait: Wait::default() };
        poll_fn(|cx| self.poll(offset, &mut guard.wait, runtime, cx)).await.map(drop)
    }

    /// As [`wait`](Self::wait); tells what is behind the last durable record. A wait that is dropped stays in the list until its record is durable or the log ends, which is soon:
    /// the record is in the buffer already.
    pub(super) fn poll(
        &self,
        offset: u64,
        wait: &mut Wait,
        runtime: &Runtime,
        cx: &mut Context<'_>,
    ) -> Poll<Result<u64, Error>> {
        let mut state = self.state();
        if let Some(result) = state.look(offset) {
            // Who publishes takes all from the list whose result is known.
            wait.0 = None;
            return Poll::Ready(result);
        }
        match wait.0.as_mut().filter(|place| place.offset == offset) {
            Some(place) if place.waker.will_wake(cx.waker()) => {}
            Some(place) => {
                place.waker.clone_from(cx.waker());
                if let Some(waiter) = state.waiting.iter_mut().find(|waiter| waiter.key == place.key) {
                    waiter.waker.clone_from(cx.waker());
                }
            }
            None => {
                state.last_key += 1;
                let key = state.last_key;
                state.waiting.push(Waiter { key, offset, waker: cx.waker().clone() });
                drop(state);
                wait.0 = Some(Place { key, offset, waker: cx.waker().clone() });
                runtime.note();
            }
        }
        Poll::Pending
    }

    /// More is durable: who waited for it goes to `told`.
    pub(super) fn publish(&self, end: u64, told: &mut Told) {
        let mut state = self.state();
        state.end = end;
        told.0.extend(state.waiting.extract_if(.., |waiter| waiter.offset < end).map(|waiter| waiter.waker));
    }

    /// The log ends: all are told.
    pub(super) fn stop(&self, reason: Status, told: &mut Told) {
        let mut state = self.state();
        state.status = reason;
        told.0.extend(state.waiting.drain(..).map(|waiter| waiter.waker));
    }
}

impl State {
    fn look(&self, offset: u64) -> Option<Result<u64, Error>> {
        match self.status {
            Status::Open | Status::Closed if self.end > offset => Some(Ok(self.end)),
            Status::Open => None,
            status => Some(status.check().map(|()| self.end)),
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let Some(place) = self.wait.0.take() else { return };
        let mut state = self.waiters.state();
        if let Some(at) = state.waiting.iter().position(|waiter| waiter.key == place.key) {
            state.waiting.swap_remove(at);
        }
    }
}

/// Tasks to be woken; dropping it wakes them, wherever that is.
#[derive(Default)]
pub(super) struct Told(Vec<Waker>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

/// The runtime of those who wait.
#[derive(Default)]
pub(super) struct Runtime(OnceLock<Handle>);

impl Runtime {
    /// Called in a task that waits.
    fn note(&self) {
        if self.0.get().is_none()
            && let Ok(handle) = Handle::try_current()
        {
            // Any will do, and the first stays.
            let _ = self.0.set(handle);
        }
    }

    /// Wakes tasks, many of them from within the runtime. A runtime that is shut down drops what it is given, and so they
    /// are woken even then.
    pub(super) fn wake(&self, mut told: Told) {
        let Some(runtime) = self.0.get().filter(|_| told.0.len() > 1) else { return };
        while !told.0.is_empty() {
            let some = Told(told.0.drain(..told.0.len().min(TOLD_TOGETHER)).collect());
            runtime.spawn(async move { drop(some) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn publish(waiters: &Waiters, end: u64) {
        let mut told = Told::default();
        waiters.publish(end, &mut told);
        Runtime::default().wake(told);
    }

    #[test]
    fn only_those_whose_record_is_durable_are_woken() {
        let (waiters, runtime) = (Waiters::new(3), Runtime::default());
        let counts: Vec<_> = (0..3).map(|_| Arc::new(Count::default())).collect();
        let wakers: Vec<Waker> = counts.iter().map(|count| count.clone().into()).collect();
        let mut waits: Vec<_> =
            [2, 3, 9].iter().map(|offset| Box::pin(waiters.wait(*offset, &runtime))).collect();
        let mut poll = |index: usize| waits[index].as_mut().poll(&mut Context::from_waker(&wakers[index]));
        assert!(poll(0).is_ready());
        assert!(poll(1).is_pending() && poll(1).is_pending() && poll(2).is_pending());
        publish(&waiters, 5);
        assert_eq!(counts.iter().map(|count| count.0.load(Ordering::SeqCst)).collect::<Vec<_>>(), [0, 1, 0]);
        assert!(poll(1).is_ready() && poll(2).is_pending());
        assert_eq!(waiters.state().waiting.len(), 1);
    }

    #[test]
    fn a_wait_that_moves_to_another_task_wakes_that_one_and_a_dropped_one_leaves_nothing() {
        let (waiters, runtime) = (Waiters::new(0), Runtime::default());
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        {
            let mut wait = pin!(waiters.wait(0, &runtime));
            for count in [&first, &second] {
                let waker = count.clone().into();
                assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
            publish(&waiters, 1);
            assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (0, 1));
            let mut dropped = Box::pin(waiters.wait(7, &runtime));
            assert!(dropped.as_mut().poll(&mut Context::from_waker(&second.into())).is_pending());
        }
        assert!(waiters.state().waiting.is_empty());
    }

    #[test]
    fn a_wait_serves_one_ticket_after_the_other() {
        let (waiters, runtime) = (Waiters::new(0), Runtime::default());
        let count = Arc::new(Count::default());
        let waker = count.clone().into();
        let mut cx = Context::from_waker(&waker);
        let mut wait = Wait::default();
        for offset in 0..3 {
            for _ in 0..2 {
                assert!(waiters.poll(offset, &mut wait, &runtime, &mut cx).is_pending());
            }
            assert_eq!(waiters.state().waiting.len(), 1);
            publish(&waiters, offset + 1);
            assert_eq!(count.0.load(Ordering::SeqCst), offset as usize + 1);
            assert!(waiters.poll(offset, &mut wait, &runtime, &mut cx).is_ready());
        }
        // One that is dropped, or used for another ticket before it was over, is forgotten with its record.
        assert!(waiters.poll(3, &mut wait, &runtime, &mut cx).is_pending());
        assert!(waiters.poll(4, &mut wait, &runtime, &mut cx).is_pending());
        drop(wait);
        publish(&waiters, 5);
        assert!(waiters.state().waiting.is_empty());
    }

    #[test]
    fn the_end_tells_all_but_those_who_have_what_they_want() {
        for (reason, durable) in [(Status::Closed, true), (Status::Poisoned, false)] {
            let (waiters, runtime) = (Waiters::new(2), Runtime::default());
            let count = Arc::new(Count::default());
            let waker = count.clone().into();
            let mut cx = Context::from_waker(&waker);
            let mut wait = pin!(waiters.wait(2, &runtime));
            assert!(wait.as_mut().poll(&mut cx).is_pending());
            let mut told = Told::default();
            waiters.stop(reason, &mut told);
            drop(told);
            assert_eq!(count.0.load(Ordering::SeqCst), 1);
            assert!(matches!(wait.as_mut().poll(&mut cx), Poll::Ready(Err(_))));
            let Poll::Ready(result) = pin!(waiters.wait(1, &runtime)).poll(&mut cx) else {
                panic!("pending")
            };
            assert_eq!(result.is_ok(), durable);
        }
    }

    #[test]
    fn a_runtime_that_is_gone_holds_nobody_up() {
        let runtime = Runtime::default();
        let old = tokio::runtime::Builder::new_current_thread().build().unwrap();
        old.block_on(async { runtime.note() });
        drop(old);
        let count = Arc::new(Count::default());
        runtime.wake(Told(vec![count.clone().into(), count.clone().into()]));
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_are_told_by_another_thread() {
        let waiters = Arc::new((Waiters::new(0), Runtime::default()));
        let tasks: Vec<_> = (0..500)
            .map(|offset| {
                let waiters = waiters.clone();
                tokio::spawn(async move { waiters.0.wait(offset, &waiters.1).await })
            })
            .collect();
        let publishing = tokio::task::spawn_blocking(move || {
            for end in (0..=500).step_by(50) {
                let mut told = Told::default();
                waiters.0.publish(end, &mut told);
                waiters.1.wake(told);
            }
        });
        publishing.await.unwrap();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    }
}
