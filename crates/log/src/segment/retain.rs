//! Letting old segments go.

use super::shared::Shared;
use crate::{Error, Offset, PartitionId};
use ironbrook_model::Timestamp;
use std::sync::PoisonError;

/// Removes whole segments that are wholly before an offset, the oldest first. The growing one stays. Blocks.
pub(super) fn trim(shared: &Shared, partition: PartitionId, before: Offset) -> Result<(), Error> {
    let part = shared.partition(partition)?;
    let _one_at_a_time = part.trimming.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let segment = {
            let mut view = part.view();
            match view.segments.get(1) {
                Some(next) if next.header.base.offset <= before.0 => {}
                _ => return Ok(()),
            }
            let Some(oldest) = view.segments.pop_front() else { return Ok(()) };
            let first = view.first().offset;
            view.drop_cached(first);
            oldest
        };
        match shared.storage.remove(&segment.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        // Synced one by one: two removals a power cut may reorder would leave a hole.
        shared.storage.sync_folder(crate::storage::folder_of(&segment.path))?;
        tracing::debug!(segment = %segment.path.display(), "segment removed");
    }
}

/// Up to where retention lets a partition's records go; without a time its size alone counts.
pub(super) fn limit(
    shared: &Shared,
    partition: PartitionId,
    now: Option<Timestamp>,
) -> Result<Offset, Error> {
    let retention = shared.config.retention;
    let max_age = retention.max_age.zip(now);
    let view = shared.partition(partition)?.view();
    let mut bytes: u64 = view.segments.iter().map(|segment| segment.state().len).sum();
    let mut keep_from = view.first().offset;
    for (oldest, next) in view.segments.iter().zip(view.segments.iter().skip(1)) {
        // The next segment's header has the time of the newest record of this one.
        let newest = Timestamp::from_millis(next.header.base.enqueued);
        let too_old = max_age.is_some_and(|(max, now)| now.since(newest) > max);
        let too_large = retention.max_bytes.is_some_and(|max| bytes > max);
        if !too_old && !too_large {
            break;
        }
        keep_from = next.header.base.offset;
        bytes = bytes.saturating_sub(oldest.state().len);
    }
    Ok(Offset(keep_from))
}
