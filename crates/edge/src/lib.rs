//! The edge assembly: what runs beside machines, works without the hub it belongs to, and passes on what it has when the hub
//! is there again. Compatible with Azure IoT Edge deployments and modules.
//!
//! - [`manifest`]: the deployment, as the twins of `$edgeAgent` and `$edgeHub` bring it.
//! - [`daemon`]: identities, keys and certificates of the modules; the workload API they ask; the management API of the tools.
//! - [`runtime`]: the seam behind which modules run, and child processes as its embedded form.
//! - [`agent`]: makes what runs equal to what is deployed, and reports.
//! - [`hub`]: the core with this assembly's seams: identities in scope, twins by proxy, routes, `$upstream`, module inputs.
//! - [`assembly`]: all of it as one component.
//!
//! What is *not* here: the modules themselves, and any rule the core already has.

pub mod manifest;

pub mod runtime;

pub mod daemon;
mod feed;

pub mod agent;

pub mod hub;

pub mod assembly;
