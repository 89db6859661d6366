//! The edge CA and what it signs: the certificate of this machine's hub, and those that modules ask for.
//!
//! An authority lives ten years. At 80 % of its life the next one is made and joins the trust bundle; at 90 % the next one begins
//! to sign. So nothing is restarted, and a module or device has a year to read the bundle again before it meets a certificate of
//! the new authority. Which authority signs follows from the files and the clock alone.

mod authority;

use super::management::host_name;
use super::{Config, Error, bare_name, files};
use arc_swap::ArcSwap;
pub(crate) use authority::Issued;
use authority::{Authority, Profile};
use ironbrook_hub::seams::Clock;
use ironbrook_model::{DeviceId, ModuleId, Timestamp};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long an authority is valid.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Parts of an authority's life, in percent: when the next one is made, and when the next one signs.
const NEXT_AT: u32 = 80;
const SIGNS_UNTIL: u32 = 90;
/// How long the certificate of this machine's hub is valid, and how long it is used; leaves two months in which renewals may fail.
const SERVER_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
const SERVER_RENEW_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest life of a certificate given to a module.
const MODULE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often all is looked at: clocks are set, and laptops sleep.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// Largest file of further authorities.
const EXTRA_LEN_MAX: u64 = 1024 * 1024;
/// Longest name in a certificate (DNS names are no longer).
const NAME_LEN_MAX: usize = 253;
const CA_FOLDER: &str = "ca";
const BUNDLE_FILE: &str = "trust-bundle.pem";

/// The certificate in use by this machine's hub.
struct Served {
    from: Timestamp,
    issuer: u32,
}

struct State {
    authorities: Vec<Authority>,
    served: Served,
}

/// All certificates of this daemon.
pub(crate) struct Certificates {
    home: PathBuf,
    extra: Option<PathBuf>,
    hub_host: String,
    device: DeviceId,
    names: Vec<String>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    server: Arc<ArcSwap<ServerConfig>>,
    bundle: ArcSwap<String>,
}

impl Certificates {
    pub fn open(home: &Path, config: &Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let names = subject_names(&config.gateway_host, &config.names)?;
        let now = clock.now();
        let folder = home.join(CA_FOLDER);
        files::make_folder(&folder)?;
        let mut authorities = Authority::load_all(&folder)?;
        tend(&mut authorities, &folder, &config.device, now)?;
        let (server, served) = serve(signer(&authorities, now)?, &names, now)?;
        let bundle = bundle(&authorities, config.extra_trust.as_deref(), now)?;
        files::write(&home.join(BUNDLE_FILE), bundle.as_bytes(), 0o644)?;
        Ok(Self {
            home: home.to_owned(),
            extra: config.extra_trust.clone(),
            hub_host: config.hub_host.clone(),
            device: config.device.clone(),
            names,
            clock,
            state: Mutex::new(State { authorities, served }),
            server: Arc::new(ArcSwap::from_pointee(server)),
            bundle: ArcSwap::from_pointee(bundle),
        })
    }

    pub fn server_config(&self) -> Arc<ArcSwap<ServerConfig>> {
        self.server.clone()
    }

    pub fn trust_bundle(&self) -> Arc<String> {
        self.bundle.load_full()
    }

    /// A server certificate for a module, for `common_name` and the module's own name. Not longer valid than asked.
    pub fn module_server(
        &self,
        module: &ModuleId,
        common_name: &str,
        until: Option<Timestamp>,
    ) -> Result<Issued, Error> {
        let mut names = vec![common_name.to_owned()];
        // Strict verifiers refuse a whole certificate for one name that is no DNS name.
        names.extend(Some(bare_name(module.as_str()).to_owned()).filter(|name| is_name(name)));
        self.issue(common_name, Profile::Server { names }, until)
    }

    /// A client certificate that names the module.
    pub fn module_identity(&self, module: &ModuleId, until: Option<Timestamp>) -> Result<Issued, Error> {
        let (hub, device) = (&self.hub_host, &self.device);
        let uri = format!("azureiot://{hub}/devices/{device}/modules/{module}");
        self.issue(module.as_str(), Profile::Client { uri }, until)
    }

    fn issue(&self, name: &str, profile: Profile, until: Option<Timestamp>) -> Result<Issued, Error> {
        let now = self.clock.now();
        let end = now.plus(MODULE_LIFETIME);
        let end = until.filter(|until| *until > now).map_or(end, |until| until.min(end));
        let state = self.lock();
        signer(&state.authorities, now)?.issue(name, profile, now, end)
    }

