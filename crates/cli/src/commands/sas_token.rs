//! `ironbrook generate-sas-token`: a token to put into a header, a password or somebody's hand.

use super::connection::Where;
use super::{Global, OutputFormat, device_key};
use anyhow::Context as _;
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_model::{ConnectionString, Timestamp};
use serde_json::json;
use std::time::Duration;

/// Options of `ironbrook generate-sas-token`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    at: Where,
    /// For this device, signed with its own key; else for the hub, signed with the policy's.
    #[arg(long, short, value_name = "ID")]
    device_id: Option<String>,
    /// For this module of the device.
    #[arg(long, value_name = "ID", requires = "device_id")]
    module_id: Option<String>,
    /// How long it is good, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    duration: u64,
}

/// Runs the command.
#[allow(clippy::print_stdout, reason = "what the command is asked for")]
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let target = match &args.device_id {
        Some(device) => device_key::identity_target(&args.at, device, args.module_id.as_deref()).await?,
        None => args.at.service()?,
    };
    let expires = SystemClock.now().plus(Duration::from_secs(args.duration));
    let token = sign(&target.connection_string, expires)?;
    match global.output {
        OutputFormat::Table => println!("{token}"),
        OutputFormat::Json => println!("{}", json!({"sas": token, "expires": expires.to_string()})),
    }
    Ok(())
}

/// A token for all that a connection string speaks for.
fn sign(connection_string: &str, expires: Timestamp) -> anyhow::Result<String> {
    let parts = ConnectionString::parse(connection_string)?;
    // Ports are no part of what is signed for.
    let host = parts.require("HostName")?.split(':').next().unwrap_or_default();
    let resource = match (parts.get("DeviceId"), parts.get("ModuleId")) {
        (Some(device), Some(module)) => format!("{host}/devices/{device}/modules/{module}"),
        (Some(device), None) => format!("{host}/devices/{device}"),
        _ => host.to_owned(),
    };
    let key = parts.require_key("SharedAccessKey").context("there is no key to sign with")?;
    Ok(key.sign(&resource, expires, parts.get("SharedAccessKeyName")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_for_follows_from_the_connection_string() {
        let at = Timestamp::from_secs(1_893_456_000);
        let sign = |text: &str| sign(text, at).unwrap();
        let device = sign("HostName=hub.test:8443;DeviceId=d;SharedAccessKey=a2V5");
        assert!(device.starts_with("SharedAccessSignature sr=hub.test%2Fdevices%2Fd&sig="), "{device}");
        assert!(device.ends_with("&se=1893456000"), "{device}");
        let module = sign("HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=a2V5");
        assert!(module.contains("sr=h%2Fdevices%2Fd%2Fmodules%2Fm&"), "{module}");
        let policy = sign("HostName=h;SharedAccessKeyName=service;SharedAccessKey=a2V5");
        assert!(policy.contains("sr=h&") && policy.ends_with("&skn=service"), "{policy}");
    }
}
