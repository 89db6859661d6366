//! The contract of [`Checkpoints`].

use ironbrook_log::{Checkpoints, Offset, PartitionId};

/// Runs the whole suite on an empty store.
pub async fn run(checkpoints: &dyn Checkpoints) {
    let (p, q) = (PartitionId(0), PartitionId(1));
    assert_eq!(checkpoints.load("a", p).await.unwrap(), None);
    checkpoints.store("a", p, Offset(5)).await.unwrap();
    checkpoints.store("b", p, Offset(3)).await.unwrap();
    checkpoints.store("a", q, Offset(9)).await.unwrap();
    assert_eq!(checkpoints.load("a", p).await.unwrap(), Some(Offset(5)));
    assert_eq!(checkpoints.load("a", q).await.unwrap(), Some(Offset(9)));
    // Forward only: a late store of an earlier place changes nothing.
    checkpoints.store("a", p, Offset(4)).await.unwrap();
    assert_eq!(checkpoints.load("a", p).await.unwrap(), Some(Offset(5)));
    assert_eq!(checkpoints.lowest(&["a", "b"], p).await.unwrap(), Some(Offset(3)));
    assert_eq!(checkpoints.lowest(&["a", "never"], p).await.unwrap(), Some(Offset(0)));
    assert_eq!(checkpoints.lowest(&[], p).await.unwrap(), None);
}