    /// Renews until cancelled. The time of day counts, not the time awake: a laptop that slept for weeks renews when it wakes.
    pub async fn run(&self, cancel: &CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.clock.sleep(LOOK_EVERY) => {}
            }
            if let Err(error) = self.look() {
                tracing::error!(%error, "certificates were not renewed; trying again in an hour");
            }
        }
    }

    /// Renews what is due. Files of a few kilobytes are written once in years, so no thread of its own is needed.
    fn look(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let mut state = self.lock();
        tend(&mut state.authorities, &self.home.join(CA_FOLDER), &self.device, now)?;
        match bundle(&state.authorities, self.extra.as_deref(), now) {
            Ok(bundle) if bundle != **self.bundle.load() => {
                files::write(&self.home.join(BUNDLE_FILE), bundle.as_bytes(), 0o644)?;
                self.bundle.store(Arc::new(bundle));
                tracing::info!("the trust bundle has changed; modules get the new one when they ask again");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the trust bundle stays as it was"),
        }
        let signer = signer(&state.authorities, now)?;
        let Served { from, issuer } = state.served;
        // A clock that was set back leaves a certificate of the future.
        let due = now >= from.plus(SERVER_RENEW_AFTER) || now < from || issuer != signer.number;
        if due {
            let (server, served) = serve(signer, &self.names, now)?;
            self.server.store(Arc::new(server));
            state.served = served;
            tracing::info!("server certificate renewed");
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops authorities that have ended and makes the next one in time.
fn tend(
    authorities: &mut Vec<Authority>,
    folder: &Path,
    device: &DeviceId,
    now: Timestamp,
) -> Result<(), Error> {
    authorities.retain(|authority| {
        let keep = authority.not_after > now;
        if !keep && let Err(error) = fs::remove_file(folder.join(authority.file_name())) {
            tracing::warn!(%error, number = authority.number, "an authority that has ended cannot be removed");
        }
        keep
    });
    let newest = authorities.last();
    // One that is not valid yet, after the clock was set back, is no use now.
    if newest.is_some_and(|newest| newest.valid_from <= now && newest.life_at(now) < NEXT_AT) {
        return Ok(());
    }
    let number = newest.map_or(1, |newest| newest.number + 1);
    let next = Authority::generate(folder, device, number, now, AUTHORITY_LIFETIME)?;
    tracing::info!(number, "edge CA made");
    authorities.push(next);
    Ok(())
}

/// The authority that signs now: the oldest that has enough of its life left.
fn signer(authorities: &[Authority], now: Timestamp) -> Result<&Authority, Error> {
    let usable = |authority: &&Authority| authority.valid_from <= now && authority.life_at(now) < SIGNS_UNTIL;
    let newest = authorities.last();
    authorities
        .iter()
        .find(usable)
        .or(newest)
        .ok_or_else(|| Error::Certificate("there is no edge CA".to_owned()))
}

fn serve(signer: &Authority, names: &[String], now: Timestamp) -> Result<(ServerConfig, Served), Error> {
    let common_name = names.first().map_or("ironbrook", String::as_str);
    let profile = Profile::Server { names: names.to_vec() };
    let issued = signer.issue(common_name, profile, now, now.plus(SERVER_LIFETIME))?;
    let config = ironbrook_gateway::tls::server_config(issued.chain, issued.key)
        .map_err(|error| Error::Certificate(error.to_string()))?;
    Ok((config, Served { from: now, issuer: signer.number }))
}

fn bundle(authorities: &[Authority], extra: Option<&Path>, now: Timestamp) -> Result<String, Error> {
    let valid = authorities.iter().filter(|authority| authority.not_after > now);
    let mut bundle: String = valid.map(|authority| authority.certificate_pem.as_str()).collect();
    if let Some(path) = extra {
        bundle.push_str(&read_extra(path)?);
    }
    Ok(bundle)
}

/// The certificates of a PEM file. Nothing else of it is given on, least of all a key that lies in it by mistake.
fn read_extra(path: &Path) -> Result<String, Error> {
    let file = |source| Error::File { path: path.into(), source };
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(file)?.take(EXTRA_LEN_MAX).read_to_end(&mut bytes).map_err(file)?;
    let mut text = String::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate =
            certificate.map_err(|error| Error::Certificate(format!("{}: {error}", path.display())))?;
        text.push_str(&authority::pem("CERTIFICATE", &certificate));
    }
    if text.is_empty() {
        return Err(Error::Certificate(format!("{} holds no certificate in PEM form", path.display())));
    }
    Ok(text)
}

/// What the server's certificate names: the gateway's host name first, further names, loopback, the host name.
fn subject_names(gateway_host: &str, names: &[String]) -> Result<Vec<String>, Error> {
    let mut all = vec![gateway_host.to_owned()];
    all.extend_from_slice(names);
    if let Some(wrong) = all.iter().find(|name| !is_name(name)) {
        return Err(Error::Certificate(format!("{wrong:?} is neither a host name nor an IP address")));
    }
    all.extend(["localhost", "127.0.0.1", "127.0.0.2", "::1"].map(String::from));
    all.extend(host_name().filter(|name| is_name(name)));
    let mut seen = std::collections::HashSet::new();
    all.retain(|name| seen.insert(name.to_ascii_lowercase()));
    Ok(all)
}

/// Whether a text may stand in a certificate as a DNS name or an IP address.
pub(crate) fn is_name(text: &str) -> bool {
    let character = |c: u8| c.is_ascii_alphanumeric() || b"-._:*".contains(&c);
    !text.is_empty() && text.len() <= NAME_LEN_MAX && text.bytes().all(character)
}

#[cfg(test)]
mod tests;
