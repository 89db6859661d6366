//! Authorities whose certificates prove devices, in the shape of the ARM resource `IotHubs/certificates`.

use super::Api;
use super::input::{answer, if_match, json, ok, ok_with_etag};
use crate::registry::{IfMatch, StoredCertificate};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use ironbrook_hub::auth::certificate::Details;
use ironbrook_model::{ErrorCode, Refusal, Timestamp, X509Thumbprints};
use jiff::fmt::rfc2822::DateTimePrinter;
use serde::Deserialize;
use serde_json::{Value, json};

/// A certificate in a request: what ARM wraps into `properties` may also stand alone.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateBody {
    properties: Option<CertificateProperties>,
    #[serde(flatten)]
    bare: CertificateProperties,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateProperties {
    certificate: Option<String>,
    is_verified: Option<bool>,
}

impl CertificateBody {
    /// The certificate and whether the operator vouches for it.
    fn read(body: &Bytes) -> Result<(Bytes, bool), Refusal> {
        let body: Self = json(body)?;
        let given = body.properties.unwrap_or(body.bare);
        let text = given.certificate.filter(|text| !text.trim().is_empty()).ok_or_else(|| {
            Refusal::new(
                ErrorCode::ArgumentNull,
                "the member 'certificate' is missing: PEM text, or base64 of PEM or DER",
            )
        })?;
        Ok((bytes_of(&text), given.is_verified.unwrap_or(false)))
    }
}

/// PEM text is taken as it is; everything else is base64 of PEM or DER.
fn bytes_of(text: &str) -> Bytes {
    if text.contains("-----BEGIN") {
        return Bytes::copy_from_slice(text.as_bytes());
    }
    let compact: String = text.split_whitespace().collect();
    // What is neither is told by who reads the certificate.
    STANDARD.decode(compact).map_or_else(|_| Bytes::copy_from_slice(text.as_bytes()), Bytes::from)
}

/// `GET /certificates`: `{"value":[…]}`.
pub(super) async fn list(State(api): State<Api>) -> Response {
    let list = async {
        let all = api.registry.certificates().await?;
        Ok(ok(&json!({ "value": all.iter().map(view).collect::<Vec<_>>() })))
    };
    answer(list.await)
}

/// `GET /certificates/{name}`. 404008.
pub(super) async fn get(State(api): State<Api>, Path(name): Path<String>) -> Response {
    answer(api.registry.certificate(name).await.map(|stored| ok_with_etag(&view(&stored))))
}

/// `PUT /certificates/{name}`: registers (412001 if it is there) or, with `If-Match`, changes (404008, 412001).
pub(super) async fn put(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let put = async {
        let (certificate, vouched) = CertificateBody::read(&body)?;
        let stored = api.registry.put_certificate(name, certificate, vouched, if_match(&headers)).await?;
        Ok(ok_with_etag(&view(&stored)))
    };
    answer(put.await)
}

/// `DELETE /certificates/{name}`: 204. Sessions that stand on it end. 404008, 412001.
pub(super) async fn delete(State(api): State<Api>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let delete = async {
        api.registry.delete_certificate(name, if_match(&headers).unwrap_or(IfMatch::Any)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(delete.await)
}

/// `POST /certificates/{name}/generateVerificationCode`: with `properties.verificationCode`, which the common name of a
/// certificate signed by the authority has to be. 404008, 412001.
pub(super) async fn generate_code(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let generate = async {
        let stored = api.registry.new_verification_code(name, if_match(&headers)).await?;
        let mut body = view(&stored);
        body["properties"]["verificationCode"] = json!(stored.verification_code);
        Ok(ok_with_etag(&body))
    };
    answer(generate.await)
}

/// `POST /certificates/{name}/verify` with `{"certificate":…}` that was signed for the code. 400004, 404008, 412001.
pub(super) async fn verify(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let verify = async {
        let (proof, _) = CertificateBody::read(&body)?;
        let stored = api.registry.verify_certificate(name, proof, if_match(&headers)).await?;
        Ok(ok_with_etag(&view(&stored)))
    };
    answer(verify.await)
}

/// `Sun, 22 Nov 2026 12:32:41 GMT`, as ARM writes times here.
fn http_time(time: Timestamp) -> String {
    let stamp = jiff::Timestamp::from_second(time.as_secs()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    DateTimePrinter::new().timestamp_to_rfc9110_string(&stamp).unwrap_or_default()
}

/// A certificate as ARM shows it.
fn view(stored: &StoredCertificate) -> Value {
    let details = Details::read(&stored.certificate).ok();
    let subject = details.as_ref().map(|details| details.common_name.as_ref().unwrap_or(&details.subject));
    json!({
        "name": stored.name,
        "type": "Microsoft.Devices/IotHubs/Certificates",
        "etag": stored.etag,
        "properties": {
            "subject": subject,
            "expiry": details.as_ref().map(|details| http_time(details.not_after)),
            "thumbprint": X509Thumbprints::sha1(&stored.certificate),
            "isVerified": stored.verified,
            "created": http_time(stored.created),
            "updated": http_time(stored.updated),
            "certificate": STANDARD.encode(&stored.certificate),
        },
    })
}
