//! The door, spoken to by the engine of `wire`, on a hub with stand-ins for its seams.

mod client;
mod device;
mod errors;
mod inputs;
mod provisioning;
mod service;
mod tokens;
