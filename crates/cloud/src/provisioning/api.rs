//! What operators ask of many enrolments at once: lists in pages, and bulk changes.

use super::enrollment::{Enrollment, Kind};
use super::{ProvisioningService, Registration};
use crate::registry::{IfMatch, Shelf};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ironbrook_model::{ErrorCode, Refusal};
use serde::Deserialize;
use serde_json::{Value, json};

/// Changes in one bulk.
const BULK_MAX: usize = 100;

/// A page, and where the next begins.
pub(crate) struct Page {
    pub(crate) items: Vec<Value>,
    pub(crate) next: Option<String>,
}

/// What a page is of.
pub(crate) enum Of {
    /// All enrolments of a kind.
    Enrollments(Kind),
    /// The devices of a group that registered.
    Registrations(String),
}

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::ArgumentInvalid, text)
}

#[derive(Deserialize)]
struct QueryBody {
    query: Option<String>,
}

/// A page of what a query asks for. The query language has a single sentence here: `SELECT * FROM …`.
pub(crate) async fn query(
    service: &ProvisioningService,
    of: Of,
    body: Value,
    count: usize,
    place: Option<&str>,
) -> Result<Page, Refusal> {
    let QueryBody { query } = serde_json::from_value(body).map_err(|_| invalid("the query is missing"))?;
    check(query.as_deref().unwrap_or("*"))?;
    let after = match place {
        None => String::new(),
        Some(place) => URL_SAFE_NO_PAD
            .decode(place)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| invalid("x-ms-continuation is not one this service gave out"))?,
    };
    let registry = &service.inner.registry;
    // One more than asked for tells whether there is another page.
    let (ids, mut items): (Vec<_>, Vec<_>) = match of {
        Of::Enrollments(kind) => {
            let all = registry.documents(kind.shelf(), after, count + 1, |_: &Enrollment| true).await?;
            all.into_iter().map(|(id, enrollment)| (id, enrollment.view(kind, false))).unzip()
        }
        Of::Registrations(group) => {
            let of_group =
                move |r: &Registration| r.group.as_ref().is_some_and(|g| g.eq_ignore_ascii_case(&group));
            let all = registry.documents(Shelf::Registrations, after, count + 1, of_group).await?;
            all.into_iter().map(|(id, registration)| (id, registration.view())).unzip()
        }
    };
    let next = (items.len() > count).then(|| URL_SAFE_NO_PAD.encode(&ids[count - 1]));
    items.truncate(count);
    Ok(Page { items, next })
}

fn check(query: &str) -> Result<(), Refusal> {
    let words: Vec<_> = query.split_whitespace().map(str::to_ascii_lowercase).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["*"] | ["select", "*"] | ["select", "*", "from", _] => Ok(()),
        _ => Err(invalid("queries of the provisioning service are of the form SELECT * FROM enrollments")),
    }
}

#[derive(Deserialize)]
struct BulkBody {
    mode: Option<String>,
    enrollments: Option<Vec<Value>>,
}

/// Many changes of enrolments of one device: `{"isSuccessful","errors"}`.
pub(crate) async fn bulk(service: &ProvisioningService, body: Value) -> Result<Value, Refusal> {
    let body: BulkBody =
        serde_json::from_value(body).map_err(|_| invalid("the bulk has a member of the wrong type"))?;
    let mode = body.mode.unwrap_or_default().to_ascii_lowercase();
    let items = body.enrollments.unwrap_or_default();
    if items.len() > BULK_MAX {
        let text = format!("{} enrolments in one bulk, {BULK_MAX} are allowed", items.len());
        return Err(Refusal::new(ErrorCode::TooManyDevices, text));
    }
    if !matches!(mode.as_str(), "create" | "update" | "updateifmatchetag" | "delete") {
        return Err(invalid("mode is create, update, updateIfMatchETag or delete"));
    }
    let mut errors = Vec::new();
    for item in items {
        let id = item["registrationId"].as_str().unwrap_or_default().to_owned();
        if let Err(refusal) = one(service, &mode, &id, item).await {
            errors.push(json!({
                "registrationId": id,
                "errorCode": refusal.code.number(),
                "errorStatus": refusal.message,
            }));
        }
    }
    Ok(json!({ "isSuccessful": errors.is_empty(), "errors": errors }))
}

async fn one(service: &ProvisioningService, mode: &str, id: &str, item: Value) -> Result<(), Refusal> {
    let kind = Kind::Individual;
    let etag = item["etag"].as_str().map(|etag| IfMatch::Etag(etag.trim_matches('"').to_owned()));
    match mode {
        "delete" => service.delete(kind, id, etag).await,
        "create" => match service.get(kind, id).await {
            Ok(_) => {
                Err(Refusal::new(ErrorCode::GenericConflict, "there is an enrolment with this id already"))
            }
            Err(_) => service.put(kind, id.to_owned(), item, None).await.map(drop),
        },
        "update" => {
            service.get(kind, id).await?;
            service.put(kind, id.to_owned(), item, None).await.map(drop)
        }
        _ => {
            let etag = etag.ok_or_else(|| invalid("the etag is missing"))?;
            service.put(kind, id.to_owned(), item, Some(etag)).await.map(drop)
        }
    }
}
