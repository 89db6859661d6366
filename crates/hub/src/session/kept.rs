//! Subscriptions that outlive the connection.
//!
//! rule HUB-11: the Python client connects with clean session 0 and never subscribes anew, not even after it renewed its token
//! with a new connection. What it subscribed to once must count until it unsubscribes.

use super::{Session, lock};
use crate::operation::Subscription;
use crate::seams::{Clock, Kept};
use ironbrook_model::Refusal;
use std::sync::Arc;
use std::time::Duration;

/// How long stored inputs wait for a SUBSCRIBE after a connect. A program that just started may have no handler yet, and
/// would acknowledge and lose what comes before it subscribes (Node).
const INPUTS_GRACE: Duration = Duration::from_secs(2);

impl Session {
    /// Takes up what is stored.
    pub(super) fn restore(&self, kept: Kept) {
        *lock(&self.kept) = Some(kept);
        if kept.desired {
            self.set_takes_desired(true);
        }
        if kept.methods {
            self.set_takes_methods(true);
        }
        if kept.inputs {
            self.restore_inputs();
        }
    }

    fn restore_inputs(&self) {
        self.mailbox.expect_inputs();
        let (mailbox, identity) = (Arc::downgrade(&self.mailbox), self.identity.clone());
        let seams = &self.core.seams;
        let (fabric, clock): (_, Arc<dyn Clock>) = (Arc::downgrade(&seams.fabric), Arc::clone(&seams.clock));
        self.core.runtime.spawn(async move {
            clock.sleep(INPUTS_GRACE).await;
            if let (Some(mailbox), Some(fabric)) = (mailbox.upgrade(), fabric.upgrade())
                && mailbox.accept_expected_inputs()
            {
                fabric.reachable(&identity);
            }
        });
    }

    /// Whether a session before subscribed to answers to twin requests, and this one goes on with it.
    pub fn kept_twin_answers(&self) -> bool {
        lock(&self.kept).is_some_and(|kept| kept.twin_answers)
    }

    /// Stores a change of the subscriptions, where they outlive the connection and it is one.
    pub(crate) async fn keep(&self, subscription: Subscription, on: bool) -> Result<(), Refusal> {
        let Some(before) = *lock(&self.kept) else { return Ok(()) };
        let mut kept = before;
        match subscription {
            Subscription::Methods => kept.methods = on,
            Subscription::DesiredProperties => kept.desired = on,
            Subscription::Inputs => kept.inputs = on,
            Subscription::TwinAnswers => kept.twin_answers = on,
            Subscription::CloudToDevice { .. } => {}
        }
        if kept != before {
            self.core.seams.inbox.keep(&self.identity, kept).await?;
            *lock(&self.kept) = Some(kept);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{INPUTS_GRACE, Subscription};
    use crate::seams::Kept;
    use crate::testing::{Bench, START, eventually, module, request};
    use crate::{ConnectRequest, Operation, Session};

    async fn connect(bench: &Bench, clean_session: bool) -> Session {
        let request = ConnectRequest { clean_session, ..request(&module("d1", "m1")) };
        bench.hub.connect(request).await.unwrap()
    }

    /// Whether the session takes methods, desired properties and inputs.
    fn takes(bench: &Bench) -> (bool, bool, bool) {
        let (_, mailbox) = bench.hub.seams().fabric.find(&module("d1", "m1")).unwrap();
        (mailbox.takes_methods(), mailbox.takes_desired(), mailbox.takes_inputs())
    }

    async fn perform(bench: &Bench, session: &Session, operation: Operation) {
        bench.hub.perform(session, operation).await.unwrap();
    }

    #[tokio::test]
    async fn subscriptions_of_sessions_that_are_not_clean_outlive_them_rule_hub_11() {
        let bench = Bench::new();
        let session = connect(&bench, false).await;
        assert_eq!(takes(&bench), (false, false, false));
        for each in [Subscription::Methods, Subscription::DesiredProperties, Subscription::Inputs] {
            perform(&bench, &session, Operation::Subscribe(each)).await;
        }
        perform(&bench, &session, Operation::Unsubscribe(Subscription::DesiredProperties)).await;
        drop(session);
        let session = connect(&bench, true).await;
        assert_eq!(takes(&bench), (false, false, false), "a clean session begins with nothing");
        drop(session);
        let session = connect(&bench, false).await;
        assert_eq!(takes(&bench), (true, false, false), "inputs wait a little");
        bench.clock.sleeper(START.plus(INPUTS_GRACE)).await;
        bench.clock.advance(INPUTS_GRACE);
        eventually("inputs", || takes(&bench) == (true, false, true)).await;
        perform(&bench, &session, Operation::Unsubscribe(Subscription::Inputs)).await;
        assert_eq!(*bench.inbox.kept.lock().unwrap(), Kept { methods: true, ..Kept::default() });
    }

    #[tokio::test]
    async fn a_new_subscription_to_inputs_counts_at_once_and_an_end_too() {
        let bench = Bench::new();
        *bench.inbox.kept.lock().unwrap() = Kept { inputs: true, ..Kept::default() };
        let session = connect(&bench, false).await;
        perform(&bench, &session, Operation::Subscribe(Subscription::Inputs)).await;
        assert_eq!(takes(&bench), (false, false, true));
        perform(&bench, &session, Operation::Unsubscribe(Subscription::Inputs)).await;
        bench.clock.sleeper(START.plus(INPUTS_GRACE)).await;
        bench.clock.advance(INPUTS_GRACE);
        // The task that would take it up ran when its sleep is gone.
        eventually("the end of the sleep", || bench.clock.sleeping() == 0).await;
        assert_eq!(takes(&bench), (false, false, false), "the device said so meanwhile");
    }
}
