//! Waiting in tests: for what happens, and never without end.

use std::time::Duration;

/// Nothing in these tests takes so long, however busy the machine; past it a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `work` gives; fails where that hangs.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// A moment, before one looks again for something that nobody announces.
pub(crate) async fn moment() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
