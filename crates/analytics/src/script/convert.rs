//! Values of the query in scripts, and back.

use crate::value::json::MAX_DEPTH;
use crate::value::{DateTime, Record, Value};
use rquickjs::function::Constructor;
use rquickjs::object::{Filter, Property};
use rquickjs::{Array, Ctx, Error, Object, String as Text, Value as Js};
use std::sync::Arc;

/// Where the sandbox keeps the constructor of dates.
pub(super) const DATE: &str = "\u{1}Date";

/// Why a value does not go over.
#[derive(Debug)]
pub(super) enum Problem {
    /// The engine says so, or something that it ran.
    Engine(Error),
    /// It is none of a query.
    Unsupported(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// How much may come out of the sandbox at once: an object can stand in itself, or a thousand times in another one.
#[derive(Debug)]
pub(super) struct Budget {
    values: usize,
    depth: usize,
}

/// How many values.
const MAX_VALUES: usize = 1 << 20;

impl Budget {
    pub(super) fn new() -> Self {
        Self { values: MAX_VALUES, depth: 0 }
    }

    pub(super) fn spend(&mut self) -> Result<(), Problem> {
        self.values = self.values.checked_sub(1).ok_or_else(|| {
            Problem::Unsupported(format!("it gave more than {MAX_VALUES} values at once; give fewer"))
        })?;
        Ok(())
    }

    /// Does something one level deeper.
    pub(super) fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        if self.depth == MAX_DEPTH {
            let message = "objects and arrays stand too deep in each other, or in themselves".to_owned();
            return Err(Problem::Unsupported(message));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }
}

/// A value as a script sees it.
pub(super) fn to_script<'js>(ctx: &Ctx<'js>, value: &Value) -> Result<Js<'js>, Problem> {
    Ok(match value {
        Value::Null => Js::new_null(ctx.clone()),
        Value::Bit(bit) => Js::new_bool(ctx.clone(), *bit),
        Value::BigInt(number) => Js::new_number(ctx.clone(), *number as f64),
        Value::Float(number) => Js::new_float(ctx.clone(), *number),
        Value::NVarchar(text) => text_value(ctx, text)?,
        Value::DateTime(time) => date(ctx, time.unix_millis() as f64)?,
        Value::Record(record) => {
            let object = Object::new(ctx.clone())?;
            for (name, value) in record.iter() {
                set(&object, name, to_script(ctx, value)?)?;
            }
            object.into_value()
        }
        Value::Array(items) => {
            let array = Array::new(ctx.clone())?;
            for (index, item) in items.iter().enumerate() {
                array.set(index, to_script(ctx, item)?)?;
            }
            array.into_value()
        }
    })
}

pub(super) fn text_value<'js>(ctx: &Ctx<'js>, text: &str) -> Result<Js<'js>, Problem> {
    Ok(Text::from_str(ctx.clone(), text)?.into_value())
}

/// A `Date`, so many milliseconds behind 1970.
pub(super) fn date<'js>(ctx: &Ctx<'js>, millis: f64) -> Result<Js<'js>, Problem> {
    let constructor: Constructor<'js> = ctx.globals().get(DATE)?;
    Ok(constructor.construct::<_, Js<'js>>((millis,))?)
}

/// Sets a field; one called `__proto__` is a field like others.
pub(super) fn set<'js>(object: &Object<'js>, name: &str, value: Js<'js>) -> Result<(), Problem> {
    if name == "__proto__" {
        object.prop(name, Property::from(value).writable().enumerable().configurable())?;
    } else {
        object.set(name, value)?;
    }
    Ok(())
}

/// What a script gave, as a value of the query.
pub(super) fn from_script(value: &Js<'_>, budget: &mut Budget) -> Result<Value, Problem> {
    budget.spend()?;
    if let Some(bit) = value.as_bool() {
        return Ok(Value::Bit(bit));
    }
    if let Some(number) = value.as_number() {
        return Ok(number_value(number));
    }
    if let Some(text) = value.as_string() {
        return Ok(text.to_string()?.into());
    }
    if value.is_null() || value.is_undefined() {
        return Ok(Value::Null);
    }
    match value.as_object() {
        Some(object) if value.is_array() => budget.deeper(|budget| {
            let list =
                items(object)?.iter().map(|item| from_script(item, budget)).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::from(list))
        }),
        Some(object) if is_instance(object, "Date")? => {
            let millis = millis(object)?;
            Ok((millis.is_finite()).then(|| DateTime::from_unix_millis(millis as i64)).flatten().into())
        }
        Some(object) if is_plain(object)? => budget.deeper(|budget| {
            let mut record = Record::default();
            for (name, value) in fields(object)? {
                record.push(name, from_script(&value, budget)?);
            }
            Ok(Value::from(record))
        }),
        _ => Err(unsupported("it gave", value)),
    }
}

/// A whole number that fits is a `bigint`.
fn number_value(number: f64) -> Value {
    const BEHIND: f64 = 9_223_372_036_854_775_808.0;
    if !number.is_finite() {
        Value::Null
    } else if number.fract() == 0.0 && (-BEHIND..BEHIND).contains(&number) {
        Value::BigInt(number as i64)
    } else {
        Value::Float(number)
    }
}

pub(super) fn unsupported(who: &str, value: &Js<'_>) -> Problem {
    let what = match value.type_name() {
        "object" => "an object of a class",
        other => other,
    };
    Problem::Unsupported(format!(
        "{who} something of type {what}; a value is null, a boolean, number, string, Date, array or plain object"
    ))
}

/// The items of an array.
pub(super) fn items<'js>(array: &Object<'js>) -> Result<Vec<Js<'js>>, Problem> {
    let Some(array) = array.as_array() else { return Ok(Vec::new()) };
    Ok(array.iter::<Js<'js>>().collect::<Result<_, _>>()?)
}

/// The fields of an object, in their order.
pub(super) fn fields<'js>(object: &Object<'js>) -> Result<Vec<(Arc<str>, Js<'js>)>, Problem> {
    let fields = object.own_props::<String, Js<'js>>(Filter::new().string().enum_only());
    Ok(fields.map(|field| field.map(|(name, value)| (Arc::from(name), value))).collect::<Result<_, _>>()?)
}

/// Whether an object is of a class that the sandbox has kept from the beginning.
pub(super) fn is_instance(object: &Object<'_>, class: &str) -> Result<bool, Problem> {
    let class: Js<'_> = object.ctx().globals().get(format!("\u{1}{class}"))?;
    Ok(object.is_instance_of(class))
}

/// Whether an object has fields and nothing else to it.
pub(super) fn is_plain(object: &Object<'_>) -> Result<bool, Problem> {
    let value = object.as_value();
    let other = value.is_function() || value.is_error() || value.is_promise() || value.is_proxy();
    Ok(!other && !is_instance(object, "Map")? && !is_instance(object, "Set")?)
}

/// What a `Date` counts.
pub(super) fn millis(date: &Object<'_>) -> Result<f64, Problem> {
    let method: rquickjs::Function<'_> = date.get("getTime")?;
    Ok(method.call((rquickjs::function::This(date.clone()),))?)
}
