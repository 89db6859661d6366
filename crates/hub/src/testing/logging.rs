//! What a test logs, as text.
//!
//! One subscriber for the whole program, from before the first line: tracing remembers for each place in the code whether
//! anybody listens, and with subscribers of single threads another test's thread may be asked that first and say no for all.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Once;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    /// The lines of the test in this thread, while it wants them.
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

struct Lines;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        LINES.with_borrow_mut(|lines| lines.as_mut().map(|lines| lines.push(text.0)));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Listens from now on. Every bench calls it before anything else.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Lines).unwrap());
}

/// Runs a future on this thread and returns what it logged.
pub(crate) async fn log_lines(work: impl Future<Output = ()>) -> Vec<String> {
    LINES.set(Some(Vec::new()));
    work.await;
    LINES.take().unwrap()
}
