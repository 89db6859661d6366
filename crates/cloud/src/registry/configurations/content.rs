//! What a configuration says, and what becomes of a twin that several are for.

use super::super::error::Error;
use ironbrook_model::twin::Object;
use ironbrook_model::{ErrorCode, ModuleId, Refusal};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The part of a twin a configuration may set, and the start of every path.
const DESIRED: &str = "properties.desired";
/// The module whose whole desired properties make a deployment a base for others.
const AGENT: &str = "$edgeAgent";
/// Where the agent's module entries are.
const ENTRIES: [&str; 2] = ["modules", "systemModules"];
/// Sections of a content at most, so that composing stays cheap.
const SECTIONS_MAX: usize = 1000;

/// A part of desired properties and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    /// Names below `properties.desired`; none for all of it.
    pub path: Vec<String>,
    /// The value; an object where the path is empty.
    pub value: Value,
}

/// Sections of one twin, wholes first.
pub(super) type Sections = Vec<Section>;

/// What a configuration says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// `modulesContent`: modules of edge devices.
    Edge(BTreeMap<ModuleId, Sections>),
    /// `deviceContent`: twins of devices.
    Device(Sections),
    /// `moduleContent`: twins of modules.
    Module(Sections),
}

impl Content {
    /// Reads `{"modulesContent": …}`, `{"deviceContent": …}` or `{"moduleContent": …}`. 400402 with the place where it is
    /// something else.
    pub fn read(content: &Value) -> Result<Self, Refusal> {
        let Value::Object(content) = content else { return Err(invalid("content is no object")) };
        // The others may stand there empty, as some clients write them.
        let is_filled = |value: &&Value| !value.is_null() && value.as_object().is_none_or(|o| !o.is_empty());
        let given = |name: &str| content.get(name).filter(is_filled);
        match (given("modulesContent"), given("deviceContent"), given("moduleContent")) {
            (Some(modules), None, None) => edge(modules),
            (None, Some(device), None) => Ok(Self::Device(sections("deviceContent", device)?)),
            (None, None, Some(module)) => Ok(Self::Module(sections("moduleContent", module)?)),
            (None, None, None) => {
                Err(invalid("content needs modulesContent, deviceContent or moduleContent"))
            }
            _ => Err(invalid("content has more than one of modulesContent, deviceContent and moduleContent")),
        }
    }

    /// With the id of its configuration in each module entry that it writes whole. rule CONF-07
    pub fn signed(mut self, id: &str) -> Self {
        if let Self::Edge(modules) = &mut self {
            let agent = modules.iter_mut().filter(|(module, _)| module.as_str() == AGENT);
            agent.flat_map(|(_, sections)| sections).for_each(|section| section.sign(id));
        }
        self
    }

    /// Whether it is a whole deployment, on which layers may stand.
    pub fn is_base(&self) -> bool {
        let Self::Edge(modules) = self else { return false };
        let mut whole = modules.iter().filter(|(module, _)| module.as_str() == AGENT);
        whole.any(|(_, sections)| sections.iter().any(|section| section.path.is_empty()))
    }
}

fn edge(modules: &Value) -> Result<Content, Refusal> {
    let Value::Object(modules) = modules else { return Err(invalid("modulesContent is no object")) };
    let mut read = BTreeMap::new();
    for (name, of_module) in modules {
        let at = format!("modulesContent.{name}");
        let module = ModuleId::new(name.as_str()).map_err(|error| invalid(format!("{at}: {error}")))?;
        read.insert(module, sections(&at, of_module)?);
    }
    Ok(Content::Edge(read))
}

fn sections(at: &str, value: &Value) -> Result<Sections, Refusal> {
    let Value::Object(object) = value else { return Err(invalid(format!("{at} is no object"))) };
    if object.len() > SECTIONS_MAX {
        return Err(invalid(format!("{at} has more than {SECTIONS_MAX} sections")));
    }
    let mut read = Vec::with_capacity(object.len());
    for (key, value) in object {
        let rest = key
            .strip_prefix(DESIRED)
            .ok_or_else(|| invalid(format!("{at}: {key} cannot be set; sections begin with {DESIRED}")))?;
        let path: Vec<String> = match rest.strip_prefix('.') {
            None if rest.is_empty() => Vec::new(),
            Some(path) if path.split('.').all(|name| !name.is_empty()) => {
                path.split('.').map(str::to_owned).collect()
            }
            _ => return Err(invalid(format!("{at}: {key} is no path below {DESIRED}"))),
        };
        if path.is_empty() && !value.is_object() || value.is_null() {
            return Err(invalid(format!("{at}: the value of {key} is no object")));
        }
        read.push(Section { path, value: value.clone() });
    }
    read.sort_by_key(|section| section.path.len());
    Ok(read)
}

pub(super) fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidConfigurationContent, text.into())
}

impl Section {
    fn sign(&mut self, id: &str) {
        let each = |entries: &mut Value| {
            entries.as_object_mut().into_iter().flatten().for_each(|(_, entry)| sign_entry(entry, id));
        };
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        match path[..] {
            [] => {
                for name in ENTRIES {
                    if let Some(entries) = self.value.get_mut(name) {
                        each(entries);
                    }
                }
            }
            [name] if ENTRIES.contains(&name) => each(&mut self.value),
            [name, _] if ENTRIES.contains(&name) => sign_entry(&mut self.value, id),
            _ => {}
        }
    }

    fn put(&self, target: &mut Object) {
        let Some((last, above)) = self.path.split_last() else {
            if let Value::Object(whole) = &self.value {
                target.clone_from(whole);
            }
            return;
        };
        let mut place = target;
        for name in above {
            let inner = place.entry(name.as_str()).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            let Value::Object(inner) = inner else { return };
            place = inner;
        }
        place.insert(last.clone(), self.value.clone());
    }
}

