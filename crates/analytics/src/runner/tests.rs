use super::*;
use crate::query::Options;
use proptest::prelude::*;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

/// Runs a future whose parts never wait.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("something waits in a test without time"),
    }
}

/// Messages in memory; a position is a number of messages.
struct Stored {
    messages: Vec<Message<String>>,
    at: usize,
    batch: usize,
    done: Arc<Mutex<usize>>,
}

impl Source for Stored {
    type Body = String;

    async fn seek(&mut self, position: Option<&Position>) -> Result<(), BoxError> {
        self.at = position.map_or(0, |position| usize::from(position.0[0]));
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Batch<String>>, BoxError> {
        if self.at == self.messages.len() {
            return Ok(None);
        }
        let end = (self.at + self.batch).min(self.messages.len());
        let messages = self.messages[self.at..end].to_vec();
        self.at = end;
        // The clock stands just where the last message came in.
        let now = messages.last().map(|message| message.arrival);
        Ok(Some(Batch { messages, position: Some(Position(vec![end as u8])), now }))
    }

    async fn done(&mut self, position: &Position) -> Result<(), BoxError> {
        *self.done.lock().unwrap() = usize::from(position.0[0]);
        Ok(())
    }
}

/// What outlives a kill, and when that comes.
#[derive(Default)]
struct World {
    saved: Option<Saved>,
    rows: Vec<(DateTime, String)>,
    calls: usize,
    kill_at: usize,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    /// Counts calls outside; the chosen one never comes back.
    fn call(&self) -> Result<(), BoxError> {
        let mut world = self.0.lock().unwrap();
        world.calls += 1;
        if world.calls == world.kill_at { Err("killed".into()) } else { Ok(()) }
    }
}

impl Sink for Shared {
    async fn write(&mut self, _: &Query, rows: Vec<OutputRow>) -> Result<(), BoxError> {
        let text = |row: OutputRow| (row.timestamp, crate::value::Value::Record(row.record).to_json());
        self.0.lock().unwrap().rows.extend(rows.into_iter().map(text));
        self.call()
    }
}

impl Checkpoint for Shared {
    async fn load(&mut self) -> Result<Option<Saved>, BoxError> {
        Ok(self.0.lock().unwrap().saved.clone())
    }

