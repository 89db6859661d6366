//! Partitions of an input: each has a watermark of its own, and rows come out in one order.

use super::*;
use proptest::prelude::*;

/// As many as events in the tests are spread over.
const PARTITIONS: usize = 4;

fn split(late: u64, out_of_order: u64) -> Policies {
    Policies { partitions: PARTITIONS, ..policies(late, out_of_order) }
}

fn push_from(engine: &mut Engine, partition: usize, arrival: f64, json: &str) {
    let event = event(&engine.query().clone(), json);
    engine.push_from(partition, 0, second(arrival), event, None).unwrap();
}

/// An event of a device: its partition, and its time in tenths of a second.
type Sent = (usize, u32);

/// Runs events; all that goes over a checkpoint now and then.
fn run(text: &str, settings: &Policies, sent: &[Sent], cut_every: usize) -> Vec<String> {
    let query = query(text);
    let mut engine = Engine::new(query.clone(), settings.clone());
    let mut rows = Vec::new();
    for (number, (partition, t)) in sent.iter().enumerate() {
        let json = format!(r#"{{"t":{},"k":{partition}}}"#, f64::from(*t) / 10.0);
        push_from(&mut engine, *partition, 100.0, &json);
        rows.extend(shown(&mut engine));
        if number % cut_every == cut_every - 1 {
            let snapshot = engine.snapshot();
            engine = Engine::restore(query.clone(), settings.clone(), &snapshot).unwrap();
            assert_eq!(engine.snapshot(), snapshot);
        }
    }
    engine.flush().unwrap();
    rows.extend(shown(&mut engine));
    rows
}

/// Those of each partition in their order, but side by side in another way: each number says which partition is next.
fn interleaved(sent: &[Sent], turns: &[usize]) -> Vec<Sent> {
    let mut lanes: Vec<std::collections::VecDeque<Sent>> = vec![Default::default(); PARTITIONS];
    sent.iter().for_each(|event| lanes[event.0].push_back(*event));
    let turns =
        turns.iter().copied().chain((0..PARTITIONS).cycle()).take(turns.len() + PARTITIONS * sent.len());
    turns.filter_map(|turn| lanes[turn].pop_front()).collect()
}

const REST: &str = "GROUP BY k, Windows(TumblingWindow(second, 5), SlidingWindow(second, 3))";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn clocks_that_differ_lose_nothing_that_each_partition_alone_would_keep_rule_sql_13(
        sent in prop::collection::vec((0..PARTITIONS, 0_u32..40), 1..60),
        skew in prop::collection::vec(0_u32..300, PARTITIONS),
        tolerance in 0_u64..3, cut in 1_usize..9,
        turns in prop::collection::vec(0..PARTITIONS, 0..60),
    ) {
        let sent: Vec<Sent> = sent.into_iter().map(|(partition, t)| (partition, t + skew[partition])).collect();
        let settings = split(1000, tolerance);
        let text = format!("SELECT k, COUNT(*) AS n FROM i TIMESTAMP BY t {REST}");
        let together = run(&text, &settings, &sent, cut);
        // Partitions may be read side by side in any way.
        prop_assert_eq!(&run(&text, &settings, &interleaved(&sent, &turns), 1000), &together);
        let mut alone = Vec::new();
        for partition in 0..PARTITIONS {
            let own: Vec<Sent> = sent.iter().filter(|(from, _)| *from == partition).copied().collect();
            alone.extend(run(&text, &policies(1000, tolerance), &own, 1000));
        }
        alone.sort();
        let mut sorted = together;
        sorted.sort();
        prop_assert_eq!(sorted, alone);
    }

    #[test]
    fn rows_of_one_time_have_one_order_however_partitions_are_read(
        sent in prop::collection::vec((0..PARTITIONS, 0_u32..12), 1..60), cut in 1_usize..9,
        turns in prop::collection::vec(0..PARTITIONS, 0..60),
    ) {
        let text = "SELECT k, LAG(k) OVER (LIMIT DURATION(second, 60)) AS former, t FROM i TIMESTAMP BY t";
        let together = run(text, &split(1000, 1), &sent, cut);
        prop_assert_eq!(together.len(), sent.len());
        prop_assert_eq!(run(text, &split(1000, 1), &interleaved(&sent, &turns), 1000), together);
    }
}

