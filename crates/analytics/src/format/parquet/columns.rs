//! From values to columns of leaves, in the way of the Dremel paper: for each leaf how deep its value is defined, and in
//! which of the lists around it it repeats.

use crate::format::shape::{Columns, Shape};
use crate::value::{Record, Value};
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::schema::types::{Type, TypePtr};
use std::sync::Arc;

/// A column, its fields or its items.
#[derive(Debug)]
pub(super) enum Kind {
    Leaf(LeafKind),
    Group(Vec<(Arc<str>, Kind)>),
    List(Box<Kind>),
}

/// What a leaf holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum LeafKind {
    Bit,
    Number,
    Float,
    Time,
    Text,
}

/// The values of a leaf over all rows.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) leaf: Leaf,
    pub(super) levels: Vec<i16>,
    /// Present in lists only.
    pub(super) repeats: Option<Vec<i16>>,
}

#[derive(Debug)]
pub(super) enum Leaf {
    Bits(Vec<bool>),
    Numbers(Vec<i64>),
    Floats(Vec<f64>),
    /// Microseconds since 1970.
    Times(Vec<i64>),
    Texts(Vec<ByteArray>),
}

/// Where a value stands.
#[derive(Debug, Clone, Copy)]
struct Depth {
    /// How many of what is around it are there.
    level: i16,
    /// Which of the lists around it goes on with it.
    repeat: i16,
    /// How many lists are around it.
    lists: i16,
}

impl Kind {
    pub(super) fn of_columns(columns: &Columns) -> Self {
        Self::Group(columns.iter().map(|(name, shape)| (name.clone(), Self::of(shape))).collect())
    }

    fn of(shape: &Shape) -> Self {
        let Shape { bit, bigint, float, text, datetime, record, array } = shape;
        let number = *bit || *bigint || *float;
        let scalar = number || *text || *datetime;
        match (record, array) {
            // A group without fields is none.
            (Some(columns), None) if !scalar && !columns.is_empty() && !columns.contains_key("") => {
                Self::of_columns(columns)
            }
            (None, Some(items)) if !scalar => Self::List(Box::new(Self::of(items))),
            (None, None) if *datetime && !number && !text => Self::Leaf(LeafKind::Time),
            (None, None) if number && !datetime && !text => Self::Leaf(match (*float, *bigint) {
                (true, _) => LeafKind::Float,
                (false, true) => LeafKind::Number,
                (false, false) => LeafKind::Bit,
            }),
            _ => Self::Leaf(LeafKind::Text),
        }
    }

    /// Empty columns for all leaves.
    pub(super) fn cells(&self) -> Vec<Cells> {
        let mut cells = Vec::new();
        self.add_cells(false, &mut cells);
        cells
    }

    fn add_cells(&self, repeated: bool, cells: &mut Vec<Cells>) {
        match self {
            Self::Leaf(kind) => {
                let leaf = match kind {
                    LeafKind::Bit => Leaf::Bits(Vec::new()),
                    LeafKind::Number => Leaf::Numbers(Vec::new()),
                    LeafKind::Float => Leaf::Floats(Vec::new()),
                    LeafKind::Time => Leaf::Times(Vec::new()),
                    LeafKind::Text => Leaf::Texts(Vec::new()),
                };
                cells.push(Cells { leaf, levels: Vec::new(), repeats: repeated.then(Vec::new) });
            }
            Self::Group(fields) => fields.iter().for_each(|(_, kind)| kind.add_cells(repeated, cells)),
            Self::List(items) => items.add_cells(true, cells),
        }
    }

    /// Adds a row to the columns; the row itself is always there.
    pub(super) fn shred_row(&self, row: &Record, cells: &mut [Cells]) {
        let Self::Group(fields) = self else { return };
        let mut cells = cells.iter_mut();
        for (name, kind) in fields {
            let value = row.get(name).unwrap_or(&Value::Null);
            kind.shred(value, Depth { level: 0, repeat: 0, lists: 0 }, &mut cells);
        }
    }

