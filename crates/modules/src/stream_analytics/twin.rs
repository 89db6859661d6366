//! What the desired properties ask for.

use super::package::{Package, QUERY_LEN_MAX};
use super::policies::OrderingPolicies;
use ironbrook_client::DesiredUpdate;
use serde_json::{Map, Value};
use std::fmt;

/// Texts that a query may be spread over.
const PARTS_MAX: usize = 100;
/// Longest URL of a package, in bytes.
const URL_LEN_MAX: usize = 4096;

/// The desired properties as they are now.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Desired {
    members: Map<String, Value>,
    /// Their version; 0 while they are not known.
    pub(super) version: u64,
}

/// Where the query comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wish {
    /// Nothing is to run.
    Nothing,
    /// What the properties say cannot be meant.
    Wrong(String),
    /// A query text, as a package without etag.
    Text(Package),
    /// A package at a URL.
    Remote(Remote),
}

/// A package that has to be fetched.
#[derive(Clone, PartialEq)]
pub(super) struct Remote {
    /// The URL; holds a signature.
    pub(super) url: String,
    /// What tells one publishing from another: the etag, or without one the time of publishing.
    pub(super) key: String,
    pub(super) etag: Option<String>,
    /// Policies of the twin, which come before the package's.
    pub(super) policies: Option<OrderingPolicies>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Desired {
    /// Follows a change.
    pub(super) fn apply(&mut self, update: DesiredUpdate) {
        if update.complete {
            self.members = update.properties;
        } else {
            merge(&mut self.members, update.properties);
        }
        self.version = update.version;
    }

    /// Reads the properties; our own `query` comes before the stock ones.
    pub(super) fn wish(&self) -> Wish {
        let policies = match self.members.get("policies").filter(|value| !value.is_null()) {
            None => None,
            Some(value) => match OrderingPolicies::from_twin(value) {
                Ok(policies) => Some(policies),
                Err(reason) => return Wish::Wrong(reason),
            },
        };
        match self.text() {
            Err(reason) => return Wish::Wrong(reason),
            Ok(Some(text)) => {
                let mut package = Package::new("", "", &text);
                package.policies = policies.unwrap_or_default();
                return match self.parts(&mut package) {
                    Ok(()) => Wish::Text(package),
                    Err(reason) => Wish::Wrong(reason),
                };
            }
            Ok(None) => {}
        }
        match self.members.get("ASAJobInfo") {
            None | Some(Value::Null) => Wish::Nothing,
            Some(Value::String(url)) if url.is_empty() => Wish::Nothing,
            Some(Value::String(url)) if url.len() <= URL_LEN_MAX => Wish::Remote(self.remote(url, policies)),
            Some(_) => Wish::Wrong(format!("ASAJobInfo is a URL of {URL_LEN_MAX} bytes at most")),
        }
    }

    /// What else a package has.
    fn parts(&self, package: &mut Package) -> Result<(), String> {
        package.functions = self.part("functions")?;
        package.inputs = self.part("inputs")?;
        package.reference = self.part("reference")?;
        Ok(())
    }

    /// A part of a package, by its name there; an absent one is empty.
    fn part<T: Default + serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        match self.members.get(name).filter(|value| !value.is_null()) {
            None => Ok(T::default()),
            Some(value) => serde_json::from_value(value.clone()).map_err(|error| format!("{name}: {error}")),
        }
    }

    fn remote(&self, url: &str, policies: Option<OrderingPolicies>) -> Remote {
        let text = |name| self.members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        // rule ASA-02
        let etag = text("ASAJobEtag").map(str::to_owned);
        let key = match (&etag, text("PublishTimeStamp")) {
            (Some(etag), _) => format!("etag {etag}"),
            // The signature in the URL is no business of anybody who reads the key.
            (None, time) => format!("url {} {}", super::program::text_digest(url), time.unwrap_or_default()),
        };
        Remote { url: url.to_owned(), key, etag, policies }
    }

    /// `query`, then `query1`, `query02` and so on by number, each on lines of its own: a twin's texts have 4 KB at most.
    fn text(&self) -> Result<Option<String>, String> {
        let mut parts = Vec::new();
        for (name, value) in &self.members {
            let Some(number) = name.strip_prefix("query") else { continue };
            let digits = number.len() <= 4 && number.bytes().all(|byte| byte.is_ascii_digit());
            if !digits || value.is_null() {
                continue;
            }
            let Value::String(text) = value else { return Err(format!("{name} is a text")) };
            parts.push((number.parse::<u32>().unwrap_or(0), text.as_str()));
        }
        if parts.len() > PARTS_MAX {
            return Err(format!("a query is spread over {PARTS_MAX} properties at most"));
        }
        parts.sort_by_key(|(number, _)| *number);
        let text = parts.iter().map(|(_, text)| *text).collect::<Vec<_>>().join("\n");
        if text.len() > QUERY_LEN_MAX {
            return Err(format!("a query has {QUERY_LEN_MAX} bytes at most"));
        }
        Ok((!text.trim().is_empty()).then_some(text))
    }
}

