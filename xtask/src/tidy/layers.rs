//! Which crate may depend on which: arrows only downwards, and nothing heavy where it does not belong.

use serde_json::Value;

/// A crate, the crates of ours it may use, and the outside crates it may not.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
    must_not_use: &'static [&'static str],
}

/// No sockets, files, clocks or TLS below the log.
const IO: &[&str] =
    &["tokio", "hyper", "axum", "rustls", "tokio-rustls", "tokio-tungstenite", "redb", "socket2"];
/// The core knows no protocol.
const PROTOCOLS: &[&str] = &[
    "hyper",
    "hyper-util",
    "axum",
    "http",
    "rustls",
    "tokio-rustls",
    "tokio-tungstenite",
    "rcgen",
    "socket2",
    "redb",
];

const LAYERS: &[Layer] = &[
    Layer { name: "model", may_use: &[], must_not_use: IO },
    Layer { name: "wire", may_use: &["model"], must_not_use: IO },
    Layer { name: "query", may_use: &["model"], must_not_use: IO },
    Layer { name: "analytics", may_use: &["query", "model"], must_not_use: IO },
    Layer {
        name: "log",
        may_use: &["model"],
        must_not_use: &["hyper", "axum", "rustls", "tokio-rustls", "http"],
    },
    Layer { name: "hub", may_use: &["log", "query", "model"], must_not_use: PROTOCOLS },
    Layer { name: "pubsub", may_use: &["log", "wire", "query", "model"], must_not_use: PROTOCOLS },
    Layer {
        name: "gateway",
        may_use: &["hub", "pubsub", "log", "wire", "query", "model"],
        must_not_use: &["redb"],
    },
    Layer { name: "client", may_use: &["wire", "model"], must_not_use: &["redb", "axum"] },
    Layer { name: "cloud", may_use: BELOW_ASSEMBLIES, must_not_use: &[] },
    Layer { name: "edge", may_use: BELOW_ASSEMBLIES, must_not_use: &[] },
    Layer { name: "modules", may_use: BELOW_ASSEMBLIES, must_not_use: &[] },
    Layer { name: "portal", may_use: BELOW_ASSEMBLIES, must_not_use: &["redb"] },
    Layer {
        name: "cli",
        may_use: &[
            "cloud",
            "edge",
            "modules",
            "portal",
            "gateway",
            "client",
            "hub",
            "pubsub",
            "log",
            "wire",
            "query",
            "analytics",
            "model",
        ],
        must_not_use: &[],
    },
    Layer {
        name: "testkit",
        may_use: &[
            "cloud",
            "edge",
            "modules",
            "gateway",
            "client",
            "hub",
            "pubsub",
            "log",
            "wire",
            "query",
            "analytics",
            "model",
        ],
        must_not_use: &[],
    },
];

const BELOW_ASSEMBLIES: &[&str] =
    &["gateway", "client", "hub", "pubsub", "log", "wire", "query", "analytics", "model"];

const PREFIX: &str = "ironbrook-";

/// Findings from `cargo metadata --no-deps`.
pub fn check(metadata: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some(name) = package["name"].as_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == name) else {
            findings.push(format!("crates/{name}: has no place in the table of xtask/src/tidy/layers.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // `null` is an ordinary dependency; a test may use what it likes.
            if dependency["kind"] == "dev" {
                continue;
            }
            let used = dependency["name"].as_str().unwrap_or_default();
            let allowed = match used.strip_prefix(PREFIX) {
                Some(ours) => layer.may_use.contains(&ours),
                None => !layer.must_not_use.contains(&used),
            };
            if !allowed {
                findings.push(format!("crates/{name}/Cargo.toml: {name} may not depend on {used}"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, dependency: &str, kind: Option<&str>) -> Value {
        json!({"packages": [{"name": name, "dependencies": [{"name": dependency, "kind": kind}]}]})
    }

    #[test]
    fn arrows_point_downwards() {
        assert_eq!(check(&package("ironbrook-hub", "ironbrook-log", None)).len(), 0);
        assert_eq!(check(&package("ironbrook-log", "ironbrook-hub", None)).len(), 1);
        assert_eq!(check(&package("ironbrook-hub", "ironbrook-pubsub", None)).len(), 1);
        assert_eq!(check(&package("ironbrook-pubsub", "ironbrook-hub", None)).len(), 1);
        assert_eq!(check(&package("ironbrook-portal", "ironbrook-cloud", None)).len(), 1);
        assert_eq!(check(&package("ironbrook-hub", "rustls", None)).len(), 1);
        assert_eq!(check(&package("ironbrook-hub", "ironbrook-testkit", Some("dev"))).len(), 0);
        assert_eq!(check(&package("ironbrook-new", "serde", None)).len(), 1);
    }
}