    /// Adds a value to the columns of its leaves, which are the next ones.
    fn shred(&self, value: &Value, at: Depth, cells: &mut std::slice::IterMut<'_, Cells>) {
        let inside = Depth { level: at.level + 1, ..at };
        match (self, value) {
            (Self::Leaf(_), _) => {
                let Some(cells) = cells.next() else { return };
                let there = cells.leaf.push(value);
                cells.place(if there { inside } else { at });
            }
            (Self::Group(fields), Value::Record(record)) => {
                for (name, kind) in fields {
                    kind.shred(record.get(name).unwrap_or(&Value::Null), inside, cells);
                }
            }
            (Self::List(items), Value::Array(list)) if !list.is_empty() => {
                let leaves = items.leaves();
                let own = std::mem::take(cells).into_slice();
                let (own, rest) = own.split_at_mut(leaves.min(own.len()));
                *cells = rest.iter_mut();
                for (index, item) in list.iter().enumerate() {
                    let lists = at.lists + 1;
                    let repeat = if index == 0 { at.repeat } else { lists };
                    items.shred(item, Depth { level: at.level + 2, repeat, lists }, &mut own.iter_mut());
                }
            }
            // An empty list is there; a missing one, or a missing group, is not.
            (Self::Group(_) | Self::List(_), _) => {
                let at = if matches!(value, Value::Array(_)) { inside } else { at };
                cells.take(self.leaves()).for_each(|cells| cells.place(at));
            }
        }
    }

    fn leaves(&self) -> usize {
        match self {
            Self::Leaf(_) => 1,
            Self::Group(fields) => fields.iter().map(|(_, kind)| kind.leaves()).sum(),
            Self::List(items) => items.leaves(),
        }
    }

    /// The schema of a file of such rows.
    pub(super) fn schema(&self) -> Result<TypePtr, ParquetError> {
        let fields = match self {
            Self::Group(fields) => {
                fields.iter().map(|(name, kind)| kind.ty(name)).collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        Type::group_type_builder("row").with_fields(fields).build().map(Arc::new)
    }

    fn ty(&self, name: &str) -> Result<TypePtr, ParquetError> {
        let optional = Repetition::OPTIONAL;
        let group = Type::group_type_builder(name).with_repetition(optional);
        let ty = match self {
            Self::Leaf(kind) => {
                let (physical, logical) = match kind {
                    LeafKind::Bit => (Physical::BOOLEAN, None),
                    LeafKind::Number => (Physical::INT64, None),
                    LeafKind::Float => (Physical::DOUBLE, None),
                    LeafKind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
                    LeafKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
                };
                Type::primitive_type_builder(name, physical)
                    .with_repetition(optional)
                    .with_logical_type(logical)
                    .build()?
            }
            Self::Group(fields) => {
                let fields = fields.iter().map(|(name, kind)| kind.ty(name)).collect::<Result<_, _>>()?;
                group.with_fields(fields).build()?
            }
            Self::List(items) => {
                let list = Type::group_type_builder("list")
                    .with_repetition(Repetition::REPEATED)
                    .with_fields(vec![items.ty("element")?])
                    .build()?;
                group.with_logical_type(Some(LogicalType::List)).with_fields(vec![Arc::new(list)]).build()?
            }
        };
        Ok(Arc::new(ty))
    }
}

impl Cells {
    fn place(&mut self, at: Depth) {
        self.levels.push(at.level);
        if let Some(repeats) = &mut self.repeats {
            repeats.push(at.repeat);
        }
    }
}

impl Leaf {
    /// Adds a value; whether there is one.
    fn push(&mut self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null) => return false,
            (Self::Bits(bits), _) => bits.push(value.to_bit().unwrap_or_default()),
            (Self::Numbers(numbers), _) => numbers.push(value.to_bigint().unwrap_or_default()),
            (Self::Floats(floats), _) => floats.push(value.to_float().unwrap_or_default()),
            (Self::Times(times), Value::DateTime(time)) => times.push(time.unix_micros()),
            (Self::Times(_), _) => return false,
            (Self::Texts(texts), _) => {
                let text = value.to_text().unwrap_or_else(|| value.to_json());
                texts.push(text.into_bytes().into());
            }
        }
        true
    }
}
