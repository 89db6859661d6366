//! From payloads to the events of one input: of each only what the query looks at.

use super::eval::View;
use super::policy::Policies;
use super::row::Part;
use crate::format::{Compression, EventReader, InputFormat, InputSerialization, ReadError};
use crate::query::Query;
use crate::value::{DateTime, JsonReader, Record, Wanted};
use std::sync::Arc;

/// Reads payloads of an input for [`Engine::push`](super::Engine::push). Fields that no operator looks at are checked and
/// passed over. Where a filter leaves out most events, it is asked before the rest of an event is read.
///
/// It belongs to one query: after [`Engine::replace`](super::Engine::replace) a new one is needed.
#[derive(Debug)]
pub struct Decoder {
    query: Arc<Query>,
    input: usize,
    reader: Reader,
    compression: Compression,
    /// The payload before compression.
    expanded: Vec<u8>,
}

#[derive(Debug)]
enum Reader {
    /// With how well glances do, where they are worth a try.
    Json(Box<JsonReader>, Option<Glance>),
    /// All of each event.
    Other(Box<dyn EventReader>),
}

/// Room for expanded payloads that is kept from one to the next.
const KEPT: usize = 1 << 20;

/// How well glances do.
#[derive(Debug, Default)]
struct Glance {
    looked: u32,
    wanted: u32,
    /// Events until the next try.
    pause: u32,
}

/// A glance costs nearly as much as half an event: it is given up where more than this part is wanted.
const WORTH_IT: f64 = 0.4;
/// After so many events it is looked how well glances do.
const TRIAL: u32 = 1024;
/// After so many it is tried again.
const PAUSE: u32 = 64 * TRIAL;

impl Decoder {
    /// For an input of JSON, as [`Query::input`] gives it.
    pub fn new(query: &Arc<Query>, input: usize, policies: &Policies) -> Self {
        Self::of(query, input, policies, InputFormat::default())
    }

    /// For an input, as [`Query::input`] gives it, of any format.
    pub fn of(query: &Arc<Query>, input: usize, policies: &Policies, format: InputFormat) -> Self {
        let reader = match format.serialization {
            InputSerialization::Json => json(query, input, policies),
            _ => {
                let format = InputFormat { compression: Compression::None, ..format };
                Reader::Other(format.reader(query.json_options()))
            }
        };
        Self { query: query.clone(), input, reader, compression: format.compression, expanded: Vec::new() }
    }

    /// Hands out each event of a payload in order, or why it has none, as [`EventReader::read`] does.
    pub fn read(&mut self, payload: &[u8], each: &mut dyn FnMut(Result<Arc<Record>, ReadError>)) {
        if self.compression == Compression::None {
            return self.read_expanded(payload, each);
        }
        let mut expanded = std::mem::take(&mut self.expanded);
        match self.compression.expand(payload, &mut expanded) {
            Ok(()) => self.read_expanded(&expanded, each),
            Err(error) => each(Err(error)),
        }
        if expanded.capacity() <= KEPT {
            self.expanded = expanded;
        }
    }

    fn read_expanded(&mut self, payload: &[u8], each: &mut dyn FnMut(Result<Arc<Record>, ReadError>)) {
        let (reader, glance) = match &mut self.reader {
            Reader::Json(reader, glance) => (reader, glance),
            Reader::Other(reader) => return reader.read(payload, each),
        };
        let Some(glance) = glance else {
            return reader.read(payload, &mut |event| each(event.map_err(ReadError::Json)));
        };
        if glance.pause > 0 {
            return reader.read(payload, &mut |event| {
                glance.pause = glance.pause.saturating_sub(1);
                each(event.map_err(ReadError::Json));
            });
        }
        let filters = self.query.plan().filters(self.input).unwrap_or_default();
        let mut wants = |event: &Arc<Record>| {
            let part = Part::new(DateTime::MIN, event.clone());
            let view = View::alone(&part);
            // What cannot be computed is an error of the whole event.
            let wanted = filters.iter().any(|filter| filter.test(&view).map_or(true, crate::ops::is_true));
            glance.looked += 1;
            glance.wanted += u32::from(wanted);
            wanted
        };
        reader.read_where(payload, &mut wants, &mut |event| each(event.map_err(ReadError::Json)));
        if glance.looked >= TRIAL {
            let part = f64::from(glance.wanted) / f64::from(glance.looked);
            let pause = if part > WORTH_IT { PAUSE } else { 0 };
            *glance = Glance { pause, ..Glance::default() };
        }
    }
}

/// A reader of what the query looks at.
fn json(query: &Arc<Query>, input: usize, policies: &Policies) -> Reader {
    let plan = query.plan();
    // Events that wait for their turn may meet another query, which looks at other fields.
    let waits = (!policies.out_of_order.is_zero() || policies.partitions > 1)
        && plan.readers.iter().any(|reader| reader.input == input && reader.timestamp.is_some());
    let known = plan.inputs.get(input).is_some_and(|input| !input.reference);
    let wanted = if waits || !known { Wanted::Whole } else { plan.wanted(input) };
    let mut reader = JsonReader::of(query.json_options(), wanted.clone());
    let mut glance = None;
    if wanted == Wanted::Whole
        && !waits
        && known
        && let Some(first) = plan.glance(input).filter(|first| *first != Wanted::Whole)
    {
        reader = reader.glancing_at(first);
        glance = Some(Glance::default());
    }
    Reader::Json(Box::new(reader), glance)
}
