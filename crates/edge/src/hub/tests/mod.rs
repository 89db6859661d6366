//! The edge hub between real clients and a real hub, over TLS on loopback ports.

mod flow;
mod full;
mod power_cut;
mod twins;
mod world;

use world::{World, until};
