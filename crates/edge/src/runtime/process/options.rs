//! A module's `createOptions` (the body of a container engine's "create container" call), as far as a process can have them.

use serde_json::Value;

/// What of them counts here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// `Env`, as name and value.
    pub env: Vec<(String, String)>,
    /// `Entrypoint` and `Cmd`.
    pub arguments: Vec<String>,
    /// Members that mean nothing without a container, or that are not known.
    pub ignored: Vec<String>,
}

impl Options {
    /// Reads them. Unknown members are no error, as with container engines; members of a wrong type are.
    pub fn read(options: &Value) -> Result<Self, String> {
        let mut read = Self::default();
        let members = match options {
            Value::Null => return Ok(read),
            Value::Object(members) => members,
            _ => return Err("they are not a JSON object".to_owned()),
        };
        let mut command = Vec::new();
        for (name, value) in members {
            match name.to_ascii_lowercase().as_str() {
                "env" => {
                    // A name without value means "not set".
                    let pairs = texts(name, value)?;
                    let pairs = pairs.iter().filter_map(|pair| pair.split_once('='));
                    read.env = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                }
                "entrypoint" => read.arguments = texts(name, value)?,
                "cmd" => command = texts(name, value)?,
                _ => read.ignored.push(name.clone()),
            }
        }
        read.arguments.append(&mut command);
        Ok(read)
    }
}

/// An array of texts, one text, or nothing.
fn texts(name: &str, value: &Value) -> Result<Vec<String>, String> {
    let wrong = || format!("{name} is not an array of texts");
    let values = match value {
        Value::Null => &[],
        Value::String(_) => std::slice::from_ref(value),
        Value::Array(values) => values.as_slice(),
        _ => return Err(wrong()),
    };
    let text = |value: &Value| {
        let text = value.as_str().ok_or_else(wrong)?;
        if text.contains('\0') { Err(format!("{name} holds a zero byte")) } else { Ok(text.to_owned()) }
    };
    values.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn env_and_arguments_are_read_and_containers_matters_are_told() {
        let options = Options::read(&json!({
            "HostConfig": {"Binds": ["/a:/b"]}, "Env": ["A=1", "B=x=y", "C"],
            "Entrypoint": ["--first"], "Cmd": ["a b"], "ExposedPorts": {}, "Labels": {},
        }))
        .unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(options.env, [pair("A", "1"), pair("B", "x=y")]);
        assert_eq!(options.arguments, ["--first", "a b"]);
        assert_eq!(options.ignored, ["HostConfig", "ExposedPorts", "Labels"]);
    }

    #[test]
    fn garbage_is_refused_and_nothing_is_nothing() {
        for nothing in [json!(null), json!({}), json!({"Env": null, "Cmd": null})] {
            assert_eq!(Options::read(&nothing).unwrap(), Options::default());
        }
        for garbage in
            [json!([]), json!("x"), json!({"Env": {"A": 1}}), json!({"Cmd": [1]}), json!({"Env": ["a=\0"]})]
        {
            assert!(Options::read(&garbage).is_err(), "{garbage}");
        }
    }
}
