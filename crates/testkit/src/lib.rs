//! ironbrook testkit.