impl Wish {
    /// What tells whether two wishes are for the same.
    pub(super) fn key(&self) -> String {
        let policies = |policies: &OrderingPolicies| serde_json::to_string(policies).unwrap_or_default();
        match self {
            Self::Nothing => String::new(),
            Self::Wrong(reason) => format!("wrong {reason}"),
            Self::Text(package) => {
                let digest = super::program::text_digest;
                let mut key = format!("text {} {}", digest(&package.query), policies(&package.policies));
                // Kept jobs without them have the key that they had before there were any.
                if !package.functions.is_empty() || !package.inputs.is_empty() {
                    let rest = serde_json::to_string(&(&package.functions, &package.inputs));
                    key += &format!(" {}", digest(&rest.unwrap_or_default()));
                }
                if !package.reference.is_empty() {
                    let rest = serde_json::to_string(&package.reference);
                    key += &format!(" reference {}", digest(&rest.unwrap_or_default()));
                }
                key
            }
            Self::Remote(remote) => {
                let policies = remote.policies.as_ref().map(policies);
                format!("{} {}", remote.key, policies.unwrap_or_default())
            }
        }
    }
}

/// Merges a change as twins are: `null` removes, objects merge, all else replaces.
fn merge(members: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (name, change) in changes {
        match (members.get_mut(&name), change) {
            (_, Value::Null) => drop(members.remove(&name)),
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, Value::Object(new)) => {
                let mut object = Map::new();
                merge(&mut object, new);
                members.insert(name, Value::Object(object));
            }
            (_, value) => drop(members.insert(name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn update(version: u64, properties: Value, complete: bool) -> DesiredUpdate {
        let Value::Object(properties) = properties else { panic!("no object") };
        DesiredUpdate { version, properties, complete }
    }

    fn wish(properties: Value) -> Wish {
        let mut desired = Desired::default();
        desired.apply(update(1, properties, true));
        desired.wish()
    }

    fn text(query: &str) -> Wish {
        Wish::Text(Package::new("", "", query))
    }

    #[test]
    fn a_query_may_be_spread_over_properties_in_the_order_of_their_numbers() {
        assert_eq!(wish(json!({ "query": "SELECT 1" })), text("SELECT 1"));
        let spread =
            json!({ "query10": "d", "query2": "c", "query01": "b", "query": "a", "queryX": 1, "other": "x" });
        assert_eq!(wish(spread), text("a\nb\nc\nd"));
        assert_eq!(wish(json!({ "query": " ", "query1": null })), Wish::Nothing);
        assert!(matches!(wish(json!({ "query": 5 })), Wish::Wrong(reason) if reason.contains("query")));
    }

    #[test]
    fn our_query_comes_before_the_stock_properties_and_each_publishing_has_its_key_rule_asa_02() {
        let stock = json!({
            "ASAJobInfo": "https://a/b?sig=canary", "ASAJobResourceId": "/x", "ASAJobEtag": "e1", "PublishTimeStamp": "t1",
        });
        let Wish::Remote(remote) = wish(stock.clone()) else { panic!("no package") };
        assert_eq!((&*remote.key, remote.etag.as_deref()), ("etag e1", Some("e1")));
        assert!(!format!("{remote:?} {}", Wish::Remote(remote.clone()).key()).contains("canary"));
        let mut both = stock.clone();
        both["query"] = json!("q");
        assert_eq!(wish(both), text("q"));
        let mut keys = Vec::new();
        for change in [
            json!({}),
            json!({ "ASAJobEtag": "e2" }),
            json!({ "ASAJobEtag": null }),
            json!({ "ASAJobEtag": null, "PublishTimeStamp": "t2" }),
            json!({ "policies": { "lateArrivalSeconds": 9 } }),
        ] {
            let mut desired = Desired::default();
            desired.apply(update(1, stock.clone(), true));
            desired.apply(update(2, change, false));
            keys.push(desired.wish().key());
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 5, "{keys:?}");
        for nothing in [json!({}), json!({ "ASAJobInfo": null }), json!({ "ASAJobInfo": "" })] {
            assert_eq!(wish(nothing), Wish::Nothing);
        }
        assert!(matches!(wish(json!({ "ASAJobInfo": {} })), Wish::Wrong(_)));
    }

    #[test]
    fn changes_are_merged_as_twins_are() {
        let mut desired = Desired::default();
        let policies = json!({ "lateArrivalSeconds": 7, "outOfOrderSeconds": 1 });
        desired.apply(update(3, json!({ "query": "a", "query1": "b", "policies": policies }), true));
        desired.apply(update(4, json!({ "query1": null, "policies": { "outOfOrderSeconds": null } }), false));
        let Wish::Text(package) = desired.wish() else { panic!("no text") };
        assert_eq!((&*package.query, desired.version), ("a", 4));
        assert_eq!((package.policies.late_arrival_seconds, package.policies.out_of_order_seconds), (7, 0));
        desired.apply(update(5, json!({ "policies": { "onViolation": "no" } }), false));
        assert!(matches!(desired.wish(), Wish::Wrong(_)));
        desired.apply(update(6, json!({}), true));
        assert_eq!(desired.wish(), Wish::Nothing);
    }
}