fn sign_entry(entry: &mut Value, id: &str) {
    if let Value::Object(entry) = entry {
        entry.insert("configuration".to_owned(), json!({ "id": id }));
    }
}

/// Desired properties after all layers, the strongest last.
pub(super) fn composed(current: &Object, layers: &[&[Section]]) -> Object {
    let mut target = current.clone();
    layers.iter().flat_map(|layer| layer.iter()).for_each(|section| section.put(&mut target));
    target
}

/// Whether anything of a layer is left under those above it. rule CONF-05
pub(super) fn stands(layer: &[Section], above: &[&[Section]]) -> bool {
    let covered = |section: &Section| {
        above.iter().flat_map(|layer| layer.iter()).any(|other| section.path.starts_with(&other.path))
    };
    layer.iter().any(|section| !covered(section))
}

/// A content as stored; it was read before it was stored.
pub(super) fn stored(content: &Value) -> Result<Content, Error> {
    Content::read(content)
        .map_err(|refusal| Error::Stored { what: "configuration", why: refusal.message.into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn device(value: Value) -> Sections {
        match Content::read(&json!({ "deviceContent": value })).unwrap() {
            Content::Device(sections) => sections,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn contents_are_read_and_faults_name_their_place() {
        let base =
            json!({"modulesContent": {"$edgeAgent": {"properties.desired": {"a": 1}}}, "deviceContent": {}});
        assert!(Content::read(&base).unwrap().is_base());
        let layer = json!({"modulesContent": {"$edgeAgent": {"properties.desired.modules.x": {}}}});
        assert!(!Content::read(&layer).unwrap().is_base());
        let module = json!({"moduleContent": {"properties.desired.x": 1}});
        assert!(matches!(Content::read(&module).unwrap(), Content::Module(_)));
        for (content, place) in [
            (json!(1), "content is no object"),
            (json!({}), "needs modulesContent"),
            (
                json!({"deviceContent": {"properties.desired.x": 1}, "moduleContent": {"properties.desired.x": 1}}),
                "more than one",
            ),
            (json!({"modulesContent": {"a b": {}}}), "modulesContent.a b"),
            (json!({"deviceContent": {"tags.x": 1}}), "tags.x cannot be set"),
            (json!({"deviceContent": {"properties.desired..x": 1}}), "no path"),
            (json!({"deviceContent": {"properties.desiredx": 1}}), "no path"),
            (json!({"deviceContent": {"properties.desired": 1}}), "no object"),
            (json!({"deviceContent": {"properties.desired.x": null}}), "no object"),
        ] {
            let refusal = Content::read(&content).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidConfigurationContent);
            assert!(refusal.message.contains(place), "{} does not name {place}", refusal.message);
        }
    }

    // CONF-07
    #[test]
    fn conf_07_module_entries_name_the_configuration_that_wrote_them() {
        let signed = |id: &str, agent: Value| {
            let content = json!({"modulesContent": {"$edgeAgent": agent, "m": {"properties.desired": {"modules": {"x": {}}}}}});
            match Content::read(&content).unwrap().signed(id) {
                Content::Edge(modules) => modules.into_values().collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        };
        let base = signed(
            "base",
            json!({"properties.desired": {"modules": {"a": {"v": 1}}, "systemModules": {"edgeHub": {"v": 1}}, "runtime": {}}}),
        );
        let layer = signed(
            "layer",
            json!({"properties.desired.modules.b": {"v": 2}, "properties.desired.modules.a.env": {"X": 1}}),
        );
        let of = |id: &str| json!({ "id": id });
        assert_eq!(
            Value::Object(composed(&Object::new(), &[&base[0], &layer[0]])),
            json!({
                "modules": {
                    "a": {"v": 1, "configuration": of("base"), "env": {"X": 1}},
                    "b": {"v": 2, "configuration": of("layer")},
                },
                "systemModules": {"edgeHub": {"v": 1, "configuration": of("base")}},
                "runtime": {},
            })
        );
        assert_eq!(
            base[1][0].value,
            json!({"modules": {"x": {}}}),
            "another module's properties are its own"
        );
    }

    #[test]
    fn layers_are_put_over_each_other_the_strongest_last() {
        let current = json!({"own": 1, "s": {"a": 1, "gone": 1}, "t": 5}).as_object().cloned().unwrap();
        let (low, high) = (
            device(json!({"properties.desired.s": {"a": 2}, "properties.desired.t.u": 1})),
            device(json!({"properties.desired.s.a": 3, "properties.desired.v": [1]})),
        );
        let both = composed(&current, &[&low, &high]);
        assert_eq!(Value::Object(both), json!({"own": 1, "s": {"a": 3}, "t": {"u": 1}, "v": [1]}));
        let whole = device(json!({"properties.desired": {"x": 1}}));
        assert_eq!(Value::Object(composed(&current, &[&low, &whole])), json!({"x": 1}));
    }

    // CONF-05
    #[test]
    fn conf_05_a_layer_stands_while_something_of_it_is_left() {
        let low = device(json!({"properties.desired.s": 1, "properties.desired.t": 1}));
        let part = device(json!({"properties.desired.s": 2}));
        let deeper = device(json!({"properties.desired.s.a": 2, "properties.desired.t.a": 2}));
        let whole = device(json!({"properties.desired": {}}));
        assert!(stands(&low, &[]) && stands(&low, &[&part]) && stands(&low, &[&deeper]));
        assert!(!stands(&low, &[&whole]) && !stands(&part, &[&low]));
    }
}