    async fn save(&mut self, saved: Saved) -> Result<(), BoxError> {
        self.call()?;
        self.0.lock().unwrap().saved = Some(saved);
        self.call()
    }
}

fn query(text: &str) -> Arc<Query> {
    Arc::new(Query::compile(text, &Options::default()).unwrap())
}

#[test]
fn inputs_are_read_in_their_formats_and_bad_events_counted_by_kind() {
    use crate::engine::DataErrorKind;
    use crate::format::{Compression, Delimiter, InputSerialization};
    let serialization = InputSerialization::Csv { delimiter: Delimiter::Semicolon, header: true };
    let format = |compression| InputFormat { serialization, compression };
    let message = |input: &str, body: &str| Message {
        input: input.into(),
        arrival: DateTime::parse("2026-01-01").unwrap(),
        body: body.to_owned(),
    };
    let messages = vec![
        message("i", "k;v\n1;x\n2\n3;y\n"),
        message("i", "k;k\n1;1\n"),
        message("j", r#"{"k":"j","v":null}"#),
        message("packed", "k;v\n1;x\n"),
    ];
    let source = Stored { messages, at: 0, batch: 1, done: Arc::default() };
    let world = Shared(Arc::default());
    let text = "SELECT k, v INTO o FROM i SELECT k, v INTO o FROM j SELECT k, v INTO o FROM packed";
    let formats: InputFormats =
        [("I".into(), format(Compression::None)), ("packed".into(), format(Compression::GZip))]
            .into_iter()
            .collect();
    let start = Runner::start(query(text), Policies::default(), source, world.clone(), world.clone());
    let mut runner = block_on(start).unwrap().with_formats(formats);
    block_on(runner.run()).unwrap();
    let rows: Vec<String> = world.0.lock().unwrap().rows.iter().map(|(_, row)| row.clone()).collect();
    assert_eq!(rows, [r#"{"k":"1","v":"x"}"#, r#"{"k":"3","v":"y"}"#, r#"{"k":"j","v":null}"#]);
    let count = |kind| runner.engine().data_errors().count(kind);
    assert_eq!(count(DataErrorKind::InvalidData), 1);
    assert_eq!(count(DataErrorKind::InvalidHeader), 1);
    assert_eq!(count(DataErrorKind::InvalidCompressionType), 1);
}

const COUNTED: &str =
    "SELECT k, COUNT(*) AS n, SUM(v) AS s INTO o FROM i TIMESTAMP BY t GROUP BY k, TumblingWindow(second, 4)";

/// Second `t` and delay of each event, in the order of sending.
fn messages(events: &[(u32, u32)]) -> Vec<Message<String>> {
    let mut arrival = 0;
    let message = |(number, (t, delay)): (usize, &(u32, u32))| {
        arrival = arrival.max(t + delay);
        let time = |second| format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
        Message {
            input: "I".into(),
            arrival: DateTime::parse(&time(arrival)).unwrap(),
            body: format!(r#"{{"k":{},"v":{number},"t":"{}"}}"#, number % 3, time(*t)),
        }
    };
    events.iter().enumerate().map(message).collect()
}

fn start(
    text: &str,
    messages: &[Message<String>],
    batch: usize,
    world: &Shared,
) -> Result<Runner<Stored, Shared, Shared>, RunError> {
    let source = Stored { messages: messages.to_vec(), at: 0, batch, done: Arc::default() };
    block_on(Runner::start(query(text), Policies::default(), source, world.clone(), world.clone()))
}

#[test]
fn the_source_is_told_only_what_is_saved() {
    let world = Shared(Arc::default());
    let mut runner = start(COUNTED, &messages(&[(1, 0), (6, 0), (12, 0)]), 1, &world).unwrap();
    block_on(async {
        for expected in 1..=3_usize {
            let batch = runner.next().await.unwrap().unwrap();
            runner.take(batch).await.unwrap();
            assert_eq!(*runner.source.done.lock().unwrap(), expected);
            let saved = world.0.lock().unwrap().saved.clone().unwrap();
            assert_eq!(saved.position, Some(Position(vec![expected as u8])));
        }
        assert!(runner.next().await.unwrap().is_none());
    });
    assert_eq!(world.0.lock().unwrap().rows.len(), 2);
}

#[test]
fn bodies_that_are_no_events_are_counted() {
    let world = Shared(Arc::default());
    let mut broken = messages(&[(1, 0), (2, 0)]);
    broken[0].body = "{nonsense".to_owned();
    let mut runner = start(COUNTED, &broken, 2, &world).unwrap();
    block_on(runner.run()).unwrap();
    let errors = runner.engine().data_errors();
    assert_eq!(errors.count(crate::engine::DataErrorKind::InvalidData), 1);
    assert_eq!(world.0.lock().unwrap().rows.len(), 1);
}

#[test]
fn a_replaced_query_goes_on_with_what_it_shares() {
    let world = Shared(Arc::default());
    let both = format!(
        "{COUNTED}; SELECT MAX(v) AS m INTO p FROM i TIMESTAMP BY t GROUP BY TumblingWindow(second, 4)"
    );
    let mut runner = start(COUNTED, &messages(&[(1, 0), (2, 0), (5, 0), (9, 0)]), 1, &world).unwrap();
    block_on(async {
        let batch = runner.next().await.unwrap().unwrap();
        runner.take(batch).await.unwrap();
        runner.replace(query(&both)).await.unwrap();
        runner.run().await.unwrap();
    });
    let rows: Vec<String> = world.0.lock().unwrap().rows.iter().map(|(_, row)| row.clone()).collect();
    // The old part counts the event before the change; the new part leaves out the window it saw only the end of.
    let expected =
        [r#"{"k":0,"n":1,"s":0}"#, r#"{"k":1,"n":1,"s":1}"#, r#"{"k":2,"n":1,"s":2}"#, r#"{"m":2}"#];
    assert_eq!(rows[..4], expected);
    assert_eq!(rows[4..], [r#"{"k":0,"n":1,"s":3}"#, r#"{"m":3}"#]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn killed_anywhere_it_gives_the_same_rows_some_perhaps_twice(
        events in prop::collection::vec((0_u32..40, 0_u32..8), 1..25),
        batch in 1_usize..5,
        kill_at in 1_usize..60,
    ) {
        let messages = messages(&events);
        let straight = Shared(Arc::default());
        block_on(start(COUNTED, &messages, batch, &straight).unwrap().run()).unwrap();
        let killed = Shared(Arc::default());
        killed.0.lock().unwrap().kill_at = kill_at;
        let mut runner = start(COUNTED, &messages, batch, &killed).unwrap();
        if block_on(runner.run()).is_err() {
            block_on(start(COUNTED, &messages, batch, &killed).unwrap().run()).unwrap();
        }
        let unique = |world: &Shared| {
            let mut rows = world.0.lock().unwrap().rows.clone();
            rows.sort();
            rows.dedup();
            rows
        };
        prop_assert_eq!(unique(&killed), unique(&straight));
    }
}
