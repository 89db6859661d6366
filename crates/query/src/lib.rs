//! ironbrook query.
