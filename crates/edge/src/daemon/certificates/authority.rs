//! One authority: its file, and what it signs.
//!
//! Keys are ECDSA P-256, as everywhere in this platform. Certificates carry authority and subject key ids, by which clients tell
//! an old authority from its successor.

use crate::daemon::{Error, files};
use ironbrook_model::{DeviceId, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs;
use std::path::Path;
use std::time::Duration;
use x509_parser::prelude::FromDer as _;

/// How far in the past validity starts, for clients whose clock is behind.
const BACKDATE: Duration = Duration::from_secs(24 * 3600);
/// Longest common name a certificate may hold (RFC 5280, ub-common-name).
const COMMON_NAME_LEN_MAX: usize = 64;
const EXTENSION: &str = "pem";

/// What a certificate is for.
pub(crate) enum Profile {
    /// A server under these names and addresses.
    Server { names: Vec<String> },
    /// A client that is what a URI names.
    Client { uri: String },
}

/// A certificate with its key.
pub(crate) struct Issued {
    /// The certificate and the authority that signed it.
    pub chain: Vec<CertificateDer<'static>>,
    /// The same, PEM.
    pub chain_pem: String,
    pub key: PrivateKeyDer<'static>,
    /// The key, PKCS #8 in PEM.
    pub key_pem: String,
    /// When it ends.
    pub not_after: Timestamp,
}

/// A certificate authority with its key.
pub(super) struct Authority {
    /// 1 for the first of a device.
    pub number: u32,
    pub valid_from: Timestamp,
    pub not_after: Timestamp,
    pub certificate_pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// All authorities in a folder, oldest first.
    pub fn load_all(folder: &Path) -> Result<Vec<Self>, Error> {
        let file = |source| Error::File { path: folder.into(), source };
        let mut authorities = Vec::new();
        for entry in fs::read_dir(folder).map_err(file)? {
            let path = entry.map_err(file)?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if let Some(number) = number.filter(|_| path.extension().is_some_and(|e| e == EXTENSION)) {
                authorities.push(Self::load(&path, number)?);
            }
        }
        authorities.sort_by_key(|authority| authority.number);
        Ok(authorities)
    }

    fn load(path: &Path, number: u32) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::Certificate(format!(
                "{} {what}; restore it, or remove it to make a new edge CA (devices behind this machine must then trust the new one)",
                path.display()
            ))
        };
        let text = files::read(path)?.unwrap_or_default();
        let text = std::str::from_utf8(&text).map_err(|_| wrong("is not text"))?;
        let key = KeyPair::from_pem(text).map_err(|_| wrong("holds no private key that can be used"))?;
        let certificate =
            CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| wrong("holds no certificate"))?;
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&certificate)
            .map_err(|_| wrong("holds a damaged certificate"))?;
        if parsed.public_key().raw != key.subject_public_key_info().as_slice() {
            return Err(wrong("holds a key and a certificate that are not of one pair"));
        }
        let validity = parsed.validity();
        Ok(Self {
            number,
            valid_from: Timestamp::from_secs(validity.not_before.timestamp()),
            not_after: Timestamp::from_secs(validity.not_after.timestamp()),
            certificate_pem: pem("CERTIFICATE", &certificate),
            issuer: Issuer::from_ca_cert_der(&certificate, key)
                .map_err(|_| wrong("holds no certificate of an authority"))?,
            certificate,
        })
    }

    /// Makes a new one and keeps it in the folder: one file with key and certificate, so that there is never half of it.
    pub fn generate(
        folder: &Path,
        device: &DeviceId,
        number: u32,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(certificate_error)?;
        let mut params = CertificateParams::default();
        // Clients that look for an issuer by name alone must not take one for the other.
        let generation = if number == 1 { String::new() } else { format!(" {number}") };
        params.distinguished_name = distinguished_name(&format!("ironbrook edge CA{generation} {device}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, now, now.plus(lifetime));
        let certificate = params.self_signed(&key).map_err(certificate_error)?;
        let path = folder.join(format!("{number}.{EXTENSION}"));
        let text = format!("{}{}", key.serialize_pem(), certificate.pem());
        files::write(&path, text.as_bytes(), 0o600)?;
        Self::load(&path, number)
    }

    pub fn file_name(&self) -> String {
        format!("{}.{EXTENSION}", self.number)
    }

    /// How much of its life has passed, in percent.
    pub fn life_at(&self, now: Timestamp) -> u32 {
        let whole = self.not_after.since(self.valid_from).as_secs().max(1);
        let passed = now.since(self.valid_from).as_secs();
        u32::try_from(passed.saturating_mul(100) / whole).unwrap_or(u32::MAX)
    }

    /// Signs a new certificate that ends with `until`, or with this authority if that is sooner.
    pub fn issue(
        &self,
        common_name: &str,
        profile: Profile,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Issued, Error> {
        let key = KeyPair::generate().map_err(certificate_error)?;
        let mut params = CertificateParams::default();
        match profile {
            Profile::Server { names } => {
                params = CertificateParams::new(names).map_err(certificate_error)?;
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }
            Profile::Client { uri } => {
                params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(certificate_error)?)];
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
        }
        params.distinguished_name = distinguished_name(common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let not_after = until.min(self.not_after);
        set_validity(&mut params, now, not_after);
        let certificate = params.signed_by(&key, &self.issuer).map_err(certificate_error)?;
        Ok(Issued {
            chain: vec![certificate.der().clone(), self.certificate.clone()],
            chain_pem: format!("{}{}", certificate.pem(), self.certificate_pem),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            key_pem: key.serialize_pem(),
            not_after: Timestamp::from_secs(not_after.as_secs()),
        })
    }
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    let shortened: String = common_name.chars().take(COMMON_NAME_LEN_MAX).collect();
    name.push(DnType::CommonName, shortened);
    name.push(DnType::OrganizationName, "ironbrook");
    name
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, until: Timestamp) {
    let date = |t: Timestamp| {
        let seconds = u64::try_from(t.as_secs()).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    let from = now.as_millis().saturating_sub(i64::try_from(BACKDATE.as_millis()).unwrap_or(0));
    params.not_before = date(Timestamp::from_millis(from));
    params.not_after = date(until);
}

fn certificate_error(error: impl std::fmt::Display) -> Error {
    Error::Certificate(error.to_string())
}

/// PEM text of DER bytes.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
