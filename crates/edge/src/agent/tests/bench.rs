//! Everything put together, and waiting.

use super::super::reconcile::{Engine, Turned};
use super::super::records::Deployment;
use super::super::seams::AgentTwin;
use super::super::{Agent, Config, Metrics, Seams};
use super::fakes::{FakeIdentities, FakeLogs, FakeRuntime, FakeStore};
use super::twin::FakeTwin;
use ironbrook_hub::seams::Clock as _;
use ironbrook_model::Timestamp;
use ironbrook_testkit::TestClock;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Real time after which a test that waits has failed.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// Everything an agent stands on.
pub(in super::super) struct Bench {
    pub(in super::super) clock: TestClock,
    pub(in super::super) runtime: Arc<FakeRuntime>,
    pub(in super::super) identities: Arc<FakeIdentities>,
    pub(in super::super) store: Arc<FakeStore>,
    pub(in super::super) twin: Arc<FakeTwin>,
    pub(in super::super) logs: Arc<FakeLogs>,
}

impl Bench {
    pub(in super::super) fn new() -> Self {
        let clock = TestClock::new(Timestamp::parse("2026-01-31T09:00:00Z").unwrap());
        Self {
            runtime: Arc::new(FakeRuntime::new(clock.clone())),
            clock,
            identities: Arc::default(),
            store: Arc::default(),
            twin: Arc::new(FakeTwin::new()),
            logs: Arc::default(),
        }
    }

    pub(in super::super) async fn engine(&self, stored_version: u64) -> Engine {
        Engine::new(
            self.runtime.clone(),
            self.identities.clone(),
            self.store.clone(),
            Arc::new(self.clock.clone()),
            Metrics::default(),
            stored_version,
        )
        .await
    }

    pub(in super::super) fn agent(&self) -> Agent {
        self.agent_on(self.twin.clone())
    }

    pub(in super::super) fn agent_on(&self, twin: Arc<dyn AgentTwin>) -> Agent {
        let config = Config {
            version: "1.2.3".to_owned(),
            agent_image: "ironbrook/azureiotedge-agent:1.2.3".to_owned(),
            hub_host: "hub.example".to_owned(),
            device: "edge-1".to_owned(),
        };
        let seams = Seams {
            twin,
            identities: self.identities.clone(),
            runtime: self.runtime.clone(),
            logs: self.logs.clone(),
            clock: Arc::new(self.clock.clone()),
            store: self.store.clone(),
        };
        Agent::new(config, seams, Metrics::default())
    }

    /// Turns the clock to the time an engine asks for, until it asks for none or what it does is enough.
    pub(in super::super) async fn settle(
        &self,
        engine: &mut Engine,
        deployment: &Deployment,
        enough: impl Fn(&Turned) -> bool,
    ) -> Turned {
        for _ in 0..200 {
            let turned = self.turn(engine, deployment).await;
            match turned.wake {
                Some(wake) if !enough(&turned) => self.clock.advance(wake.since(self.clock.now())),
                _ => return turned,
            }
        }
        panic!("the agent does not come to rest");
    }

    pub(in super::super) async fn turn(&self, engine: &mut Engine, deployment: &Deployment) -> Turned {
        engine.turn(Some(deployment), true, &CancellationToken::new()).await.unwrap()
    }

    /// Waits for something; the clock stands still.
    pub(in super::super) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        self.wait(what, Duration::ZERO, condition).await;
    }

    /// Waits for something while the clock runs, a second at a time.
    pub(in super::super) async fn until_later(&self, what: &str, condition: impl Fn() -> bool) {
        self.wait(what, Duration::from_secs(1), condition).await;
    }

    async fn wait(&self, what: &str, step: Duration, condition: impl Fn() -> bool) {
        let end = std::time::Instant::now() + LIMIT;
        while !condition() {
            assert!(std::time::Instant::now() < end, "waited in vain: {what}");
            self.clock.advance(step);
            // Lets everything else have its turn; what has not happened then is looked at again.
            tokio::task::yield_now().await;
        }
    }
}
