//! Stock modules: programs that speak to a hub through the client crate as any other device or module would.
//!
//! Start with [`thermistor`], the simulated temperature sensor. What is *not* here: the hub, and anything that starts or
//! supervises these programs; the command line does that.

pub mod thermistor;
