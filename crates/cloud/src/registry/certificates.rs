//! Authorities whose certificates prove devices and modules.

use super::error::Error;
use super::identities::{IfMatch, get};
use super::store::{Changes, Store};
use super::stored::new_etag;
use super::{Inner, Registry, tables};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ironbrook_hub::auth::certificate::{self, CertificateAuthority, Details};
use ironbrook_model::{ErrorCode, Refusal, Timestamp};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Characters of a name.
const NAME_LEN_MAX: usize = 64;

/// An authority as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredCertificate {
    /// The operator's name for it.
    pub name: String,
    /// DER.
    #[serde(serialize_with = "write_base64", deserialize_with = "read_base64")]
    pub certificate: Bytes,
    /// Whether devices may be proven with it.
    pub verified: bool,
    /// What the common name of a certificate signed by it has to be, to prove possession of its key.
    pub verification_code: Option<String>,
    /// When it was registered.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Changes with each change; bare.
    pub etag: String,
}

impl StoredCertificate {
    fn authority(&self) -> CertificateAuthority {
        CertificateAuthority {
            name: self.name.clone(),
            certificate: self.certificate.clone(),
            verified: self.verified,
        }
    }
}

fn write_base64<S: Serializer>(bytes: &Bytes, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&STANDARD.encode(bytes))
}

fn read_base64<'de, D: Deserializer<'de>>(d: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(d)?;
    STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
}

/// The authorities in memory, as authentication reads them, and who listens.
#[derive(Default)]
pub(super) struct State {
    all: RwLock<Arc<Vec<CertificateAuthority>>>,
    listeners: RwLock<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl State {
    /// What is stored. Blocks.
    pub(super) fn load(store: &Store) -> Result<Self, Error> {
        let all = store.read_now(read_all)?;
        let all = all.iter().map(StoredCertificate::authority).collect();
        Ok(Self { all: RwLock::new(Arc::new(all)), listeners: RwLock::default() })
    }

    pub(super) fn now(&self) -> Arc<Vec<CertificateAuthority>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn listen(&self, changed: Box<dyn Fn() + Send + Sync>) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(changed);
    }

    /// Puts one in the place of what had its name, and tells who listens where some device may not be proven any more.
    fn replace(&self, name: &str, new: Option<CertificateAuthority>) {
        let lost = {
            let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
            let mut named: BTreeMap<_, _> =
                all.iter().map(|authority| (authority.name.clone(), authority.clone())).collect();
            let lost = named
                .remove(name)
                .is_some_and(|old| old.verified && new.as_ref().is_none_or(|new| *new != old));
            named.extend(new.map(|new| (new.name.clone(), new)));
            *all = Arc::new(named.into_values().collect());
            lost
        };
        if lost {
            self.listeners
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .for_each(|listener| listener());
        }
    }
}

fn read_all(tx: &ReadTransaction) -> Result<Vec<StoredCertificate>, Error> {
    let table = tx.open_table(tables::CERTIFICATES)?;
    table.iter()?.map(|row| tables::decode("certificate", row?.1.value())).collect()
}

fn not_found(name: &str) -> Error {
    Error::refuse(ErrorCode::CertificateNotFound, format!("there is no certificate named '{name}'"))
}

fn invalid(text: String) -> Error {
    Error::refuse(ErrorCode::ArgumentInvalid, text)
}

fn check_name(name: &str) -> Result<(), Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match name {
        "" => Err(invalid("the name of a certificate is missing".to_owned())),
        name if name.len() <= NAME_LEN_MAX && name.chars().all(fits) => Ok(()),
        _ => Err(invalid(format!(
            "the name of a certificate has up to {NAME_LEN_MAX} letters, digits, '-', '.' and '_'"
        ))),
    }
}

/// An authority's certificate, PEM or DER, which may sign others and holds today.
fn read_authority(bytes: &[u8], now: Timestamp) -> Result<Bytes, Error> {
    let der = certificate::from_pem_or_der(bytes).map_err(|error| invalid(error.to_string()))?;
    let details = Details::read(&der).map_err(|error| invalid(error.to_string()))?;
    if !details.is_authority {
        return Err(invalid(format!(
            "the certificate '{}' is not an authority's (no CA flag in its basic constraints); register that of who signs the devices' certificates",
            details.subject
        )));
    }
    if now > details.not_after {
        return Err(invalid(format!(
            "the certificate '{}' expired at {}",
            details.subject, details.not_after
        )));
    }
    Ok(der)
}

/// 48 hex digits that nobody can guess.
fn new_code() -> String {
    let code: String = std::iter::repeat_with(|| uuid::Uuid::new_v4().simple().to_string()).take(2).collect();
    code[..48].to_uppercase()
}

impl Registry {
    /// All registered authorities, by name.
    pub async fn certificates(&self) -> Result<Vec<StoredCertificate>, Refusal> {
        self.inner.store.read(read_all).await
    }

    /// One of them. 404008.
    pub async fn certificate(&self, name: String) -> Result<StoredCertificate, Refusal> {
        let read = move |tx: &ReadTransaction| {
            get(&tx.open_table(tables::CERTIFICATES)?, "certificate", &name)?.ok_or_else(|| not_found(&name))
        };
        self.inner.store.read(read).await
    }

