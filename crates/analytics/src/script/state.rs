//! The state of a user's aggregate outside of its sandbox.

use super::convert::{self, Budget, Problem, fields, is_instance, is_plain, items};
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use rquickjs::function::{Constructor, This};
use rquickjs::{Array, Ctx, Function, Object, Value as Js};
use std::sync::Arc;

/// What `this` of an aggregate has in it, but for its methods.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct State(Vec<(Arc<str>, Kept)>);

/// A value of a script. It has more than queries have: a minimum begins with `Infinity`.
#[derive(Debug, Clone, PartialEq)]
enum Kept {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(Arc<str>),
    /// Milliseconds; `NaN` is no date.
    Date(f64),
    Array(Vec<Kept>),
    Object(Vec<(Arc<str>, Kept)>),
    Map(Vec<(Kept, Kept)>),
    Set(Vec<Kept>),
}

impl State {
    /// Takes it out of an object.
    pub(super) fn of(this: &Object<'_>) -> Result<Self, Problem> {
        let mut budget = Budget::new();
        let own = fields(this)?.into_iter().filter(|(_, value)| !value.is_function());
        Ok(Self(
            own.map(|(name, value)| Ok((name, take(&value, &mut budget)?)))
                .collect::<Result<_, Problem>>()?,
        ))
    }

    /// Puts it into an object.
    pub(super) fn restore<'js>(&self, ctx: &Ctx<'js>, this: &Object<'js>) -> Result<(), Problem> {
        self.0.iter().try_for_each(|(name, kept)| convert::set(this, name, kept.value(ctx)?))
    }

    /// About how many bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        self.0.iter().map(|(name, kept)| name.len() + kept.weight()).sum()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        write_fields(&self.0, out);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        read_fields(from, 0).map(Self)
    }
}

fn take(value: &Js<'_>, budget: &mut Budget) -> Result<Kept, Problem> {
    budget.spend()?;
    if let Some(bool) = value.as_bool() {
        return Ok(Kept::Bool(bool));
    }
    if let Some(number) = value.as_number() {
        return Ok(Kept::Number(number));
    }
    if let Some(text) = value.as_string() {
        return Ok(Kept::Text(text.to_string()?.into()));
    }
    if value.is_null() {
        return Ok(Kept::Null);
    }
    if value.is_undefined() {
        return Ok(Kept::Undefined);
    }
    let Some(object) = value.as_object() else { return Err(convert::unsupported("the state has", value)) };
    if value.is_array() {
        return budget.deeper(|budget| Ok(Kept::Array(take_all(items(object)?, budget)?)));
    }
    if is_instance(object, "Date")? {
        return Ok(Kept::Date(convert::millis(object)?));
    }
    if is_instance(object, "Set")? {
        return budget.deeper(|budget| Ok(Kept::Set(take_all(entries(object)?, budget)?)));
    }
    if is_instance(object, "Map")? {
        return budget.deeper(|budget| {
            let entry = |entry: Js<'_>| {
                match take(&entry, budget)? {
                    Kept::Array(pair) => {
                        <[Kept; 2]>::try_from(pair).map(<(Kept, Kept)>::from).map_err(|_| entry)
                    }
                    _ => Err(entry),
                }
                .map_err(|entry| convert::unsupported("the state has", &entry))
            };
            Ok(Kept::Map(entries(object)?.into_iter().map(entry).collect::<Result<_, _>>()?))
        });
    }
    if !is_plain(object)? {
        return Err(convert::unsupported("the state has", value));
    }
    budget.deeper(|budget| {
        let fields = fields(object)?.into_iter();
        Ok(Kept::Object(
            fields.map(|(name, value)| Ok((name, take(&value, budget)?))).collect::<Result<_, Problem>>()?,
        ))
    })
}

fn take_all(values: Vec<Js<'_>>, budget: &mut Budget) -> Result<Vec<Kept>, Problem> {
    values.iter().map(|value| take(value, budget)).collect()
}

/// What a `Map` or `Set` gives one after the other.
fn entries<'js>(object: &Object<'js>) -> Result<Vec<Js<'js>>, Problem> {
    let array: Object<'js> = object.ctx().globals().get("Array")?;
    let from: Function<'js> = array.get("from")?;
    let list: Object<'js> = from.call((This(array), object.clone()))?;
    items(&list)
}

