//! Who is connected here: the core's own fabric, watched.

use async_trait::async_trait;
use ironbrook_hub::fabric::InProcess;
use ironbrook_hub::seams::{Activity, Epoch, Fabric, Mailbox};
use ironbrook_hub::{MethodAnswer, MethodCall};
use ironbrook_model::{Identity, Refusal, Timestamp};
use std::sync::{Arc, OnceLock, Weak};

/// Hears of clients that come and go; must not block.
pub(crate) trait Watcher: Send + Sync + 'static {
    /// A client is connected, or takes more than before.
    fn present(&self, identity: &Identity, takes_methods: bool);

    /// A client is gone.
    fn gone(&self, identity: &Identity);
}

/// The fabric of this process that tells who comes and goes.
pub(crate) struct Sessions {
    fabric: InProcess,
    /// Weak: it holds the core, and so this, itself.
    watcher: OnceLock<Weak<dyn Watcher>>,
}

impl Sessions {
    pub(crate) fn new(fabric: InProcess) -> Self {
        Self { fabric, watcher: OnceLock::new() }
    }

    /// Tells who watches, for as long as it lives; the first counts.
    pub(crate) fn watch(&self, watcher: Weak<dyn Watcher>) {
        let _ = self.watcher.set(watcher);
    }

    fn tell(&self, identity: &Identity) {
        let Some(watcher) = self.watcher.get().and_then(Weak::upgrade) else { return };
        match self.fabric.find(identity) {
            Some((_, mailbox)) => watcher.present(identity, mailbox.takes_methods()),
            None => watcher.gone(identity),
        }
    }
}

#[async_trait]
impl Fabric for Sessions {
    async fn claim(&self, identity: &Identity, mailbox: Arc<dyn Mailbox>) -> Result<Epoch, Refusal> {
        let epoch = self.fabric.claim(identity, mailbox).await;
        self.tell(identity);
        epoch
    }

    fn release(&self, identity: &Identity, epoch: Epoch) {
        self.fabric.release(identity, epoch);
        self.tell(identity);
    }

    fn find(&self, identity: &Identity) -> Option<(Epoch, Arc<dyn Mailbox>)> {
        self.fabric.find(identity)
    }

    fn reachable(&self, identity: &Identity) {
        self.fabric.reachable(identity);
        self.tell(identity);
    }

    async fn inputs_ready(&self, identity: &Identity) {
        self.fabric.inputs_ready(identity).await;
    }

    fn changed(&self, identity: &Identity) {
        self.fabric.changed(identity);
    }

    fn all_changed(&self) {
        self.fabric.all_changed();
    }

    fn close_all(&self, why: &Refusal) {
        self.fabric.close_all(why);
    }

    fn active_since(&self, time: Timestamp) -> Vec<(Identity, Activity)> {
        self.fabric.active_since(time)
    }

    fn connected(&self) -> usize {
        self.fabric.connected()
    }

    async fn call(&self, identity: &Identity, call: MethodCall) -> Result<MethodAnswer, Refusal> {
        self.fabric.call(identity, call).await
    }

    fn answer(&self, identity: &Identity, request: &str, answer: MethodAnswer) {
        self.fabric.answer(identity, request, answer);
    }
}
