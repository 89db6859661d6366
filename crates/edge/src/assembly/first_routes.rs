//! At the very first start modules wait until the edge hub knows the deployment's routes.
//!
//! Agent and edge hub read their twins each for itself. A module that is quicker than the edge hub would send by the route a hub
//! without deployment has: upstream alone, and twin changes too. Where routes of an earlier run are kept nothing waits.

use ironbrook_hub::seams::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;

/// After this modules start whatever the edge hub knows: a deployment may have no part for it.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Holds modules back once.
pub(super) struct FirstRoutes {
    configured: watch::Receiver<bool>,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
    waited: OnceCell<()>,
}

impl FirstRoutes {
    /// `configured` tells whether the edge hub has seen routes of a deployment; after `cancel` nobody waits.
    pub(super) fn new(
        configured: watch::Receiver<bool>,
        clock: Arc<dyn Clock>,
        cancel: CancellationToken,
    ) -> Self {
        Self { configured, clock, cancel, waited: OnceCell::new() }
    }

    /// Waits for the routes, ten seconds from the first call on at most. Cancel-safe.
    pub(super) async fn wait(&self) {
        self.waited.get_or_init(|| self.wait_once()).await;
    }

    async fn wait_once(&self) {
        let mut configured = self.configured.clone();
        tokio::select! {
            biased;
            // An error: the edge hub ends, and with it the device.
            _ = configured.wait_for(|configured| *configured) => {}
            () = self.cancel.cancelled() => {}
            () = self.clock.sleep(WAIT_MAX) => {
                tracing::warn!("the edge hub has no routes of a deployment yet; modules start, and all they send goes upstream");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use ironbrook_model::Timestamp;
    use ironbrook_testkit::TestClock;

    struct Scene {
        routes: FirstRoutes,
        configured: watch::Sender<bool>,
        clock: TestClock,
        cancel: CancellationToken,
    }

    fn scene(is_configured: bool) -> Scene {
        let (configured, seen) = watch::channel(is_configured);
        let (clock, cancel) = (TestClock::new(Timestamp::from_secs(1)), CancellationToken::new());
        let routes = FirstRoutes::new(seen, Arc::new(clock.clone()), cancel.clone());
        Scene { routes, configured, clock, cancel }
    }

    impl Scene {
        fn waits(&self) -> bool {
            self.routes.wait().now_or_never().is_none()
        }
    }

    #[test]
    fn modules_wait_for_the_first_routes_and_never_again() {
        let scene = scene(false);
        assert!(scene.waits());
        scene.configured.send_replace(true);
        assert!(!scene.waits());
        scene.configured.send_replace(false);
        assert!(!scene.waits());
    }

    #[test]
    fn known_routes_or_the_end_let_modules_go_at_once() {
        assert!(!scene(true).waits());
        let ending = scene(false);
        ending.cancel.cancel();
        assert!(!ending.waits());
    }

    #[tokio::test]
    async fn ten_seconds_are_enough() {
        let scene = scene(false);
        let (waiting, clock) = (scene.routes.wait(), scene.clock.clone());
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        clock.advance(WAIT_MAX - Duration::from_millis(1));
        assert!(waiting.as_mut().now_or_never().is_none());
        clock.advance(Duration::from_millis(1));
        waiting.await;
        assert!(!scene.waits());
    }
}
