//! ironbrook log.
