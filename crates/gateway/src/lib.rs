//! ironbrook gateway.
