//! An MQTT 3.1.1 load generator (`loadgen`) and the least server that can answer it (`sink`), both plain Rust over epoll.
//!
//! What it does and means is in `README.md`. Start with [`run`] for the course of a measurement, then [`worker`] for the event
//! loop. It is no client library: it knows the packets it sends and looks only at what it must of those it gets.

pub mod arguments;
pub mod connection;
pub mod histogram;
pub mod packet;
pub mod process;
pub mod report;
pub mod run;
pub mod sink;
pub mod system;
pub mod tls;
pub mod worker;

/// Says why on standard error and ends the program as wrongly used.
pub fn die(why: &str) -> ! {
    eprintln!("error: {why}");
    std::process::exit(2)
}
