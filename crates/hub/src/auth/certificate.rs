//! Client certificates that a registered authority vouches for.
//!
//! Two libraries read a certificate, each what it does best: webpki, rustls' own verifier, builds and checks the chain
//! (signatures, validity, basic constraints, key usage, name constraints) and bounds the work that a hostile chain can cause;
//! x509-parser gives the names and times, which webpki keeps to itself.

use super::{shown, unauthorized};
use bytes::Bytes;
use ironbrook_model::{Cause, Identity, Refusal, Timestamp};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use std::time::Duration;
use webpki::{EndEntityCert, Error as ChainError, KeyUsage, aws_lc_rs as algorithms};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

/// Certificates of a peer's chain that are looked at, its own among them.
const CHAIN_MAX: usize = 10;
/// Longest certificate that is looked at, in bytes.
const CERTIFICATE_LEN_MAX: usize = 16 * 1024;

/// The signatures that are believed: those of the TLS library, without SHA-1.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P521_SHA256,
    algorithms::ECDSA_P521_SHA384,
    algorithms::ECDSA_P521_SHA512,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// An authority whose certificates prove identities by their common name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateAuthority {
    /// The operator's name for it.
    pub name: String,
    /// Its certificate, DER; a root's or an intermediate's.
    pub certificate: Bytes,
    /// Whether whoever registered it has shown to hold its key, or the operator vouches for it.
    pub verified: bool,
}

/// A certificate that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Neither PEM nor DER, or damaged.
    #[error("this is no X.509 certificate in PEM or DER form")]
    Form,
    /// Larger than is looked at.
    #[error("the certificate has {0} bytes, {CERTIFICATE_LEN_MAX} are allowed")]
    TooLarge(usize),
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// The whole subject, e.g. `CN=Factory CA, O=Plant`.
    pub subject: String,
    /// The common name of the subject.
    pub common_name: Option<String>,
    /// The whole issuer.
    pub issuer: String,
    /// When it begins to hold.
    pub not_before: Timestamp,
    /// When it ceases to hold.
    pub not_after: Timestamp,
    /// Whether it may sign certificates (basic constraints).
    pub is_authority: bool,
}

impl Details {
    /// Reads a certificate, DER.
    pub fn read(certificate: &[u8]) -> Result<Self, Unreadable> {
        if certificate.len() > CERTIFICATE_LEN_MAX {
            return Err(Unreadable::TooLarge(certificate.len()));
        }
        let (rest, found) = X509Certificate::from_der(certificate).map_err(|_| Unreadable::Form)?;
        if !rest.is_empty() {
            return Err(Unreadable::Form);
        }
        Ok(Self {
            subject: found.subject().to_string(),
            common_name: common_name(found.subject()),
            issuer: found.issuer().to_string(),
            not_before: Timestamp::from_secs(found.validity().not_before.timestamp()),
            not_after: Timestamp::from_secs(found.validity().not_after.timestamp()),
            is_authority: found.is_ca(),
        })
    }

    /// Whether it holds at this time.
    pub fn holds_at(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// The certificate in a text or in bytes: the first of a PEM file, or DER as it is.
pub fn from_pem_or_der(bytes: &[u8]) -> Result<Bytes, Unreadable> {
    // Four thirds for base64, and what else may stand in the file.
    if bytes.len() > CERTIFICATE_LEN_MAX * 2 {
        return Err(Unreadable::TooLarge(bytes.len()));
    }
    let der = match x509_parser::pem::parse_x509_pem(bytes) {
        Ok((_, pem)) if pem.label == "CERTIFICATE" => Bytes::from(pem.contents),
        _ => Bytes::copy_from_slice(bytes),
    };
    Details::read(&der).map(|_| der)
}

/// Checks that a peer's chain (DER, leaf first) is of the identity and leads to an authority that is registered and verified,
/// and gives that authority. 401003 with cause and cure.
///
/// rule AUTH-13: the leaf's common name is the device's id, a module's is `{device}/{module}`; intermediates come from the peer.
pub fn check<'a>(
    identity: &Identity,
    chain: &[Bytes],
    authorities: &'a [CertificateAuthority],
    now: Timestamp,
) -> Result<&'a CertificateAuthority, Refusal> {
    let authority = authority_of(chain, authorities, now)?;
    let leaf = chain.first().and_then(|leaf| Details::read(leaf).ok());
    let name = leaf.and_then(|leaf| leaf.common_name).unwrap_or_default();
    if name != identity.to_string() {
        return Err(unauthorized(
            Cause::OtherName,
            format!(
                "the common name of the client certificate is '{}', the identity is {identity}; issue a certificate with that name",
                shown(&name)
            ),
        ));
    }
    Ok(authority)
}

/// The registered and verified authority that a chain leads to; the names in the leaf are not looked at.
pub fn authority_of<'a>(
    chain: &[Bytes],
    authorities: &'a [CertificateAuthority],
    now: Timestamp,
) -> Result<&'a CertificateAuthority, Refusal> {
    let leaf = chain.first().ok_or_else(none_presented)?;
    let details = Details::read(leaf).map_err(|error| bad(format!("the client certificate: {error}")))?;
    let mut found = None;
    for authority in authorities {
        match leads_to(chain, authority, now) {
            Ok(()) if authority.verified => return Ok(authority),
            Ok(()) => found = Some(unverified(authority)),
            Err(ChainError::UnknownIssuer) => {}
            // The chain does lead there, but does not hold: that is what has to be told.
            Err(error) => found = found.or_else(|| Some(broken(&error, &details, authority, now))),
        }
    }
    Err(found.unwrap_or_else(|| unknown(chain, &details, now)))
}

