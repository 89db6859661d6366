//! ironbrook hub.
