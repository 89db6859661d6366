//! The management API's answers.

use super::{LogLine, LogQuery, ModuleLogs, ModuleStatus, RestartError, frames, system};
use crate::daemon::Services;
use crate::daemon::server::{Refused, json_answer};
use crate::runtime::RuntimeError;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::stream;
use http::{StatusCode, header};
use ironbrook_hub::seams::Clock;
use ironbrook_model::Timestamp;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

type App = State<Arc<Services>>;

/// The requests of the management socket.
pub(crate) fn router(services: Arc<Services>) -> Router {
    Router::new()
        .route("/modules", get(modules))
        .route("/modules/{module}", get(module))
        .route("/modules/{module}/logs", get(logs))
        .route("/modules/{module}/restart", post(restart))
        .route("/identities/", get(identities))
        .route("/systeminfo", get(system_info))
        .with_state(services)
}

/// A module in the stock form. Its environment is left out: passwords stand in there.
pub(crate) fn details(module: &ModuleStatus) -> Value {
    let exit = match (module.exited, module.exit_code) {
        (Some(exited), Some(code)) => json!({"exitTime": exited.to_string(), "statusCode": code.to_string()}),
        _ => Value::Null,
    };
    let settings = json!({"image": module.image, "imageHash": "", "createOptions": {}});
    json!({
        "id": module.name, "name": module.name, "type": "docker",
        "config": {"settings": settings, "env": []},
        "status": {
            "startTime": module.started.map(|started| started.to_string()),
            "exitStatus": exit,
            "runtimeStatus": {"status": module.status, "description": module.description},
        },
    })
}

fn all(services: &Services) -> Result<Vec<ModuleStatus>, Refused> {
    services.modules.get().map(|modules| modules.modules()).ok_or_else(no_agent)
}

fn one(services: &Services, name: &str) -> Result<ModuleStatus, Refused> {
    let found = all(services)?.into_iter().find(|module| module.name == name);
    found.ok_or_else(|| no_such_module(name))
}

fn no_agent() -> Refused {
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the agent has not started yet")
}

fn no_such_module(name: &str) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, format!("there is no module {name}"))
}

async fn modules(State(services): App) -> Result<Response, Refused> {
    let list: Vec<Value> = all(&services)?.iter().map(details).collect();
    Ok(json_answer(StatusCode::OK, &json!({"modules": list})))
}

async fn module(State(services): App, Path(name): Path<String>) -> Result<Response, Refused> {
    Ok(json_answer(StatusCode::OK, &details(&one(&services, &name)?)))
}

async fn restart(State(services): App, Path(name): Path<String>) -> Result<Response, Refused> {
    let modules = services.modules.get().ok_or_else(no_agent)?;
    match modules.restart(&name).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(RestartError::NotFound(name)) => Err(no_such_module(&name)),
        Err(RestartError::Refused(text)) => Err(Refused::new(StatusCode::BAD_REQUEST, text)),
    }
}

async fn identities(State(services): App) -> Result<Response, Refused> {
    match services.identities.list().await {
        Ok(identities) => {
            let list = identities.iter().map(|identity| {
                json!({
                    "moduleId": identity.module_id, "managedBy": identity.managed_by,
                    "generationId": identity.generation_id, "authType": "sas",
                })
            });
            Ok(json_answer(StatusCode::OK, &json!({"identities": list.collect::<Vec<_>>()})))
        }
        Err(error) => Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

async fn system_info() -> Result<Response, Refused> {
    match tokio::task::spawn_blocking(system::info).await {
        Ok(info) => Ok(json_answer(StatusCode::OK, &info)),
        Err(error) => Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// The stock parameters: `tail` is a number or `all`, times are RFC 3339 or seconds since 1970.
#[derive(serde::Deserialize)]
struct LogParameters {
    #[serde(default)]
    follow: bool,
    tail: Option<String>,
    since: Option<String>,
    until: Option<String>,
    #[serde(default)]
    timestamps: bool,
}

impl LogParameters {
    fn query(&self) -> Result<LogQuery, Refused> {
        let wrong = |name: &str| Refused::new(StatusCode::BAD_REQUEST, format!("{name} cannot be read"));
        let time = |name: &str, text: &Option<String>| {
            text.as_deref().map(|text| time(text).ok_or_else(|| wrong(name))).transpose()
        };
        let tail = self.tail.as_deref().filter(|tail| *tail != "all");
        let tail = tail.map(|tail| tail.parse().map_err(|_| wrong("tail"))).transpose()?;
        let (since, until) = (time("since", &self.since)?, time("until", &self.until)?);
        Ok(LogQuery { tail, since, until, after: None })
    }
}

fn time(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| text.parse().ok().map(Timestamp::from_secs))
}

async fn logs(
    State(services): App,
    Path(name): Path<String>,
    Query(parameters): Query<LogParameters>,
) -> Result<Response, Refused> {
    let query = parameters.query()?;
    let logs = services.logs.get().cloned();
    let logs =
        logs.ok_or_else(|| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the runtime has not started yet"))?;
    let lines = logs.lines(&name, query).await.map_err(|error| match error {
        // The list knows more modules than the runtime: the system's run inside this process.
        RuntimeError::NotFound(_) if one(&services, &name).is_ok() => Refused::new(
            StatusCode::BAD_REQUEST,
            format!("{name} runs inside ironbrook; its lines are in the log of that process"),
        ),
        RuntimeError::NotFound(_) => no_such_module(&name),
        error => Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    })?;
    let text = frame(&lines, parameters.timestamps);
    let body = if parameters.follow {
        let position = lines.last().map_or(0, |line| line.position);
        let follower = Follower {
            logs,
            name,
            query: LogQuery { tail: None, after: Some(position), ..query },
            clock: services.clock.clone(),
            timestamps: parameters.timestamps,
        };
        Body::from_stream(stream::unfold((Some(text), follower), |(text, follower)| async move {
            follower.next(text).await.map(|(text, follower)| (Ok::<_, Infallible>(text), (None, follower)))
        }))
    } else {
        Body::from(text)
    };
    Ok(([(header::CONTENT_TYPE, "text/plain")], body).into_response())
}

fn frame(lines: &[LogLine], timestamps: bool) -> Bytes {
    let mut out = Vec::new();
    for line in lines {
        if timestamps {
            frames::write(&format!("{} {}", line.time, line.text), &mut out);
        } else {
            frames::write(&line.text, &mut out);
        }
    }
    out.into()
}

/// Goes on reading a log until its reader leaves or the module is removed.
struct Follower {
    logs: Arc<dyn ModuleLogs>,
    name: String,
    query: LogQuery,
    clock: Arc<dyn Clock>,
    timestamps: bool,
}

impl Follower {
    async fn next(mut self, first: Option<Bytes>) -> Option<(Bytes, Self)> {
        if let Some(first) = first.filter(|first| !first.is_empty()) {
            return Some((first, self));
        }
        loop {
            let lines = self.logs.lines(&self.name, self.query).await.ok()?;
            if let Some(last) = lines.last() {
                self.query.after = Some(last.position);
                return Some((frame(&lines, self.timestamps), self));
            }
            self.clock.sleep(FOLLOW_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests;
