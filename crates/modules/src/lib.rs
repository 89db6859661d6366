//! ironbrook modules.
