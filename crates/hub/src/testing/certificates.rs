//! Authorities and the certificates they sign.

use crate::auth::certificate::CertificateAuthority;
use bytes::Bytes;
use ironbrook_model::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Who signs.
pub(crate) struct Signer {
    pub(crate) certificate: Bytes,
    issuer: Issuer<'static, KeyPair>,
}

/// What is to be signed; holds from the day before [`START`](super::START) for ten days.
pub(crate) struct Ask<'a> {
    pub(crate) name: &'a str,
    pub(crate) from: Timestamp,
    pub(crate) days: u32,
    pub(crate) is_authority: bool,
}

impl<'a> Ask<'a> {
    pub(crate) fn of(name: &'a str) -> Self {
        let from = Timestamp::from_millis(super::START.as_millis() - 86_400_000);
        Self { name, from, days: 10, is_authority: false }
    }

    pub(crate) fn authority(name: &'a str) -> Self {
        Self { is_authority: true, ..Self::of(name) }
    }

    fn params(&self) -> CertificateParams {
        let date = |time: Timestamp| {
            let utc = time.to_utc();
            rcgen::date_time_ymd(i32::from(utc.year()), utc.month().unsigned_abs(), utc.day().unsigned_abs())
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.name);
        params.not_before = date(self.from);
        params.not_after = date(self.from.plus(DAY * self.days));
        if self.is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        } else {
            params.is_ca = IsCa::ExplicitNoCa;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        params
    }
}

impl Signer {
    /// A root.
    pub(crate) fn root(ask: &Ask<'_>) -> Self {
        let (params, key) = (ask.params(), KeyPair::generate().unwrap());
        let certificate = Bytes::copy_from_slice(params.self_signed(&key).unwrap().der());
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// One that this one vouches for.
    pub(crate) fn sign(&self, ask: &Ask<'_>) -> Self {
        let (params, key) = (ask.params(), KeyPair::generate().unwrap());
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        Self { certificate: Bytes::copy_from_slice(signed.der()), issuer: Issuer::new(params, key) }
    }

    /// A leaf of this name.
    pub(crate) fn leaf(&self, name: &str) -> Bytes {
        self.sign(&Ask::of(name)).certificate
    }

    pub(crate) fn registered(&self, name: &str, verified: bool) -> CertificateAuthority {
        CertificateAuthority { name: name.to_owned(), certificate: self.certificate.clone(), verified }
    }
}
