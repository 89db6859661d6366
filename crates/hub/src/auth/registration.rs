//! Devices that want to be provisioned: what an enrolment accepts as proof.

use super::certificate::{self, CertificateAuthority, Details};
use super::{check_key, shown, unauthorized};
use crate::Credential;
use bytes::Bytes;
use ironbrook_model::{Cause, Refusal, SasToken, SymmetricKeys, Timestamp};

/// What an enrolment accepts as proof.
#[derive(Debug, Clone)]
pub enum Attestation {
    /// A token signed with one of two keys; those of a group are derived for the registration already.
    Keys(SymmetricKeys),
    /// One of these very certificates, DER.
    Certificates(Vec<Bytes>),
    /// A certificate that one of these authorities vouches for.
    Authorities(Vec<CertificateAuthority>),
}

/// Checks that a credential proves a registration id to the provisioning service of an id scope. 401003 with cause and cure.
///
/// rule DPS-02: a token is signed for `{scope}/registrations/{id}`; a certificate has the registration id as common name.
pub fn check(
    id_scope: &str,
    registration_id: &str,
    credential: &Credential,
    attestation: &Attestation,
    now: Timestamp,
) -> Result<(), Refusal> {
    match (credential, attestation) {
        (Credential::Sas(token), Attestation::Keys(SymmetricKeys { primary, secondary })) => {
            check_scope(id_scope, registration_id, token)?;
            check_key(token, now, [primary, secondary])
        }
        (Credential::Certificate(chain), Attestation::Certificates(known)) => {
            let leaf = chain.first().ok_or_else(certificate::none_presented)?;
            if !known.contains(leaf) {
                return Err(unauthorized(
                    Cause::ThumbprintDiffers,
                    "the client certificate is not the one of the enrolment; enrol it, or present the other",
                ));
            }
            check_name(registration_id, leaf, now)
        }
        (Credential::Certificate(chain), Attestation::Authorities(authorities)) => {
            certificate::authority_of(chain, authorities, now)?;
            check_name(registration_id, chain.first().ok_or_else(certificate::none_presented)?, now)
        }
        (Credential::Sas(_), _) => Err(unauthorized(
            Cause::OtherCredential,
            "the enrolment is for a certificate, not for keys; present the certificate",
        )),
        _ => Err(unauthorized(
            Cause::OtherCredential,
            "the enrolment is for keys, not for a certificate; send a SAS token",
        )),
    }
}

fn check_scope(id_scope: &str, registration_id: &str, token: &SasToken) -> Result<(), Refusal> {
    let wanted = format!("{id_scope}/registrations/{registration_id}");
    if token.resource().eq_ignore_ascii_case(&wanted) {
        return Ok(());
    }
    let text = format!("the token was signed for {}, not for {}", shown(token.resource()), shown(&wanted));
    Err(unauthorized(Cause::WrongAudience, text))
}

fn check_name(registration_id: &str, leaf: &[u8], now: Timestamp) -> Result<(), Refusal> {
    let details =
        Details::read(leaf).map_err(|error| unauthorized(Cause::BadCertificate, error.to_string()))?;
    if !details.holds_at(now) {
        return Err(certificate::out_of_time("the client certificate", &details, now));
    }
    let name = details.common_name.unwrap_or_default();
    if name.eq_ignore_ascii_case(registration_id) {
        return Ok(());
    }
    let text = format!(
        "the common name of the client certificate is '{}', the registration id is {}; they have to be the same",
        shown(&name),
        shown(registration_id)
    );
    Err(unauthorized(Cause::OtherName, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::certificates::{Ask, Signer};
    use crate::testing::{START, key, signed};
    use std::time::Duration;

    fn cause(credential: &Credential, attestation: &Attestation) -> Option<Cause> {
        check("0neABC", "reg-1", credential, attestation, START).err().and_then(|refusal| refusal.cause)
    }

    fn token(resource: &str, name: &str) -> Credential {
        Credential::Sas(signed(
            resource,
            START.plus(Duration::from_secs(60)),
            Some("registration"),
            &key(name),
        ))
    }

    // DPS-02
    #[test]
    fn dps_02_a_token_of_either_key_for_scope_and_id_proves_a_registration() {
        let keys = Attestation::Keys(SymmetricKeys { primary: key("a"), secondary: key("b") });
        let resource = "0neABC/registrations/reg-1";
        assert_eq!(cause(&token(resource, "a"), &keys), None);
        assert_eq!(cause(&token(resource, "b"), &keys), None);
        assert_eq!(cause(&token(resource, "c"), &keys), Some(Cause::WrongKey));
        for other in
            ["0neABC/registrations/reg-2", "0neXYZ/registrations/reg-1", "0neABC", "hub.test/devices/reg-1"]
        {
            assert_eq!(cause(&token(other, "a"), &keys), Some(Cause::WrongAudience), "{other}");
        }
        let certificate = Credential::Certificate(vec![Bytes::from_static(b"x")]);
        assert_eq!(cause(&certificate, &keys), Some(Cause::OtherCredential));
    }

    // DPS-02
    #[test]
    fn dps_02_a_certificate_proves_the_registration_that_is_its_common_name() {
        let root = Signer::root(&Ask::authority("Plant Root"));
        let shown = |leaf: Bytes| Credential::Certificate(vec![leaf]);
        let own = root.leaf("reg-1");
        let known = Attestation::Certificates(vec![own.clone()]);
        assert_eq!(cause(&shown(own.clone()), &known), None);
        assert_eq!(cause(&shown(root.leaf("reg-1")), &known), Some(Cause::ThumbprintDiffers));
        let group = Attestation::Authorities(vec![root.registered("plant", true)]);
        assert_eq!(cause(&shown(own), &group), None);
        assert_eq!(cause(&shown(root.leaf("REG-1")), &group), None);
        assert_eq!(cause(&shown(root.leaf("reg-2")), &group), Some(Cause::OtherName));
        let stranger = Signer::root(&Ask::authority("Other Root")).leaf("reg-1");
        assert_eq!(cause(&shown(stranger), &group), Some(Cause::UnknownAuthority));
        assert_eq!(cause(&token("0neABC/registrations/reg-1", "a"), &group), Some(Cause::OtherCredential));
        let old = root.sign(&Ask { days: 0, ..Ask::of("reg-1") }).certificate;
        let known = Attestation::Certificates(vec![old.clone()]);
        assert_eq!(cause(&shown(old), &known), Some(Cause::Expired));
    }
}