#[test]
fn a_partition_without_events_holds_the_others_up_for_the_late_tolerance_at_most_rule_sql_13() {
    let mut engine = Engine::new(query(COUNT), split(5, 0));
    push_from(&mut engine, 0, 12.0, r#"{"t":9}"#);
    push_from(&mut engine, 0, 12.0, r#"{"t":12}"#);
    assert!(shown(&mut engine).is_empty(), "the others may still have some");
    engine.advance(second(15.0)).unwrap();
    assert!(shown(&mut engine).is_empty());
    engine.advance(second(15.1)).unwrap();
    assert_eq!(shown(&mut engine), [r#"10 output {"n":1}"#]);
    // All of them tell that they are beyond: nothing needs the clock.
    for partition in 0..PARTITIONS {
        push_from(&mut engine, partition, 21.0, r#"{"t":20.5}"#);
    }
    assert_eq!(shown(&mut engine), [r#"20 output {"n":1}"#]);
    assert_eq!(engine.data_errors().counts().count(), 0);
}

#[test]
fn what_keeps_nothing_from_row_to_row_waits_for_no_other_partition() {
    let text = "SELECT k FROM i TIMESTAMP BY t WHERE k > 0";
    let mut engine = Engine::new(query(text), split(5, 0));
    push_from(&mut engine, 2, 12.0, r#"{"t":9,"k":2}"#);
    push_from(&mut engine, 1, 12.0, r#"{"t":8,"k":1}"#);
    assert_eq!(shown(&mut engine), [r#"9 output {"k":2}"#, r#"8 output {"k":1}"#]);
    assert_eq!((engine.state_bytes(), engine.data_errors().counts().count()), (0, 0));
}

#[test]
fn without_timestamp_by_partitions_are_one() {
    let mut engine =
        Engine::new(query("SELECT COUNT(*) AS n FROM i GROUP BY TumblingWindow(second, 10)"), split(5, 0));
    push_from(&mut engine, 0, 3.0, "{}");
    push_from(&mut engine, 3, 10.1, "{}");
    assert_eq!(shown(&mut engine), [r#"10 output {"n":1}"#]);
}

#[test]
fn a_state_goes_on_with_more_partitions_and_with_fewer() {
    let query = query(COUNT);
    let policies = |partitions| Policies { partitions, ..policies(1000, 3) };
    let mut engine = Engine::new(query.clone(), policies(2));
    push_from(&mut engine, 0, 5.0, r#"{"t":4}"#);
    push_from(&mut engine, 1, 5.0, r#"{"t":5}"#);
    let snapshot = engine.snapshot();
    for partitions in [1, 2, 3] {
        let mut engine = Engine::restore(query.clone(), policies(partitions), &snapshot).unwrap();
        push_from(&mut engine, partitions - 1, 5.0, r#"{"t":6}"#);
        engine.flush().unwrap();
        assert_eq!(shown(&mut engine), [r#"10 output {"n":3}"#], "{partitions}");
    }
}

/// The state of an engine as the program before partitions wrote it.
fn version_two(engine: &Engine) -> Vec<u8> {
    use crate::plan::Fingerprint;
    use crate::value::snapshot::Writer;
    let (plan, mut out) = (engine.query.plan(), Writer::new());
    b"IBSQ\x02".iter().for_each(|byte| out.byte(*byte));
    out.signed(engine.timelines.complete_from.0);
    out.size(plan.readers.len());
    plan.readers.iter().for_each(|reader| out.unsigned(reader.fingerprint));
    out.size(plan.nodes.len());
    plan.nodes.iter().for_each(|node| out.unsigned(node.fingerprint));
    out.size(engine.timelines.shards.len());
    for shard in &engine.timelines.shards {
        window::write_key(&[], &mut out);
        for reader in &shard.readers {
            let mut own = Writer::new();
            reader.write(&mut own);
            let own = own.finish();
            assert_eq!(own[0], 1, "one partition");
            out.bytes(&own[1..]);
        }
        for node in &shard.nodes {
            let mut own = Writer::new();
            node.write(&mut own);
            out.signed(node.watermark.0);
            out.bytes(&own.finish());
        }
    }
    let mut bytes = out.finish();
    let sum = Fingerprint::new("snapshot").with(&bytes).value();
    bytes.extend(sum.to_le_bytes());
    bytes
}

#[test]
fn a_state_from_before_partitions_is_read() {
    let query = query(COUNT);
    let mut engine = Engine::new(query.clone(), policies(1000, 3));
    for t in [2, 9, 7] {
        push(&mut engine, 9.0, &format!(r#"{{"t":{t}}}"#));
    }
    for policies in [policies(1000, 3), split(1000, 3)] {
        let mut again = Engine::restore(query.clone(), policies, &version_two(&engine)).unwrap();
        assert_eq!(again.watermark(), engine.watermark());
        push_from(&mut again, 1, 9.0, r#"{"t":8}"#);
        again.flush().unwrap();
        assert_eq!(shown(&mut again), [r#"10 output {"n":4}"#]);
    }
}
