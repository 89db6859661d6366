//! How a route is added: never without naming who may call it.
//!
//! [`Routes`] is the only way to add one. It puts the guard in front of the handler, so that no handler runs, and no body is
//! read, before the caller's rights were checked; and it remembers what was asked for, which `access_tests` compares with the
//! table of the documentation.

use super::Api;
use super::input::Target;
use axum::extract::{DefaultBodyLimit, FromRequestParts as _, Request, State};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use http::Method;
use http::request::Parts;
use ironbrook_gateway::Peer;
use ironbrook_gateway::http::{error_response, method_error_response, module_error_response};
use ironbrook_hub::throttle::Throttle;
use ironbrook_model::{ErrorCode, Identity, Permissions, Refusal};

/// Largest body of one request: a bulk of 100 devices with full twins.
const BODY_MAX: usize = 8 * 1024 * 1024;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// Whoever has a token of a policy with all of these rights.
    Policy(Permissions),
    /// Whoever has a token of a policy with at least one of these rights.
    AnyOf(Permissions),
    /// As `Policy`, and the device of the path with its own credential.
    PolicyOrDevice(Permissions),
    /// The gateway module of the path with its own credential, and no policy.
    Gateway,
    /// The device of `/{scope}/registrations/{id}` with a credential of its enrolment in the provisioning service.
    Registrant,
}

/// The error bodies of a route (see the gateway's `http::error`).
#[derive(Debug, Clone, Copy)]
enum Envelope {
    Registry,
    Module,
    Method,
}

/// What a route asks of its callers, and how it tells them that they may not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    caller: Caller,
    envelope: Envelope,
    throttle: Option<Throttle>,
}

impl Access {
    /// A policy's token with all of these rights.
    pub(super) const fn policy(rights: Permissions) -> Self {
        Self { caller: Caller::Policy(rights), envelope: Envelope::Registry, throttle: None }
    }

    /// A policy's token with at least one of these rights.
    pub(super) const fn any_of(rights: Permissions) -> Self {
        Self { caller: Caller::AnyOf(rights), envelope: Envelope::Registry, throttle: None }
    }

    /// A policy's token with all of these rights, or the credential of the device in the path. rule REG-04
    pub(super) const fn policy_or_device(rights: Permissions) -> Self {
        Self { caller: Caller::PolicyOrDevice(rights), envelope: Envelope::Registry, throttle: None }
    }

    /// The credential of the edge device's hub in the path. rule REG-07
    pub(super) const fn gateway() -> Self {
        Self { caller: Caller::Gateway, envelope: Envelope::Registry, throttle: None }
    }

    /// A credential of the enrolment of the registration in the path. rule DPS-02
    pub(super) const fn registrant() -> Self {
        Self { caller: Caller::Registrant, envelope: Envelope::Module, throttle: None }
    }

    /// Counts against a throttle of the hub, once the caller was let in.
    pub(super) const fn throttled(self, throttle: Throttle) -> Self {
        Self { throttle: Some(throttle), ..self }
    }

    /// Refusals in the envelope of modules.
    pub(super) const fn module_errors(self) -> Self {
        Self { envelope: Envelope::Module, ..self }
    }

    /// Refusals in the envelope of direct methods.
    pub(super) const fn method_errors(self) -> Self {
        Self { envelope: Envelope::Method, ..self }
    }

    fn refuse(self, refusal: &Refusal) -> Response {
        match self.envelope {
            Envelope::Registry => error_response(refusal),
            Envelope::Module => module_error_response(refusal),
            Envelope::Method => method_error_response(refusal),
        }
    }
}

/// A route that was added.
#[derive(Debug, Clone)]
#[cfg_attr(not(test), allow(dead_code, reason = "the test of all routes reads it"))]
pub(super) struct Entry {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) caller: Caller,
}

/// The routes of the service API while they are put together.
pub(super) struct Routes {
    router: axum::Router<Api>,
    api: Api,
    entries: Vec<Entry>,
}

impl Routes {
    pub(super) fn new(api: Api) -> Self {
        Self { router: axum::Router::new(), api, entries: Vec::new() }
    }

    pub(super) fn get<H, T>(self, path: &str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        self.add(Method::GET, MethodFilter::GET, path, access, handler)
    }

    pub(super) fn put<H, T>(self, path: &str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        self.add(Method::PUT, MethodFilter::PUT, path, access, handler)
    }

    pub(super) fn post<H, T>(self, path: &str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        self.add(Method::POST, MethodFilter::POST, path, access, handler)
    }

    pub(super) fn patch<H, T>(self, path: &str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        self.add(Method::PATCH, MethodFilter::PATCH, path, access, handler)
    }

    pub(super) fn delete<H, T>(self, path: &str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        self.add(Method::DELETE, MethodFilter::DELETE, path, access, handler)
    }

    fn add<H, T>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &str,
        access: Access,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        let guard = middleware::from_fn_with_state((self.api.clone(), access), check);
        // Not `layer`: a method the path does not have is answered 405, whoever asks.
        self.router = self.router.route(path, on(filter, handler).route_layer(guard));
        self.entries.push(Entry { method, path: path.to_owned(), caller: access.caller });
        self
    }

    /// All routes added so far.
    #[cfg_attr(not(test), allow(dead_code, reason = "the test of all routes reads it"))]
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn into_router(self) -> axum::Router {
        self.router.layer(DefaultBodyLimit::max(BODY_MAX)).with_state(self.api)
    }
}

/// The guard of one route.
async fn check(State((api, access)): State<(Api, Access)>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match allowed(&api, access, &mut parts).await {
        Ok(()) => match access.throttle.map_or(Ok(()), |throttle| api.hub.throttles().take(throttle)) {
            Ok(()) => next.run(Request::from_parts(parts, body)).await,
            Err(throttled) => access.refuse(&throttled),
        },
        Err(refused) => refused,
    }
}

async fn allowed(api: &Api, access: Access, parts: &mut Parts) -> Result<(), Response> {
    let refused = |refusal: Refusal| access.refuse(&refusal);
    match access.caller {
        Caller::Policy(rights) => api.require(&parts.headers, rights).await.map_err(refused),
        Caller::AnyOf(rights) => api.require_one_of(&parts.headers, rights).await.map_err(refused),
        Caller::PolicyOrDevice(rights) => {
            let Target(named) = Target::from_request_parts(parts, &()).await?;
            let device = Identity::device(named.device);
            let peer = parts.extensions.get::<Peer>();
            api.require_or_device(&parts.headers, peer, &device, rights).await.map_err(refused)
        }
        Caller::Gateway => {
            let Target(caller) = Target::from_request_parts(parts, &()).await?;
            let peer = parts.extensions.get::<Peer>();
            api.require_own(&parts.headers, peer, &caller).await.map_err(refused)
        }
        Caller::Registrant => {
            let ids = registration(parts).await?;
            let proven = super::provisioning::prove(api, parts, ids).await.map_err(refused)?;
            parts.extensions.insert(proven);
            Ok(())
        }
    }
}

/// Id scope and registration id of the path.
async fn registration(parts: &mut Parts) -> Result<(String, String), Response> {
    #[derive(serde::Deserialize)]
    struct Ids {
        scope: String,
        id: String,
    }
    let axum::extract::Path(ids) =
        axum::extract::Path::<Ids>::from_request_parts(parts, &()).await.map_err(|error| {
            module_error_response(&Refusal::new(ErrorCode::ArgumentInvalid, error.body_text()))
        })?;
    Ok((ids.scope, ids.id))
}
