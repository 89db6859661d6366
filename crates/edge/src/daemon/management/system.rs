//! What machine this is.

use serde_json::{Value, json};
use std::fs;

/// Longest file of the system that is read for this.
const TEXT_LEN_MAX: u64 = 64 * 1024;

/// This machine's host name.
pub(crate) fn host_name() -> Option<String> {
    line("/proc/sys/kernel/hostname").or_else(|| line("/etc/hostname"))
}

/// The body of `GET /systeminfo`; what cannot be found out is empty.
pub(super) fn info() -> Value {
    let text = |path: &str| line(path).unwrap_or_default();
    let release = read("/etc/os-release").unwrap_or_default();
    let release = |name: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    json!({
        "osType": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "version": env!("CARGO_PKG_VERSION"),
        "kernel_release": text("/proc/sys/kernel/osrelease"),
        "kernel_version": text("/proc/sys/kernel/version"),
        "operating_system": release("ID"),
        "operating_system_version": release("VERSION_ID"),
        "operating_system_variant": release("VARIANT_ID"),
        "operating_system_build": release("BUILD_ID"),
        "cpus": cpus,
        "total_memory": total_memory().unwrap_or(0),
        "virtualized": "unknown",
        "product_name": text("/sys/class/dmi/id/product_name"),
        "system_vendor": text("/sys/class/dmi/id/sys_vendor"),
        "server_version": concat!("ironbrook ", env!("CARGO_PKG_VERSION")),
        "provisioning": {
            "type": "manual.device_connection_string",
            "dynamicReprovisioning": false,
            "alwaysReprovisionOnStartup": false,
        },
    })
}

/// In bytes.
fn total_memory() -> Option<u64> {
    let memory = read("/proc/meminfo")?;
    let kilobytes = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    kilobytes.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

fn line(path: &str) -> Option<String> {
    let text = read(path)?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

fn read(path: &str) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(path).ok()?.take(TEXT_LEN_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}
