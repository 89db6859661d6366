//! ironbrook client.
