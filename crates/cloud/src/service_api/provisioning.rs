//! The provisioning service over HTTPS: what devices ask, and what operators do with enrolments.

use super::Api;
use super::input::{if_match, json, module_answer, ok, ok_with_etag};
use super::query::{CONTINUATION, ITEM_TYPE, page_size};
use crate::provisioning::{Kind, Of, bulk, query};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use ironbrook_gateway::{Peer, Provisioning as _, Registrant, RegistrationAnswer};
use ironbrook_hub::Credential;
use ironbrook_hub::auth::refusals;
use ironbrook_model::{Cause, ErrorCode, Refusal, SasToken};
use serde_json::{Value, json};

/// A device that wants to be provisioned, as a request shows it; checked.
#[derive(Clone)]
pub(super) struct Proven(Registrant);

/// Reads and checks who asks on `/{scope}/registrations/{id}/…`.
pub(super) async fn prove(api: &Api, parts: &mut Parts, ids: (String, String)) -> Result<Proven, Refusal> {
    let peer = parts.extensions.get::<Peer>();
    let credential = match parts.headers.get(AUTHORIZATION) {
        Some(value) => {
            let token = value.to_str().ok().and_then(|text| SasToken::parse(text).ok());
            Credential::Sas(token.ok_or_else(|| {
                let text =
                    "the Authorization header is not of the form 'SharedAccessSignature sr=…&sig=…&se=…'";
                Refusal::new(ErrorCode::IotHubUnauthorized, text).because(Cause::Malformed)
            })?)
        }
        None => match peer.map(|peer| peer.certificates.clone()).filter(|all| !all.is_empty()) {
            Some(certificates) => Credential::Certificate(certificates),
            None => {
                let text =
                    "no Authorization header and no client certificate; send a SAS token of the registration";
                return Err(
                    Refusal::new(ErrorCode::IotHubUnauthorizedAccess, text).because(Cause::NoCredential)
                );
            }
        },
    };
    let (id_scope, registration_id) = ids;
    let registrant = Registrant { id_scope, registration_id, credential };
    let checking = api.provisioning.authenticate(&registrant);
    match peer {
        Some(peer) => refusals::from(peer.origin("https"), checking).await?,
        None => checking.await?,
    }
    Ok(Proven(registrant))
}

