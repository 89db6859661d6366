//! Stock modules: programs that speak to a hub through the client crate as any other device or module would.
//!
//! Start with [`thermistor`], a device, or with [`temperature_sensor`], a module. What is *not* here: the hub, and anything that starts or
//! supervises these programs; the command line does that.

pub mod temperature_sensor;
pub mod thermistor;