/// Whether a certificate was signed by an authority with a common name: how possession of the authority's key is proven.
pub fn proves_possession(
    certificate: &[u8],
    common_name: &str,
    authority: &CertificateAuthority,
    now: Timestamp,
) -> Result<(), Refusal> {
    let details = Details::read(certificate).map_err(|error| bad(error.to_string()))?;
    if details.common_name.as_deref() != Some(common_name) {
        return Err(bad(format!(
            "the common name of the certificate is '{}', it has to be the verification code {common_name}",
            shown(details.common_name.as_deref().unwrap_or_default())
        )));
    }
    let chain = [Bytes::copy_from_slice(certificate)];
    leads_to(&chain, authority, now).map_err(|error| match error {
        ChainError::UnknownIssuer => {
            bad(format!("the certificate was not signed by {}", shown(&authority.name)))
        }
        error => broken(&error, &details, authority, now),
    })
}

fn leads_to(chain: &[Bytes], authority: &CertificateAuthority, now: Timestamp) -> Result<(), ChainError> {
    let certificates: Vec<_> =
        chain.iter().take(CHAIN_MAX).map(|one| CertificateDer::from_slice(one)).collect();
    let (leaf, intermediates) = certificates.split_first().ok_or(ChainError::BadDer)?;
    let trusted = CertificateDer::from_slice(&authority.certificate);
    let anchor = webpki::anchor_from_trusted_cert(&trusted)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_secs()).unwrap_or(0)));
    let leaf = EndEntityCert::try_from(leaf)?;
    let usage = KeyUsage::client_auth();
    leaf.verify_for_usage(ALGORITHMS, &[anchor], intermediates, time, usage, None, None)?;
    // webpki takes an anchor as given; ours ends too.
    let own = Details::read(&authority.certificate).map_err(|_| ChainError::BadDer)?;
    let at = |time: Timestamp| {
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.as_secs()).unwrap_or(0)))
    };
    match own.holds_at(now) {
        true => Ok(()),
        false if now > own.not_after => Err(ChainError::CertExpired { time, not_after: at(own.not_after) }),
        false => Err(ChainError::CertNotValidYet { time, not_before: at(own.not_before) }),
    }
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().last().and_then(|name| name.as_str().ok()).map(str::to_owned)
}

/// No certificate at all.
pub(super) fn none_presented() -> Refusal {
    unauthorized(Cause::NoCredential, "no client certificate was presented")
}

fn bad(text: String) -> Refusal {
    unauthorized(Cause::BadCertificate, text)
}

fn unverified(authority: &CertificateAuthority) -> Refusal {
    unauthorized(
        Cause::UnverifiedAuthority,
        format!(
            "the authority {} of the client certificate is registered but not verified; prove possession of its key",
            shown(&authority.name)
        ),
    )
}

/// No registered authority signed any certificate of the chain.
fn unknown(chain: &[Bytes], leaf: &Details, now: Timestamp) -> Refusal {
    if !leaf.holds_at(now) {
        return out_of_time("the client certificate", leaf, now);
    }
    let last = chain.iter().take(CHAIN_MAX).filter_map(|one| Details::read(one).ok()).last();
    let issuer = last.map_or_else(|| leaf.issuer.clone(), |last| last.issuer);
    unauthorized(
        Cause::UnknownAuthority,
        format!(
            "no registered authority issued the client certificate; its chain ends with the issuer '{}': register that authority, or present the intermediate certificates",
            shown(&issuer)
        ),
    )
}

/// The chain leads to an authority, but something in it does not hold.
fn broken(error: &ChainError, leaf: &Details, authority: &CertificateAuthority, now: Timestamp) -> Refusal {
    match error {
        ChainError::CertExpired { .. } | ChainError::CertNotValidYet { .. } => {
            if !leaf.holds_at(now) {
                return out_of_time("the client certificate", leaf, now);
            }
            match Details::read(&authority.certificate) {
                Ok(own) if !own.holds_at(now) => {
                    out_of_time(&format!("the authority {}", shown(&authority.name)), &own, now)
                }
                _ => unauthorized(
                    Cause::Expired,
                    "an intermediate certificate of the client's chain does not hold now; renew it",
                ),
            }
        }
        ChainError::InvalidSignatureForPublicKey => {
            bad(format!("a signature in the client's chain is not that of {}", shown(&authority.name)))
        }
        ChainError::EndEntityUsedAsCa => {
            bad("a certificate of the client's chain signed another without being an authority's".to_owned())
        }
        ChainError::CaUsedAsEndEntity => {
            bad("the client certificate is an authority's; issue one without the CA flag".to_owned())
        }
        other => bad(format!("the client's chain does not hold: {other}")),
    }
}

pub(super) fn out_of_time(what: &str, details: &Details, now: Timestamp) -> Refusal {
    if now > details.not_after {
        let ago = now.since(details.not_after).as_secs();
        return unauthorized(
            Cause::Expired,
            format!("{what} expired at {}, {ago} s ago; renew it", details.not_after),
        );
    }
    let ahead = details.not_before.since(now).as_secs();
    unauthorized(
        Cause::NotYetValid,
        format!("{what} holds from {} on, {ahead} s from now; check the clocks", details.not_before),
    )
}

#[cfg(test)]
mod tests;
