//! A private certificate authority: made once, kept in a folder, signing server certificates for as long as it lives.
//!
//! Keys are ECDSA P-256: every stock client takes them and a handshake costs an eighth of a millisecond, six times less than
//! with RSA 2048. Certificates carry authority and subject key ids, without which strict verifiers (Python 3.13) refuse them.

use ironbrook_model::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a new authority is valid.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);
/// How far in the past validity starts, for clients whose clock is behind.
const BACKDATE: Duration = Duration::from_secs(24 * 3600);
const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca-key.pem";

/// Why the authority cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Only one of the two files is there.
    #[error(
        "{present} is there but {absent} is not; restore it, or remove both to make a new authority (clients must then trust the new one)"
    )]
    Half {
        /// The file that is there.
        present: PathBuf,
        /// The file that is missing.
        absent: PathBuf,
    },
    /// A certificate or key that cannot be used.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The key file holds no key that can be used.
    #[error("{path} holds no private key that can be used: {error}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: rcgen::Error,
    },
    /// Key and certificate are not of one pair: no client would believe what such a key signs.
    #[error(
        "{key} is not the key of {certificate}; restore the pair, or remove both to make a new authority (clients must then trust the new one)"
    )]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate file holds no certificate.
    #[error("{0} holds no certificate in PEM form")]
    Pem(PathBuf),
}

/// A certificate authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
}

/// A certificate for a server, with its key and its end.
pub struct ServerCertificate {
    /// The certificate and the authority that signed it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// When it ends.
    pub not_after: Timestamp,
}

impl Authority {
    /// Makes a new authority in memory.
    pub fn generate(common_name: &str, now: Timestamp) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, now, AUTHORITY_LIFETIME);
        let certificate = params.self_signed(&key)?;
        let certificate_pem = certificate.pem();
        Ok(Self { certificate: certificate.der().clone(), certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// Opens the authority kept in a folder, or makes it there at first use.
    pub fn open_or_create(folder: &Path, common_name: &str, now: Timestamp) -> Result<Self, AuthorityError> {
        let (certificate_path, key_path) = (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
        match (certificate_path.exists(), key_path.exists()) {
            (true, true) => Self::open(&certificate_path, &key_path),
            (true, false) => Err(AuthorityError::Half { present: certificate_path, absent: key_path }),
            // A key alone is what a crash between the two writes leaves: nobody has trusted it yet.
            (false, _) => {
                let authority = Self::generate(common_name, now)?;
                fs::create_dir_all(folder)
                    .map_err(|source| AuthorityError::File { path: folder.into(), source })?;
                write(&key_path, authority.issuer.key().serialize_pem().as_bytes(), 0o600)?;
                write(&certificate_path, authority.certificate_pem.as_bytes(), 0o644)?;
                Ok(authority)
            }
        }
    }

    fn open(certificate_path: &Path, key_path: &Path) -> Result<Self, AuthorityError> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| AuthorityError::File { path: path.into(), source })
        };
        let certificate_pem = read(certificate_path)?;
        let key = KeyPair::from_pem(&read(key_path)?)
            .map_err(|error| AuthorityError::Key { path: key_path.into(), error })?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| AuthorityError::Pem(certificate_path.into()))?;
        // A certificate holds its public key in the form in which the key gives it.
        let public = key.subject_public_key_info();
        if !certificate.windows(public.len()).any(|part| part == public) {
            return Err(AuthorityError::Pair { certificate: certificate_path.into(), key: key_path.into() });
        }
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&certificate_pem, key)?, certificate, certificate_pem })
    }

    /// The authority's certificate, PEM: what clients must trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// SHA-256 of the certificate's DER, upper-case hex with colons, as `openssl x509 -fingerprint` prints it.
    pub fn fingerprint_sha256(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.certificate);
        digest.as_ref().iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
    }

    /// Signs a new server certificate. `names` are DNS names and IP addresses; the first is the common name.
    pub fn issue(
        &self,
        names: &[String],
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<ServerCertificate, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = distinguished_name(names.first().map_or("ironbrook", String::as_str));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, lifetime);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(ServerCertificate {
            chain: vec![certificate.der().clone(), self.certificate.clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            not_after: now.plus(lifetime),
        })
    }
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name.push(DnType::OrganizationName, "ironbrook");
    name
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, lifetime: Duration) {
    let date = |t: Timestamp| {
        let utc = t.to_utc();
        rcgen::date_time_ymd(i32::from(utc.year()), utc.month().unsigned_abs(), utc.day().unsigned_abs())
    };
    params.not_before = date(Timestamp::from_millis(
        now.as_millis().saturating_sub(i64::try_from(BACKDATE.as_millis()).unwrap_or(0)),
    ));
    // Whole days: the end is rounded up, so that the promised lifetime is there.
    params.not_after = date(now.plus(lifetime).plus(BACKDATE));
}

/// Writes a file so that it is there whole or not at all, with its access rights from the start.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AuthorityError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let part = path.with_extension("part");
    let result = (|| {
        let mut file =
            fs::OpenOptions::new().create(true).truncate(true).write(true).mode(mode).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    })();
    result.map_err(|source| AuthorityError::File { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_secs(1_790_000_000)
    }

    #[test]
    fn a_second_start_finds_the_same_authority_and_a_private_key_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open_or_create(folder.path(), "test", now()).unwrap();
        let second = Authority::open_or_create(folder.path(), "test", now()).unwrap();
        assert_eq!(first.fingerprint_sha256(), second.fingerprint_sha256());
        let mode = fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_lost_key_is_named_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        Authority::open_or_create(folder.path(), "test", now()).unwrap();
        fs::remove_file(folder.path().join(KEY_FILE)).unwrap();
        let before = fs::read(folder.path().join(CERTIFICATE_FILE)).unwrap();
        assert!(matches!(
            Authority::open_or_create(folder.path(), "test", now()),
            Err(AuthorityError::Half { .. })
        ));
        assert_eq!(fs::read(folder.path().join(CERTIFICATE_FILE)).unwrap(), before);
    }

    #[test]
    fn a_damaged_key_and_the_key_of_another_authority_are_named() {
        let folder = tempfile::tempdir().unwrap();
        Authority::open_or_create(folder.path(), "test", now()).unwrap();
        let path = folder.path().join(KEY_FILE);
        let open = || Authority::open_or_create(folder.path(), "test", now()).err().unwrap().to_string();
        fs::write(&path, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(open().contains("is not the key of"), "{}", open());
        fs::write(&path, "-----BEGIN PRIVATE KEY-----\nMIGH").unwrap();
        assert!(open().contains(KEY_FILE), "{}", open());
    }

    #[test]
    fn a_server_certificate_names_hosts_and_addresses_and_ends_in_time() {
        use x509_parser::prelude::*;
        let authority = Authority::generate("test", now()).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let server = authority.issue(&names, now(), Duration::from_secs(90 * 86_400)).unwrap();
        let (_, leaf) = X509Certificate::from_der(&server.chain[0]).unwrap();
        let san = leaf.subject_alternative_name().unwrap().unwrap();
        assert_eq!(san.value.general_names.len(), 3);
        assert!(leaf.validity().not_after.timestamp() >= server.not_after.as_secs());
        let (_, issuer) = X509Certificate::from_der(&server.chain[1]).unwrap();
        leaf.verify_signature(Some(issuer.public_key())).unwrap();
    }
}
