//! Which routes a message takes, and why.

use super::input::{Given, Tried, source};
use super::{Routing, route_json};
use crate::service_api::input::{answer, json, ok};
use axum::Extension;
use axum::response::Response;
use bytes::Bytes;
use ironbrook_hub::Route;
use ironbrook_hub::router::{EVENTS, Trial};
use ironbrook_model::{MessageSource, Refusal};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TestAll {
    routing_source: Option<String>,
    message: Option<Given>,
    twin: Option<Value>,
}

#[derive(Deserialize)]
struct TestNew {
    message: Option<Given>,
    route: GivenRoute,
    twin: Option<Value>,
}

/// A route as Azure's resource provider spells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GivenRoute {
    #[serde(default)]
    name: String,
    source: Option<String>,
    condition: Option<String>,
    #[serde(default)]
    endpoint_names: Vec<String>,
}

impl Routing {
    /// The message with the twin that is given, or that of the device it names.
    async fn tried(
        &self,
        message: Option<Given>,
        source: MessageSource,
        twin: Option<Value>,
    ) -> Result<Tried, Refusal> {
        let seams = self.hub.seams();
        let mut tried = Tried::read(message, source, seams.clock.now(), twin)?;
        if tried.twin.is_none() {
            // A device that is not there has no twin.
            let found = seams.twins.service_view(&tried.identity).await;
            tried.twin = found.ok().map(|twin| (*twin).clone());
        }
        Ok(tried)
    }
}

/// `POST /routing/routes/$testall`: `{"routingSource","message":{"body","appProperties","systemProperties"},"twin"}` gives
/// `{"routes":[{"properties":{…}}]}`, the routes the message takes; and beyond Azure's `trials`, what each route says and why, and
/// `endpoints`, where the message goes. 400004 for what cannot be read.
pub(in crate::service_api) async fn all(Extension(routing): Extension<Routing>, body: Bytes) -> Response {
    let test = async {
        let TestAll { routing_source, message, twin } = json(&body)?;
        let source = source(routing_source.as_deref())?;
        let tried = routing.tried(message, source, twin).await?;
        let router = routing.hub.router();
        let (mut matched, mut trials, mut endpoints) = (Vec::new(), Vec::new(), Vec::<String>::new());
        for route in router.configured().iter() {
            let trial = Trial::of(route, &tried.facts(), false);
            if trial.takes() {
                matched.push(json!({ "properties": route_json(route) }));
                let new: Vec<_> =
                    route.endpoints.iter().filter(|name| !endpoints.contains(name)).cloned().collect();
                endpoints.extend(new);
            }
            trials.push(trial_json(route, &trial));
        }
        let fallback = endpoints.is_empty() && router.fallback() && source == MessageSource::DeviceMessages;
        if fallback {
            endpoints.push(EVENTS.to_owned());
        }
        Ok(ok(&json!({ "routes": matched, "trials": trials, "endpoints": endpoints, "fallback": fallback })))
    };
    answer(test.await)
}

/// `POST /routing/routes/$testnew`: `{"message","route":{"name","source","condition","endpointNames"},"twin"}` gives
/// `{"result":"true"|"false"|"undefined","details":{"compilationErrors":[…]}}` and, beyond Azure's, `reasons`.
pub(in crate::service_api) async fn new(Extension(routing): Extension<Routing>, body: Bytes) -> Response {
    let test = async {
        let TestNew { message, route: given, twin } = json(&body)?;
        let source = source(given.source.as_deref())?;
        let route = Route {
            name: given.name,
            source,
            condition: given.condition.unwrap_or_else(|| "true".to_owned()),
            endpoints: given.endpoint_names,
            ..Route::default()
        };
        let tried = routing.tried(message, source, twin).await?;
        let mut told = told(&Trial::of(&route, &tried.facts(), true));
        if !told.contains_key("details") {
            told.insert("details".to_owned(), json!({ "compilationErrors": [] }));
        }
        Ok(ok(&Value::Object(told)))
    };
    answer(test.await)
}

/// What one route says, by its name.
pub(super) fn trial_json(route: &Route, trial: &Trial) -> Value {
    let mut told = told(trial);
    told.shift_insert(0, "name".to_owned(), route.name.as_str().into());
    told.insert("condition".to_owned(), route.condition.as_str().into());
    told.insert("endpointNames".to_owned(), route.endpoints.clone().into());
    Value::Object(told)
}

fn told(trial: &Trial) -> Map<String, Value> {
    let why = |text: &str| json!({ "result": "false", "why": text });
    let told = match trial {
        Trial::Disabled => why("the route is not in force"),
        Trial::OtherSource => why("the route looks at messages of another source"),
        Trial::OtherPath => why("the message came another way than the route looks at"),
        Trial::Unreadable(error) => {
            let place = |column: usize| json!({ "line": error.line, "column": column });
            let location = json!({ "start": place(error.column), "end": place(error.column + 1) });
            json!({ "result": "undefined", "details": { "compilationErrors": [{
                "message": error.message, "severity": "error", "location": location,
            }] } })
        }
        Trial::Condition(explanation) => {
            let reasons = explanation.parts.iter().map(|part| {
                json!({ "comparison": part.text, "result": part.result_name(), "reason": part.reason })
            });
            json!({ "result": explanation.result_name(), "reasons": reasons.collect::<Vec<_>>() })
        }
    };
    match told {
        Value::Object(told) => told,
        _ => Map::new(),
    }
}
