//! Avro container files. Reading is our own: files come from outside, and general readers believe the lengths in them and
//! follow types that contain themselves as deep as a file wants. Writing is the Avro project's.

mod read;
mod schema;
mod write;

pub(super) use read::Reader;
pub(super) use write::Writer;
