//! Separated values: RFC 4180 with any of the service's delimiters.

mod read;
mod write;

pub(super) use read::Reader;
pub(super) use write::Writer;
