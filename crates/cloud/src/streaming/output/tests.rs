use super::*;
use serde_json::json;

fn output(settings: serde_json::Value) -> Output {
    let settings: Settings = serde_json::from_value(settings).unwrap();
    Output::new("o".into(), &settings, "run").unwrap()
}

fn row(n: i64) -> OutputRow {
    let record: Record = [(Arc::from("n"), n.into()), (Arc::from("k"), (n % 2).into())].into_iter().collect();
    let timestamp = ironbrook_analytics::value::DateTime::from_unix_millis(0).unwrap();
    OutputRow { output: 0, timestamp, record: Arc::new(record) }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn block(delivery: &Delivery) -> (String, u32) {
    let To::Block { blob, block, .. } = &delivery.to else { panic!("{delivery:?}") };
    (blob.clone(), *block)
}

/// Through what is kept and back.
fn kept(output: &Output, settings: serde_json::Value, run: &str) -> Output {
    let mut out = Writer::new();
    output.write(&mut out);
    let bytes = out.finish();
    let settings: Settings = serde_json::from_value(settings).unwrap();
    let mut again = Output::new("o".into(), &settings, run).unwrap();
    again.restore(KeptOutput::read(&mut Reader::new(&bytes)).unwrap());
    again
}

#[test]
fn rows_wait_for_their_number_or_their_time_and_go_on_in_their_blob() {
    let settings =
        json!({ "type": "blob", "container": "c", "pathPattern": "{k}", "minRows": 2, "maxSeconds": 5 });
    let (mut one, mut out) = (output(settings.clone()), Vec::new());
    for n in 0..3 {
        one.add(row(n), at(100), &mut out);
    }
    one.cut_due(at(100), &mut out);
    assert_eq!(out.iter().map(block).collect::<Vec<_>>(), [("0/0_run_1.json".to_owned(), 0)]);
    assert_eq!(&out[0].body[..], b"{\"n\":0,\"k\":0}\n{\"n\":2,\"k\":0}\n");
    assert_eq!((one.due_at(), one.waiting()), (Some(at(105)), 1));
    let mut one = kept(&one, settings, "run");
    assert_eq!((one.due_at(), one.waiting()), (Some(at(105)), 1));
    one.cut_due(at(105), &mut out);
    one.add(row(4), at(106), &mut out);
    one.cut_all(at(106), &mut out);
    // The next hour is another blob.
    one.add(row(6), at(3600), &mut out);
    one.cut_all(at(3600), &mut out);
    let names: Vec<(String, u32)> = out[1..].iter().map(block).collect();
    assert_eq!(
        names,
        [
            ("1/0_run_2.json".to_owned(), 0),
            ("0/0_run_1.json".to_owned(), 1),
            ("0/0_run_3.json".to_owned(), 0)
        ]
    );
    let numbers: Vec<(u64, u64)> = out.iter().map(|delivery| (delivery.first, delivery.rows)).collect();
    assert_eq!(numbers, [(0, 2), (2, 1), (3, 1), (4, 1)]);
}

#[test]
fn a_new_start_never_writes_into_blobs_of_an_earlier_one() {
    let settings = json!({ "type": "blob", "container": "c" });
    let (mut one, mut out) = (output(settings.clone()), Vec::new());
    one.add(row(0), at(0), &mut out);
    one.cut_all(at(0), &mut out);
    let mut two = kept(&one, settings, "other");
    two.add(row(0), at(0), &mut out);
    two.cut_all(at(0), &mut out);
    assert_eq!([block(&out[0]).0, block(&out[1]).0], ["0_run_1.json", "0_other_2.json"]);
}

#[test]
fn paths_and_bytes_are_bounded() {
    let settings =
        json!({ "type": "blob", "container": "c", "pathPattern": "{n}", "maxSeconds": 60, "minRows": 10 });
    let (mut one, mut out) = (output(settings), Vec::new());
    for n in 0..PATHS_MAX as i64 + 1 {
        one.add(row(n), at(0), &mut out);
    }
    assert_eq!((out.len(), one.waiting()), (PATHS_MAX, 1));
    let (mut hook, mut out) =
        (output(json!({ "type": "webhook", "url": "http://h/", "maxRows": 2 })), Vec::new());
    for n in 0..5 {
        hook.add(row(n), at(0), &mut out);
    }
    assert_eq!(
        (out.len(), hook.waiting(), &out[0].body[..]),
        (2, 1, &b"[{\"n\":0,\"k\":0},{\"n\":1,\"k\":1}]"[..])
    );
}

#[test]
fn deliveries_are_read_back_and_damage_is_an_error() {
    let to =
        [To::Block { blob: "b".to_owned(), block: 7, is_array: true }, To::Url, To::Device("d".to_owned())];
    for to in to {
        let delivery = Delivery { output: "o".into(), first: 3, rows: 2, body: Bytes::from_static(b"x"), to };
        let mut out = Writer::new();
        delivery.write(&mut out);
        let bytes = out.finish();
        assert_eq!(Delivery::read(&mut Reader::new(&bytes)), Ok(delivery));
        for end in 0..bytes.len() {
            assert!(Delivery::read(&mut Reader::new(&bytes[..end])).is_err());
        }
    }
}

#[test]
fn batches_in_whole_formats_are_blobs_of_their_own() {
    for (format, blobs) in [("csv", vec![(0, 2), (2, 1)]), ("avro", vec![(0, 3)]), ("parquet", vec![(0, 3)])]
    {
        let settings = json!({ "type": "blob", "container": "c", "format": format });
        let (mut one, mut out) = (output(settings), Vec::new());
        let mut other = row(2);
        other.record = Arc::new([(Arc::from("x"), Value::text("y"))].into_iter().collect());
        for row in [row(0), row(1), other] {
            one.add(row, at(0), &mut out);
        }
        one.cut_all(at(0), &mut out);
        let rows: Vec<(u64, u64)> = out.iter().map(|delivery| (delivery.first, delivery.rows)).collect();
        assert_eq!((rows, one.take_refused()), (blobs, None), "{format}");
        let names: Vec<String> = out.iter().map(|delivery| block(delivery).0).collect();
        assert!(names[0].ends_with(&format!("_run_1.{format}")), "{names:?}");
        if format == "csv" {
            assert!(names[1].ends_with("_run_2.csv") && names[0][..8] != names[1][..8], "{names:?}");
            let text = std::str::from_utf8(&out[0].body).unwrap();
            assert_eq!(text.lines().collect::<Vec<_>>(), ["n,k", "0,0", "1,1"]);
        }
    }
}
