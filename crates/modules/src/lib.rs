//! Stock modules: programs that speak to a hub through the client crate as any other device or module would.
//!
//! Start with [`thermistor`], a device, or with [`temperature_sensor`], a module; [`stream_analytics`] runs queries over what
//! modules send. What is *not* here: the hub, and anything that starts or supervises these programs; the command line does that.

pub mod stream_analytics;
pub mod temperature_sensor;
pub mod thermistor;
