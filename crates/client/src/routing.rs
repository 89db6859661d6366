//! What a hub tells of its routing. Only ours tells; in Azure most of it is asked of the resource provider.

use crate::ServiceClient;
use crate::error::Result;
use http::Method;
use ironbrook_model::percent_encode;
use serde_json::Value;

impl ServiceClient {
    /// `{"routes":[…],"fallbackRoute":{…},"endpoints":[…]}`.
    pub async fn routing(&self) -> Result<Value> {
        self.call(Method::GET, "/routing?", None).await
    }

    /// How each endpoint does: `{"value":[{"endpointId","healthStatus",…}],"unrouted"}`.
    pub async fn endpoints_health(&self) -> Result<Value> {
        self.call(Method::GET, "/routingEndpointsHealth?", None).await
    }

    /// Which routes a message takes: `{"routingSource","message":{"body","appProperties","systemProperties"},"twin"}`.
    pub async fn test_all_routes(&self, input: &Value) -> Result<Value> {
        self.call(Method::POST, "/routing/routes/$testall?", Some(input)).await
    }

    /// Whether a route takes a message: the same with `route`.
    pub async fn test_route(&self, input: &Value) -> Result<Value> {
        self.call(Method::POST, "/routing/routes/$testnew?", Some(input)).await
    }

    /// What became of the messages of an id. `hints` are parameters of the query: `since`, `until`, `device`.
    pub async fn message_fate(&self, id: &str, hints: &[(&str, &str)]) -> Result<Value> {
        let mut path = format!("/routing/messages/{}?", percent_encode(id));
        for (name, value) in hints {
            path = format!("{path}{name}={}&", percent_encode(value));
        }
        self.call(Method::GET, &path, None).await
    }
}
