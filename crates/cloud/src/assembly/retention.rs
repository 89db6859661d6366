//! Drops what no reader needs any more and retention no longer keeps.

use ironbrook_hub::Hub;
use ironbrook_hub::executor::Handle;
use ironbrook_log::{Log as _, Offset, PartitionId, SegmentLog};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often segments are looked through; they go whole, so more often gains nothing.
const EVERY: Duration = Duration::from_secs(60);

pub(super) async fn run(log: Arc<SegmentLog>, executors: Handle, hub: Hub, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = hub.seams().clock.sleep(EVERY) => {}
        }
        for partition in (0..log.partitions()).map(PartitionId) {
            if let Ok(before) = log.oversize(partition) {
                // What they let go of is removed the next time at the latest.
                executors.give_up(partition, before);
            }
            // Without endpoints only age and size count.
            let needed_from = executors.lowest(partition).unwrap_or(Offset(u64::MAX));
            if let Err(error) = log.retain(partition, hub.seams().clock.now(), needed_from).await {
                tracing::warn!(partition = partition.0, %error, "old segments stay for now");
            }
        }
    }
}
