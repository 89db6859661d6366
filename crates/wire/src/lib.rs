//! ironbrook wire.