fn respond(answer: &RegistrationAnswer) -> Response {
    let mut response = ok(&answer.body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    if let Some(seconds) = answer.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

type Registering = axum::Extension<Proven>;

/// `PUT /{scope}/registrations/{id}/register`: 202 with `operationId` and `Retry-After`.
pub(super) async fn register(
    State(api): State<Api>,
    axum::Extension(Proven(registrant)): Registering,
    body: Bytes,
) -> Response {
    module_answer(api.provisioning.register(&registrant, &body).await.map(|answer| respond(&answer)))
}

/// `GET /{scope}/registrations/{id}/operations/{operation}`: 200 with the outcome.
pub(super) async fn operation(
    State(api): State<Api>,
    axum::Extension(Proven(registrant)): Registering,
    Path((_, _, operation)): Path<(String, String, String)>,
) -> Response {
    module_answer(api.provisioning.operation(&registrant, &operation).await.map(|answer| respond(&answer)))
}

/// `POST /{scope}/registrations/{id}`: what became of it.
pub(super) async fn lookup(
    State(api): State<Api>,
    axum::Extension(Proven(registrant)): Registering,
) -> Response {
    let found = api.provisioning.registration(&registrant.registration_id).await;
    module_answer(found.map(|registration| ok(&registration.view())))
}

/// `PUT /enrollments/{id}`: creates or changes; with the keys. 400004, 412001.
pub(super) async fn put_individual(
    state: State<Api>,
    id: Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    put(Kind::Individual, state, id, &headers, &body).await
}

/// `PUT /enrollmentGroups/{id}`
pub(super) async fn put_group(
    state: State<Api>,
    id: Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    put(Kind::Group, state, id, &headers, &body).await
}

async fn put(
    kind: Kind,
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    let put = async {
        let enrollment = api.provisioning.put(kind, id, json(body)?, if_match(headers)).await?;
        Ok(ok_with_etag(&enrollment.view(kind, true)))
    };
    module_answer(put.await)
}

/// `GET /enrollments/{id}`: without keys, with what became of it.
pub(super) async fn get_individual(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let get = async {
        let mut view = api.provisioning.get(Kind::Individual, &id).await?.view(Kind::Individual, false);
        if let Ok(registration) = api.provisioning.registration(&id).await {
            view["registrationState"] = registration.view();
        }
        Ok(ok_with_etag(&view))
    };
    module_answer(get.await)
}

/// `GET /enrollmentGroups/{id}`: without keys.
pub(super) async fn get_group(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let found = api.provisioning.get(Kind::Group, &id).await;
    module_answer(found.map(|group| ok_with_etag(&group.view(Kind::Group, false))))
}

/// `POST /enrollments/{id}/attestationmechanism`: with the keys.
pub(super) async fn attestation_individual(State(api): State<Api>, Path(id): Path<String>) -> Response {
    attestation(&api, Kind::Individual, &id).await
}

/// `POST /enrollmentGroups/{id}/attestationmechanism`: with the keys.
pub(super) async fn attestation_group(State(api): State<Api>, Path(id): Path<String>) -> Response {
    attestation(&api, Kind::Group, &id).await
}

async fn attestation(api: &Api, kind: Kind, id: &str) -> Response {
    let found = api.provisioning.get(kind, id).await;
    module_answer(found.map(|enrollment| ok(&enrollment.view(kind, true)["attestation"])))
}

/// `DELETE /enrollments/{id}`: 204.
pub(super) async fn delete_individual(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let deleted = api.provisioning.delete(Kind::Individual, &id, if_match(&headers)).await;
    module_answer(deleted.map(|()| StatusCode::NO_CONTENT.into_response()))
}

/// `DELETE /enrollmentGroups/{id}`: 204.
pub(super) async fn delete_group(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let deleted = api.provisioning.delete(Kind::Group, &id, if_match(&headers)).await;
    module_answer(deleted.map(|()| StatusCode::NO_CONTENT.into_response()))
}

/// `POST /enrollments/query`, in pages as queries of the hub are.
pub(super) async fn query_individual(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    page(&api, Of::Enrollments(Kind::Individual), "Enrollment", &headers, &body).await
}

/// `POST /enrollmentGroups/query`
pub(super) async fn query_groups(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    page(&api, Of::Enrollments(Kind::Group), "EnrollmentGroup", &headers, &body).await
}

/// `POST /registrations/{group}/query`: the devices of a group that registered.
pub(super) async fn query_registrations(
    State(api): State<Api>,
    Path(group): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    page(&api, Of::Registrations(group), "DeviceRegistration", &headers, &body).await
}

async fn page(api: &Api, of: Of, item_type: &'static str, headers: &HeaderMap, body: &Bytes) -> Response {
    let page = async {
        let body = if body.is_empty() { json!({}) } else { json(body)? };
        let place = headers.get(CONTINUATION).and_then(|place| place.to_str().ok()).filter(|p| !p.is_empty());
        let page = query(&api.provisioning, of, body, page_size(headers), place).await?;
        let mut response = ok(&Value::Array(page.items));
        response.headers_mut().insert(ITEM_TYPE, HeaderValue::from_static(item_type));
        if let Some(next) = page.next.and_then(|next| HeaderValue::from_str(&next).ok()) {
            response.headers_mut().insert(CONTINUATION, next);
        }
        Ok(response)
    };
    module_answer(page.await)
}

/// `POST /enrollments`: `{"isSuccessful","errors"}`.
pub(super) async fn apply_bulk(State(api): State<Api>, body: Bytes) -> Response {
    let apply = async { Ok(ok(&bulk(&api.provisioning, json(&body)?).await?)) };
    module_answer(apply.await)
}

/// `GET /registrations/{id}`
pub(super) async fn get_registration(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let found = api.provisioning.registration(&id).await;
    module_answer(found.map(|registration| ok_with_etag(&registration.view())))
}

/// `DELETE /registrations/{id}`: 204; the next registration is the first.
pub(super) async fn delete_registration(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let deleted = api.provisioning.delete_registration(&id, if_match(&headers)).await;
    module_answer(deleted.map(|()| StatusCode::NO_CONTENT.into_response()))
}
