//! The server's certificate: issued at each start, replaced in time while running. It is never on disk.

use anyhow::Context as _;
use arc_swap::ArcSwap;
use ironbrook_gateway::authority::Authority;
use ironbrook_hub::seams::{Clock, SystemClock};
use rustls::ServerConfig;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a server certificate is valid.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long it is used before the next one; leaves two months in which clocks and renewals may fail.
const RENEW_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

/// An authority and the certificate it last issued.
pub struct Certificates {
    authority: Authority,
    names: Vec<String>,
    server: Arc<ArcSwap<ServerConfig>>,
}

impl Certificates {
    /// Opens or makes the authority in a folder and issues a certificate for `names`.
    pub fn open(folder: &Path, names: Vec<String>) -> anyhow::Result<Self> {
        let authority = Authority::open_or_create(folder, "ironbrook private authority", SystemClock.now())?;
        let server = Arc::new(ArcSwap::from_pointee(issue(&authority, &names)?));
        Ok(Self { authority, names, server })
    }

    /// The TLS settings the doors use; replaced in place on renewal.
    pub fn server(&self) -> Arc<ArcSwap<ServerConfig>> {
        self.server.clone()
    }

    /// SHA-256 of the authority's certificate.
    pub fn fingerprint(&self) -> String {
        self.authority.fingerprint_sha256()
    }

    /// Renews until cancelled. The time of day counts, not the time awake: a laptop that slept for weeks renews when it wakes.
    pub async fn run(self, cancel: CancellationToken) {
        loop {
            let due = SystemClock.now().plus(RENEW_AFTER);
            tokio::select! {
                () = cancel.cancelled() => return,
                () = SystemClock.sleep_until(due) => {}
            }
            match issue(&self.authority, &self.names) {
                Ok(config) => {
                    self.server.store(Arc::new(config));
                    tracing::info!("server certificate renewed");
                }
                Err(error) => {
                    tracing::error!(error = %format!("{error:#}"), "server certificate not renewed")
                }
            }
        }
    }
}

fn issue(authority: &Authority, names: &[String]) -> anyhow::Result<ServerConfig> {
    let certificate = authority.issue(names, SystemClock.now(), LIFETIME)?;
    ironbrook_gateway::tls::server_config(certificate.chain, certificate.key).context("server certificate")
}

/// The names a certificate of this machine carries: the configured hosts, loopback, the host name.
pub fn subject_names(hosts: &[String]) -> Vec<String> {
    let mut names = hosts.to_vec();
    names.extend(["localhost", "127.0.0.1", "127.0.0.2", "::1"].map(String::from));
    if let Ok(name) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        let name = name.trim();
        // A name no certificate may carry is left out rather than failing the start.
        if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
            names.push(name.to_owned());
        }
    }
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.to_ascii_lowercase()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_hold_loopback() {
        let names = subject_names(&["LOCALHOST".into(), "hub.example.test".into()]);
        assert_eq!(names[0], "LOCALHOST");
        assert_eq!(names.iter().filter(|n| n.eq_ignore_ascii_case("localhost")).count(), 1);
        assert!(names.iter().any(|n| n == "::1"));
    }
}
