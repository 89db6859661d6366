//! ironbrook cloud.
