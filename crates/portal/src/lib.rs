//! ironbrook portal.
