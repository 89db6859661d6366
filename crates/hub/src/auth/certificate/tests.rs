use super::*;
use crate::testing::certificates::{Ask, Signer};
use crate::testing::{Bench, START, closed, device, module, record};
use crate::{ConnectRequest, Credential};
use ironbrook_model::{AuthenticationType, ErrorCode, IdentityRecord};

const DAY: Duration = Duration::from_secs(86_400);

fn root() -> Signer {
    Signer::root(&Ask::authority("Plant Root"))
}

fn refused(chain: &[Bytes], authorities: &[CertificateAuthority], now: Timestamp) -> Refusal {
    let refusal = check(&device("d1"), chain, authorities, now).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::IotHubUnauthorized);
    refusal
}

fn cause(chain: &[Bytes], authorities: &[CertificateAuthority], now: Timestamp) -> Cause {
    refused(chain, authorities, now).cause.unwrap()
}

#[test]
fn auth_13_a_chain_to_a_registered_and_verified_authority_proves_the_common_name() {
    let root = root();
    let middle = root.sign(&Ask::authority("Line 4"));
    let lower = middle.sign(&Ask::authority("Cell 2"));
    let leaf = lower.leaf("d1");
    let presented = [leaf.clone(), lower.certificate.clone(), middle.certificate.clone()];
    let other = Signer::root(&Ask::authority("Other Root"));
    let known = [other.registered("other", true), root.registered("plant", true)];
    assert_eq!(check(&device("d1"), &presented, &known, START).unwrap().name, "plant");
    // In whatever order, with the root, and with what does not belong there.
    let shuffled = [
        leaf.clone(),
        root.certificate.clone(),
        middle.certificate.clone(),
        other.certificate.clone(),
        lower.certificate.clone(),
    ];
    check(&device("d1"), &shuffled, &known, START).unwrap();
    // An intermediate may be the one that is registered, alone.
    let line = [middle.registered("line", true)];
    check(&device("d1"), &presented[..2], &line, START).unwrap();
    // What the device does not present, nobody else does.
    assert_eq!(cause(&presented[..1], &known, START), Cause::UnknownAuthority);
    let refusal = refused(&presented[..2], &known, START);
    assert!(refusal.message.contains("CN=Line 4"), "{refusal}");
}

#[test]
fn auth_13_the_name_of_another_proves_nothing() {
    let root = root();
    let known = [root.registered("plant", true)];
    for name in ["d2", "D1", "d1/m1", "d1 ", ""] {
        let refusal = refused(&[root.leaf(name)], &known, START);
        assert_eq!(refusal.cause, Some(Cause::OtherName), "{name}");
    }
    let leaf = [root.leaf("d1/m1")];
    check(&module("d1", "m1"), &leaf, &known, START).unwrap();
    let devices = check(&module("d1", "m1"), &[root.leaf("d1")], &known, START).unwrap_err();
    assert_eq!(devices.cause, Some(Cause::OtherName));
}

#[test]
fn auth_14_an_authority_that_is_not_verified_is_told_apart_from_an_unknown_one() {
    let root = root();
    let leaf = [root.leaf("d1")];
    let unverified = [root.registered("plant", false)];
    let refusal = refused(&leaf, &unverified, START);
    assert_eq!(refusal.cause, Some(Cause::UnverifiedAuthority));
    assert!(refusal.message.contains("prove possession"), "{refusal}");
    // The same certificate may be registered twice: the verified one counts.
    check(&device("d1"), &leaf, &[root.registered("a", false), root.registered("b", true)], START).unwrap();
    assert_eq!(cause(&leaf, &[], START), Cause::UnknownAuthority);
}

#[test]
fn auth_15_times_are_checked_of_leaf_intermediate_and_authority() {
    let root = root();
    let known = [root.registered("plant", true)];
    let leaf = [root.leaf("d1")];
    let refusal = refused(&leaf, &known, START.plus(DAY * 10));
    assert_eq!(refusal.cause, Some(Cause::Expired));
    assert!(refusal.message.contains(" s ago"), "{refusal}");
    let early = Timestamp::from_millis(START.as_millis() - 3 * 86_400_000);
    assert_eq!(cause(&leaf, &known, early), Cause::NotYetValid);
    // A leaf that outlives its authority ends with it.
    let long = root.sign(&Ask { days: 1000, ..Ask::of("d1") });
    let refusal = refused(&[long.certificate], &known, START.plus(DAY * 20));
    assert!(refusal.message.contains("the authority plant expired"), "{refusal}");
    // And one that outlives what is between.
    let lasting = Signer::root(&Ask { days: 1000, ..Ask::authority("Lasting Root") });
    let middle = lasting.sign(&Ask::authority("Line 4"));
    let leaf = middle.sign(&Ask { days: 1000, ..Ask::of("d1") });
    let chain = [leaf.certificate, middle.certificate];
    let known = [lasting.registered("lasting", true)];
    check(&device("d1"), &chain, &known, START).unwrap();
    let refusal = refused(&chain, &known, START.plus(DAY * 20));
    assert_eq!(refusal.cause, Some(Cause::Expired));
    assert!(refusal.message.contains("intermediate"), "{refusal}");
}

