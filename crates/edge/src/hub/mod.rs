//! The edge hub: the core with this assembly's seams.
//!
//! - [`route`]: routes of a deployment, from text to the core's.
//!
//! What is *not* here: sessions, routing and the log, which are the core's; and who a module is, which is the daemon's.

pub mod route;
pub mod scope;
mod store;