    /// Registers an authority (PEM or DER), or with a precondition changes it. `vouched`: the operator says that it is theirs, and
    /// no proof of possession is needed. 412001 if it exists, 404008 if it does not, 403002 past the limit.
    pub async fn put_certificate(
        &self,
        name: String,
        bytes: Bytes,
        vouched: bool,
        if_match: Option<IfMatch>,
    ) -> Result<StoredCertificate, Refusal> {
        check_name(&name)?;
        let inner = self.inner.clone();
        let change = move |changes: &Changes<'_>| {
            let now = inner.clock.now();
            let certificate = read_authority(&bytes, now)?;
            let old = stored(changes, &name)?;
            match (&old, if_match) {
                (Some(old), Some(if_match)) => if_match.check(&old.etag)?,
                (Some(_), None) => {
                    let text = format!("a certificate named '{name}' is registered already");
                    return Err(Error::refuse(ErrorCode::PreconditionFailed, text));
                }
                (None, Some(_)) => return Err(not_found(&name)),
                (None, None) => check_room(&inner, changes)?,
            }
            // What was proven was proven for that certificate.
            let proven = old.as_ref().is_some_and(|old| old.verified && old.certificate == certificate);
            let created = old.map_or(now, |old| old.created);
            let verified = vouched || proven;
            let etag = new_etag();
            let new = StoredCertificate {
                name,
                certificate,
                verified,
                verification_code: None,
                created,
                updated: now,
                etag,
            };
            put(&inner, changes, &new)?;
            Ok(new)
        };
        self.inner.store.write(change).await
    }

    /// Makes a new code whose certificate proves possession; older ones prove nothing any more.
    pub async fn new_verification_code(
        &self,
        name: String,
        if_match: Option<IfMatch>,
    ) -> Result<StoredCertificate, Refusal> {
        self.change_certificate(name, if_match, |stored, _| {
            stored.verification_code = Some(new_code());
            Ok(())
        })
        .await
    }

    /// Verifies an authority by a certificate (PEM or DER) that it signed for the code. 400004 where it proves nothing.
    pub async fn verify_certificate(
        &self,
        name: String,
        proof: Bytes,
        if_match: Option<IfMatch>,
    ) -> Result<StoredCertificate, Refusal> {
        self.change_certificate(name, if_match, move |stored, now| {
            let code = stored.verification_code.take().ok_or_else(|| {
                invalid("no verification code was asked for; generate one first".to_owned())
            })?;
            let proof = certificate::from_pem_or_der(&proof).map_err(|error| invalid(error.to_string()))?;
            certificate::proves_possession(&proof, &code, &stored.authority(), now)
                .map_err(|refusal| invalid(refusal.message.into_owned()))?;
            stored.verified = true;
            Ok(())
        })
        .await
    }

    /// Takes an authority away; sessions that stand on it end. 404008, 412001.
    pub async fn delete_certificate(&self, name: String, if_match: IfMatch) -> Result<(), Refusal> {
        let inner = self.inner.clone();
        let change = move |changes: &Changes<'_>| {
            let old = stored(changes, &name)?.ok_or_else(|| not_found(&name))?;
            if_match.check(&old.etag)?;
            changes.tx.open_table(tables::CERTIFICATES)?.remove(name.as_str())?;
            changes.after(move || inner.certificates.replace(&name, None));
            Ok(())
        };
        self.inner.store.write(change).await
    }

    async fn change_certificate(
        &self,
        name: String,
        if_match: Option<IfMatch>,
        change: impl FnOnce(&mut StoredCertificate, Timestamp) -> Result<(), Error> + Send + 'static,
    ) -> Result<StoredCertificate, Refusal> {
        let inner = self.inner.clone();
        let change = move |changes: &Changes<'_>| {
            let mut found = stored(changes, &name)?.ok_or_else(|| not_found(&name))?;
            if_match.map_or(Ok(()), |if_match| if_match.check(&found.etag))?;
            let now = inner.clock.now();
            change(&mut found, now)?;
            found.updated = now;
            found.etag = new_etag();
            put(&inner, changes, &found)?;
            Ok(found)
        };
        self.inner.store.write(change).await
    }
}

fn check_room(inner: &Inner, changes: &Changes<'_>) -> Result<(), Error> {
    let (count, most) = (changes.tx.open_table(tables::CERTIFICATES)?.len()?, inner.config.certificates);
    if count >= most as u64 {
        let text = format!("{count} certificates are registered, {most} are allowed; delete one");
        return Err(Error::refuse(ErrorCode::IotHubQuotaExceeded, text));
    }
    Ok(())
}

fn stored(changes: &Changes<'_>, name: &str) -> Result<Option<StoredCertificate>, Error> {
    get(&changes.tx.open_table(tables::CERTIFICATES)?, "certificate", name)
}

fn put(inner: &Arc<Inner>, changes: &Changes<'_>, stored: &StoredCertificate) -> Result<(), Error> {
    let mut table = changes.tx.open_table(tables::CERTIFICATES)?;
    table.insert(stored.name.as_str(), tables::encode("certificate", stored)?.as_slice())?;
    let (inner, authority) = (inner.clone(), stored.authority());
    changes.after(move || inner.certificates.replace(&authority.name.clone(), Some(authority)));
    Ok(())
}