#[test]
fn auth_13_forged_chains_are_refused() {
    let root = root();
    let known = [root.registered("plant", true)];
    // Somebody else's key under the authority's name.
    let forger = Signer::root(&Ask::authority("Plant Root"));
    assert_eq!(cause(&[forger.leaf("d1")], &known, START), Cause::BadCertificate);
    // A device that signs for another.
    let d2 = root.sign(&Ask::of("d2"));
    let refusal = refused(&[d2.leaf("d1"), d2.certificate.clone()], &known, START);
    assert_eq!(refusal.cause, Some(Cause::BadCertificate));
    assert!(refusal.message.contains("without being an authority's"), "{refusal}");
    // An authority's own certificate is no device's.
    let authority = root.sign(&Ask::authority("d1"));
    assert_eq!(cause(&[authority.certificate], &known, START), Cause::BadCertificate);
    // Damaged, cut, or none at all.
    let leaf = root.leaf("d1");
    let mut bent = leaf.to_vec();
    let last = bent.len() - 5;
    bent[last] ^= 1;
    assert_eq!(cause(&[bent.into()], &known, START), Cause::BadCertificate);
    assert_eq!(cause(&[leaf.slice(..leaf.len() - 1)], &known, START), Cause::BadCertificate);
    assert_eq!(cause(&[Bytes::from(vec![0x30; 20_000])], &known, START), Cause::BadCertificate);
    assert_eq!(cause(&[], &known, START), Cause::NoCredential);
}

#[test]
fn auth_14_possession_is_a_certificate_with_the_code_as_common_name() {
    let root = root();
    let authority = root.registered("plant", false);
    proves_possession(&root.leaf("CODE"), "CODE", &authority, START).unwrap();
    for (certificate, word) in [
        (root.leaf("OTHER"), "verification code"),
        (Signer::root(&Ask::authority("x")).leaf("CODE"), "not signed by plant"),
        (root.certificate.clone(), "verification code"),
        (Bytes::from_static(b"nonsense"), "no X.509 certificate"),
    ] {
        let refusal = proves_possession(&certificate, "CODE", &authority, START).unwrap_err();
        assert!(refusal.message.contains(word), "{refusal}");
    }
}

#[test]
fn certificates_come_as_pem_and_der() {
    let root = root();
    assert_eq!(from_pem_or_der(&root.certificate).unwrap(), root.certificate);
    let details = Details::read(&root.certificate).unwrap();
    assert_eq!((details.subject.as_str(), details.is_authority), ("CN=Plant Root", true));
    let pem = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
    let padded = format!("subject=x\n{pem}\n{pem}");
    assert!(Details::read(&from_pem_or_der(padded.as_bytes()).unwrap()).is_ok());
    for nonsense in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "nonsense"] {
        assert_eq!(from_pem_or_der(nonsense.as_bytes()), Err(Unreadable::Form), "{nonsense}");
    }
    assert!(matches!(from_pem_or_der(&[0; 40_000]), Err(Unreadable::TooLarge(_))));
}

#[tokio::test]
async fn auth_16_a_session_ends_when_its_authority_is_taken_away_and_others_go_on() {
    let bench = Bench::new();
    let (d1, root) = (device("d1"), root());
    let authentication = AuthenticationType::CertificateAuthority;
    bench.identities.put(IdentityRecord { authentication, ..record(&d1) });
    bench.identities.set_authorities(vec![root.registered("plant", true)]);
    let request = ConnectRequest {
        identity: d1.clone(),
        credential: Credential::Certificate(vec![root.leaf("d1")]),
        model_id: None,
        clean_session: true,
        lasting: true,
    };
    let session = bench.hub.connect(request.clone()).await.unwrap();
    let external = r#"{"scope":"device","type":"x509","issuer":"external","acceptingIpFilterRule":null}"#;
    assert_eq!((session.auth_method(), session.expires()), (external, None));
    let with_key = bench.connect("d2").await;
    bench.identities.set_authorities(vec![root.registered("plant", false)]);
    assert_eq!(closed(&session).await, ErrorCode::IotHubUnauthorized);
    assert!(bench.hub.is_connected(&device("d2")));
    drop(with_key);
    let again = bench.hub.connect(request).await.unwrap_err();
    assert_eq!(again.cause, Some(Cause::UnverifiedAuthority));
}

#[tokio::test]
async fn auth_13_the_kind_of_credential_is_the_registered_one() {
    let bench = Bench::new();
    let root = root();
    bench.identities.set_authorities(vec![root.registered("plant", true)]);
    let shown = Credential::Certificate(vec![root.leaf("d1")]);
    // d1 is registered with keys.
    let refusal = bench.hub.auth().device(&device("d1"), &shown).await.unwrap_err();
    assert_eq!(refusal.cause, Some(Cause::OtherCredential));
    let authentication = AuthenticationType::CertificateAuthority;
    bench.identities.put(IdentityRecord { authentication, ..record(&device("d1")) });
    bench.hub.auth().device(&device("d1"), &shown).await.unwrap();
    let token = Credential::Sas(crate::testing::token(&device("d1")));
    let refusal = bench.hub.auth().device(&device("d1"), &token).await.unwrap_err();
    assert_eq!(refusal.cause, Some(Cause::OtherCredential));
}