impl Kept {
    fn value<'js>(&self, ctx: &Ctx<'js>) -> Result<Js<'js>, Problem> {
        let array = |items: &[Self]| {
            let array = Array::new(ctx.clone())?;
            for (index, item) in items.iter().enumerate() {
                array.set(index, item.value(ctx)?)?;
            }
            Ok::<_, Problem>(array)
        };
        let class = |name: &str, content: Array<'js>| {
            let class: Constructor<'js> = ctx.globals().get(format!("\u{1}{name}"))?;
            Ok::<_, Problem>(class.construct::<_, Js<'js>>((content,))?)
        };
        Ok(match self {
            Self::Undefined => Js::new_undefined(ctx.clone()),
            Self::Null => Js::new_null(ctx.clone()),
            Self::Bool(bool) => Js::new_bool(ctx.clone(), *bool),
            Self::Number(number) => Js::new_float(ctx.clone(), *number),
            Self::Text(text) => convert::text_value(ctx, text)?,
            Self::Date(millis) => convert::date(ctx, *millis)?,
            Self::Array(items) => array(items)?.into_value(),
            Self::Object(fields) => {
                let object = Object::new(ctx.clone())?;
                for (name, kept) in fields {
                    convert::set(&object, name, kept.value(ctx)?)?;
                }
                object.into_value()
            }
            Self::Set(items) => class("Set", array(items)?)?,
            Self::Map(entries) => {
                let pairs = Array::new(ctx.clone())?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    let pair = Array::new(ctx.clone())?;
                    pair.set(0, key.value(ctx)?)?;
                    pair.set(1, value.value(ctx)?)?;
                    pairs.set(index, pair)?;
                }
                class("Map", pairs)?
            }
        })
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Text(text) => text.len(),
                Self::Array(items) | Self::Set(items) => items.iter().map(Self::weight).sum(),
                Self::Object(fields) => fields.iter().map(|(name, kept)| name.len() + kept.weight()).sum(),
                Self::Map(entries) => entries.iter().map(|(key, value)| key.weight() + value.weight()).sum(),
                _ => 0,
            }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Undefined => out.byte(0),
            Self::Null => out.byte(1),
            Self::Bool(false) => out.byte(2),
            Self::Bool(true) => out.byte(3),
            Self::Number(number) => {
                out.byte(4);
                out.float(*number);
            }
            Self::Text(text) => {
                out.byte(5);
                out.text(text);
            }
            Self::Date(millis) => {
                out.byte(6);
                out.float(*millis);
            }
            Self::Array(items) => {
                out.byte(7);
                out.size(items.len());
                items.iter().for_each(|item| item.write(out));
            }
            Self::Object(fields) => {
                out.byte(8);
                write_fields(fields, out);
            }
            Self::Map(entries) => {
                out.byte(9);
                out.size(entries.len());
                for (key, value) in entries {
                    key.write(out);
                    value.write(out);
                }
            }
            Self::Set(items) => {
                out.byte(10);
                out.size(items.len());
                items.iter().for_each(|item| item.write(out));
            }
        }
    }

    fn read(from: &mut Reader<'_>, depth: usize) -> Result<Self, SnapshotError> {
        // Deeper than anything that was taken out of a sandbox.
        if depth > crate::value::json::MAX_DEPTH + 1 {
            return Err(SnapshotError::Damaged("the state of a function"));
        }
        let list = |from: &mut Reader<'_>| {
            (0..from.size()?).map(|_| Self::read(from, depth + 1)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match from.byte()? {
            0 => Self::Undefined,
            1 => Self::Null,
            2 => Self::Bool(false),
            3 => Self::Bool(true),
            4 => Self::Number(from.float()?),
            5 => Self::Text(from.text()?.into()),
            6 => Self::Date(from.float()?),
            7 => Self::Array(list(from)?),
            8 => Self::Object(read_fields(from, depth + 1)?),
            9 => {
                let entries = from.size()?;
                let entry = |_| Ok((Self::read(from, depth + 1)?, Self::read(from, depth + 1)?));
                Self::Map((0..entries).map(entry).collect::<Result<_, SnapshotError>>()?)
            }
            10 => Self::Set(list(from)?),
            _ => return Err(SnapshotError::Damaged("the state of a function")),
        })
    }
}

fn write_fields(fields: &[(Arc<str>, Kept)], out: &mut Writer) {
    out.size(fields.len());
    for (name, kept) in fields {
        out.name(name);
        kept.write(out);
    }
}

fn read_fields(from: &mut Reader<'_>, depth: usize) -> Result<Vec<(Arc<str>, Kept)>, SnapshotError> {
    (0..from.size()?).map(|_| Ok((from.name()?, Kept::read(from, depth)?))).collect()
}
