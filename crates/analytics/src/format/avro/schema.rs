//! The schema of a container file, resolved: types by number.

use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How to read a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Boolean,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Enum(Vec<Arc<str>>),
    Fixed(usize),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<(Arc<str>, usize)>),
    /// A whole number of units since 1970.
    Time(Unit),
    /// An unscaled number, big-endian, of so many bytes or led by its length, and the digits of its fraction.
    Decimal(Option<usize>, u32),
}

/// What a time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Days,
    Millis,
    Micros,
    Nanos,
}

/// All types of a schema; the first is that of the file's objects.
#[derive(Debug, Default)]
pub(super) struct Schema {
    pub(super) nodes: Vec<Node>,
}

/// Types that a schema may have, with those in each other.
const MAX_TYPES: usize = 100_000;

impl Schema {
    /// Reads a schema. `name` makes the name of a field from that in the schema.
    pub(super) fn parse(json: &[u8], name: impl Fn(&str) -> Arc<str>) -> Result<Self, &'static str> {
        let json: Value = serde_json::from_slice(json).map_err(|_| "has a schema that is no JSON")?;
        let mut parser = Parser { schema: Self::default(), named: HashMap::new(), name: &name };
        parser.node(&json, "")?;
        Ok(parser.schema)
    }
}

struct Parser<'a> {
    schema: Schema,
    /// Types by full name.
    named: HashMap<String, usize>,
    name: &'a dyn Fn(&str) -> Arc<str>,
}

type Parsed<T> = Result<T, &'static str>;

impl Parser<'_> {
    /// Adds a type; its place.
    fn node(&mut self, json: &Value, namespace: &str) -> Parsed<usize> {
        match json {
            Value::String(name) => match primitive(name) {
                Some(node) => self.add(node),
                None => self.named(name, namespace),
            },
            Value::Array(branches) => {
                let place = self.add(Node::Null)?;
                let branches: Vec<usize> =
                    branches.iter().map(|branch| self.node(branch, namespace)).collect::<Parsed<_>>()?;
                if branches.iter().any(|branch| matches!(self.schema.nodes[*branch], Node::Union(_))) {
                    return Err("has a schema with a union in a union");
                }
                self.set(place, Node::Union(branches))
            }
            Value::Object(object) => self.object(object, namespace),
            _ => Err("has a schema with a type that is none"),
        }
    }

    fn add(&mut self, node: Node) -> Parsed<usize> {
        if self.schema.nodes.len() == MAX_TYPES {
            return Err("has a schema of too many types");
        }
        self.schema.nodes.push(node);
        Ok(self.schema.nodes.len() - 1)
    }

    fn set(&mut self, place: usize, node: Node) -> Parsed<usize> {
        self.schema.nodes[place] = node;
        Ok(place)
    }

    /// The place of a type that was defined before.
    fn named(&self, name: &str, namespace: &str) -> Parsed<usize> {
        let full = full_name(name, namespace);
        let place = self.named.get(&full).or_else(|| self.named.get(name));
        place.copied().ok_or("has a schema that names a type it does not define")
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Parsed<usize> {
        let ty = match object.get("type") {
            Some(Value::String(ty)) => ty.as_str(),
            // A type may stand in brackets of its own.
            Some(other) => return self.node(other, namespace),
            None => return Err("has a schema with an object without type"),
        };
        let place = self.add(Node::Null)?;
        let namespace = self.define(object, ty, namespace, place)?;
        let part = |name| object.get(name).ok_or("has a schema with a type that lacks a part");
        let node = match ty {
            "record" | "error" => {
                let Value::Array(fields) = part("fields")? else { return Err("has a record without fields") };
                Node::Record(self.fields(fields, &namespace)?)
            }
            "enum" => {
                let symbols = part("symbols")?.as_array().map(Vec::as_slice).unwrap_or_default();
                Node::Enum(symbols.iter().filter_map(Value::as_str).map(Arc::from).collect())
            }
            "array" => Node::Array(self.node(part("items")?, &namespace)?),
            "map" => Node::Map(self.node(part("values")?, &namespace)?),
            "fixed" => {
                let size = part("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or("has a schema with a fixed type of no size")?;
                logical(object, Node::Fixed(size))
            }
            primitive_type => match primitive(primitive_type) {
                Some(node) => logical(object, node),
                None => self.schema.nodes[self.named(primitive_type, &namespace)?].clone(),
            },
        };
        self.set(place, node)
    }

    /// Keeps a type that has a name; the namespace inside it.
    fn define(&mut self, object: &Map<String, Value>, ty: &str, outer: &str, place: usize) -> Parsed<String> {
        if !matches!(ty, "record" | "error" | "enum" | "fixed") {
            return Ok(outer.to_owned());
        }
        let text = |name| object.get(name).and_then(Value::as_str);
        let name = text("name").ok_or("has a schema with a type that lacks its name")?;
        let full = full_name(name, text("namespace").unwrap_or(outer));
        let namespace = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        match self.named.insert(full, place) {
            None => Ok(namespace),
            Some(_) => Err("has a schema that defines a type twice"),
        }
    }

    fn fields(&mut self, fields: &[Value], namespace: &str) -> Parsed<Vec<(Arc<str>, usize)>> {
        let mut seen = HashSet::new();
        fields
            .iter()
            .map(|field| {
                let name = field.get("name").and_then(Value::as_str).ok_or("has a field without name")?;
                let name = (self.name)(name);
                if !seen.insert(name.clone()) {
                    return Err("has a record with two fields of one name");
                }
                let ty = field.get("type").ok_or("has a field without type")?;
                Ok((name, self.node(ty, namespace)?))
            })
            .collect()
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn primitive(name: &str) -> Option<Node> {
    Some(match name {
        "null" => Node::Null,
        "boolean" => Node::Boolean,
        "int" | "long" => Node::Long,
        "float" => Node::Float,
        "double" => Node::Double,
        "bytes" => Node::Bytes,
        "string" => Node::Text,
        _ => return None,
    })
}

/// What a type means where it has a logical one; unknown ones mean nothing.
fn logical(object: &Map<String, Value>, node: Node) -> Node {
    let unit = match object.get("logicalType").and_then(Value::as_str) {
        Some("date") => Unit::Days,
        Some("timestamp-millis" | "local-timestamp-millis") => Unit::Millis,
        Some("timestamp-micros" | "local-timestamp-micros") => Unit::Micros,
        Some("timestamp-nanos" | "local-timestamp-nanos") => Unit::Nanos,
        Some("decimal") => {
            let scale = object.get("scale").and_then(Value::as_u64).unwrap_or(0);
            return match (&node, u32::try_from(scale)) {
                (Node::Bytes, Ok(scale)) => Node::Decimal(None, scale),
                (Node::Fixed(size), Ok(scale)) => Node::Decimal(Some(*size), scale),
                _ => node,
            };
        }
        _ => return node,
    };
    if node == Node::Long { Node::Time(unit) } else { node }
}
