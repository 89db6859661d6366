//! Formats, judged by the readers and writers that others use.

use super::*;
use crate::value::{DateTime, Value};
use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::Field;
use apache_avro::types::Value as Avro;
use apache_avro::{Codec, Schema};
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use std::io::Write as _;

/// The events of a payload as JSON, or their errors.
fn read(format: InputFormat, payload: &[u8]) -> Vec<String> {
    let mut events = Vec::new();
    format.reader(JsonOptions::default()).read(payload, &mut |event| events.push(shown(event)));
    events
}

fn shown(event: Result<Arc<Record>, ReadError>) -> String {
    match event {
        Ok(event) => Value::Record(event).to_json(),
        Err(error) => format!("{:?}: {error}", error.kind()),
    }
}

fn of(serialization: InputSerialization) -> InputFormat {
    InputFormat { serialization, compression: Compression::None }
}

fn csv(delimiter: Delimiter) -> InputFormat {
    of(InputSerialization::Csv { delimiter, header: true })
}

fn record(json: &str) -> Record {
    match Value::from_json(json.as_bytes(), &JsonOptions::default()).unwrap().remove(0) {
        Value::Record(record) => (*record).clone(),
        other => panic!("{other:?}"),
    }
}

fn written(format: OutputFormat, rows: &[&str]) -> Vec<u8> {
    let mut writer = format.writer();
    rows.iter().for_each(|row| writer.write(&record(row)).unwrap());
    assert_eq!(writer.rows(), rows.len());
    writer.finish().unwrap()
}

#[test]
fn fields_of_csv_are_texts_and_an_empty_one_is_null_rule_format_01() {
    let text = "\u{feff}id,note,value\r\n1,\"a, \"\"b\"\"\nc\",\r\n\r\n2,\"\",x\n";
    assert_eq!(
        read(csv(Delimiter::Comma), text.as_bytes()),
        [r#"{"id":"1","note":"a, \"b\"\nc","value":null}"#, r#"{"id":"2","note":"","value":"x"}"#]
    );
    for delimiter in Delimiter::ALL {
        let text = "a,b\n1,2\n".replace(',', &char::from(delimiter.byte()).to_string());
        assert_eq!(read(csv(delimiter), text.as_bytes()), [r#"{"a":"1","b":"2"}"#], "{delimiter:?}");
        assert_eq!(Delimiter::parse(&char::from(delimiter.byte()).to_string()), Some(delimiter));
    }
    let headless = of(InputSerialization::Csv { delimiter: Delimiter::Comma, header: false });
    assert_eq!(
        read(headless, b"1,2\n3,4"),
        [r#"{"column1":"1","column2":"2"}"#, r#"{"column1":"3","column2":"4"}"#]
    );
    assert!(read(csv(Delimiter::Comma), b"").is_empty());
    assert!(read(csv(Delimiter::Comma), b"a,b").is_empty());
}

#[test]
fn a_bad_line_of_csv_does_not_take_its_neighbours_with_it() {
    let text = b"a,b\n1,2\n3\n\"x\"y,4\n\xff,5\n6,7\n8,\"open\n9,9\n";
    let events = read(csv(Delimiter::Comma), text);
    assert_eq!(
        events,
        [
            r#"{"a":"1","b":"2"}"#,
            "InvalidData: line 3 of the CSV payload: 1 fields, the header has 2",
            "InvalidData: line 4 of the CSV payload: text stands behind the end of a quoted field; double the quotes inside one",
            "InvalidData: line 5 of the CSV payload: it is not UTF-8",
            r#"{"a":"6","b":"7"}"#,
            "InvalidData: line 7 of the CSV payload: a quoted field has no end",
            r#"{"a":"9","b":"9"}"#,
        ]
    );
    for (header, problem) in
        [("a,a\n1,2", "two columns have the same name"), ("a,\n1,2", "a column has no name")]
    {
        let events = read(csv(Delimiter::Comma), header.as_bytes());
        assert_eq!(
            events,
            [format!("InvalidHeader: the first line of the CSV payload is no header: {problem}")]
        );
    }
    let lower = JsonOptions { lower_case_names: true, ..JsonOptions::default() };
    let mut events = Vec::new();
    csv(Delimiter::Comma).reader(lower).read(b"A,a\n1,2", &mut |event| events.push(shown(event)));
    assert!(events[0].starts_with("InvalidHeader"), "{events:?}");
}

#[test]
fn csv_is_written_as_the_service_does_rule_format_02() {
    let format = OutputFormat::Csv { delimiter: Delimiter::Semicolon, decimal: Decimal::of_locale("it-IT") };
    let mut row = record(r#"{"n":1,"f":1.5,"t":"a;\"b\"","e":"","z":null,"b":true,"r":{"x":1},"l":[1]}"#);
    row.set("d".into(), Value::DateTime(DateTime::parse("2026-01-01T00:00:00Z").unwrap()));
    let mut writer = format.writer();
    writer.write(&row).unwrap();
    let other = writer.write(&record(r#"{"n":1}"#)).unwrap_err();
    assert!(other.wants_new_file());
    assert_eq!(
        String::from_utf8(writer.finish().unwrap()).unwrap(),
        "n;f;t;e;z;b;r;l;d\r\n1;1,5;\"a;\"\"b\"\"\";\"\";;true;Record;Array;2026-01-01T00:00:00.0000000Z\r\n"
    );
    assert_eq!(Decimal::of_locale("en-US"), Decimal::Point);
    assert_eq!(Decimal::of_locale("de-CH"), Decimal::Point);
    // The same columns in another order are the same columns.
    let csv = OutputFormat::Csv { delimiter: Delimiter::Comma, decimal: Decimal::Point };
    assert_eq!(written(csv, &[r#"{"a":1,"b":2}"#, r#"{"b":4,"a":3}"#]), b"a,b\r\n1,2\r\n3,4\r\n");
}

#[test]
fn json_is_written_in_lines_or_as_an_array() {
    let rows = [r#"{"a":1}"#, r#"{"b":"x"}"#];
    assert_eq!(written(OutputFormat::Json(JsonLayout::LineSeparated), &rows), b"{\"a\":1}\n{\"b\":\"x\"}\n");
    assert_eq!(written(OutputFormat::Json(JsonLayout::Array), &rows), br#"[{"a":1},{"b":"x"}]"#);
    assert_eq!(written(OutputFormat::Json(JsonLayout::Array), &[]), b"[]");
}

#[test]
fn compressed_payloads_are_expanded_up_to_a_limit() {
    let text = br#"{"a":1}"#;
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(text).unwrap();
    let mut bare = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    bare.write_all(text).unwrap();
    let with = |compression| InputFormat { compression, ..InputFormat::default() };
    assert_eq!(read(with(Compression::GZip), &gzip), [r#"{"a":1}"#]);
    assert_eq!(read(with(Compression::Deflate), &zlib.finish().unwrap()), [r#"{"a":1}"#]);
    assert_eq!(read(with(Compression::Deflate), &bare.finish().unwrap()), [r#"{"a":1}"#]);
    for wrong in [&gzip[..gzip.len() - 9], text] {
        let events = read(with(Compression::GZip), wrong);
        assert!(events[0].starts_with("InvalidCompressionType: the payload is no GZip data"), "{events:?}");
    }
    let mut bomb = GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b' '; 1 << 20];
    (0..=MAX_BYTES >> 20).for_each(|_| bomb.write_all(&zeros).unwrap());
    let events = read(with(Compression::GZip), &bomb.finish().unwrap());
    assert_eq!(events, ["InvalidData: the payload has more than 67108864 bytes; send less in one"]);
}

const READING: &str = r#"{"type":"record","name":"Reading","namespace":"plant","fields":[
    {"name":"Id","type":"int"},
    {"name":"temperature","type":["null","double"]},
    {"name":"ok","type":"boolean"},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"state","type":{"type":"enum","name":"State","symbols":["ON","OFF"]}},
    {"name":"body","type":"bytes"},
    {"name":"inner","type":{"type":"record","name":"Inner","fields":[
        {"name":"list","type":{"type":"array","items":"float"}},
        {"name":"again","type":["null","State"]}]}},
    {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":6,"scale":2}}]}"#;

fn reading(temperature: Option<f64>) -> Avro {
    let union = |value: Option<Avro>| match value {
        None => Avro::Union(0, Box::new(Avro::Null)),
        Some(value) => Avro::Union(1, Box::new(value)),
    };
    Avro::Record(vec![
        ("Id".into(), Avro::Int(-7)),
        ("temperature".into(), union(temperature.map(Avro::Double))),
        ("ok".into(), Avro::Boolean(true)),
        ("at".into(), Avro::TimestampMicros(1_767_225_600_000_001)),
        ("state".into(), Avro::Enum(1, "OFF".into())),
        ("body".into(), Avro::Bytes(b"hello".to_vec())),
        (
            "inner".into(),
            Avro::Record(vec![
                ("list".into(), Avro::Array(vec![Avro::Float(0.5), Avro::Float(-1.0)])),
                ("again".into(), union(Some(Avro::Enum(0, "ON".into())))),
            ]),
        ),
        ("amount".into(), Avro::Decimal(apache_avro::Decimal::from(vec![0xff, 0x85]))),
    ])
}

fn avro_file(schema: &str, codec: Codec, records: Vec<Avro>) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    let mut writer = apache_avro::Writer::with_codec(&schema, Vec::new(), codec);
    for record in records {
        writer.append(record).unwrap();
    }
    writer.into_inner().unwrap()
}

#[test]
fn avro_files_are_read_whatever_they_were_written_with() {
    let expected = |temperature: &str| {
        format!(
            r#"{{"Id":-7,"temperature":{temperature},"ok":true,"at":"2026-01-01T00:00:00.0000010Z","state":"OFF","body":"hello","inner":{{"list":[0.5,-1.0],"again":"ON"}},"amount":-1.23}}"#
        )
    };
    for codec in [Codec::Null, Codec::Deflate(Default::default())] {
        let file = avro_file(READING, codec, vec![reading(Some(21.5)), reading(None)]);
        assert_eq!(read(of(InputSerialization::Avro), &file), [expected("21.5"), expected("null")]);
    }
    // Names in lower case where they are so in the whole query, booleans as numbers before level 1.2.
    let old = JsonOptions { bits: false, dates: false, lower_case_names: true };
    let mut events = Vec::new();
    let file = avro_file(READING, Codec::Null, vec![reading(None)]);
    of(InputSerialization::Avro).reader(old).read(&file, &mut |event| events.push(shown(event)));
    assert!(events[0].starts_with(r#"{"id":-7,"temperature":null,"ok":1"#), "{events:?}");
}

#[test]
fn a_map_or_no_number_is_an_error_of_its_object_alone_rule_format_03() {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"m","type":["null",{"type":"map","values":"int"}]},
        {"name":"f","type":"double"}]}"#;
    let row = |map: bool, number: f64| {
        let map = match map {
            true => Avro::Union(1, Box::new(Avro::Map([("k".to_owned(), Avro::Int(1))].into()))),
            false => Avro::Union(0, Box::new(Avro::Null)),
        };
        Avro::Record(vec![("m".into(), map), ("f".into(), Avro::Double(number))])
    };
    let file = avro_file(schema, Codec::Null, vec![row(true, 1.0), row(false, f64::NAN), row(false, 2.0)]);
    assert_eq!(
        read(of(InputSerialization::Avro), &file),
        [
            "InvalidData: object 1 of the Avro payload has a map, which queries cannot read; send a record",
            "InvalidData: object 2 of the Avro payload has a number that is none, or infinite",
            r#"{"m":null,"f":2.0}"#,
        ]
    );
}

#[test]
fn avro_that_lies_about_lengths_or_nests_in_itself_is_refused() {
    let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
    // Every byte is one step deeper.
    let mut deep = header(list);
    let objects = [2].repeat(100_000);
    block(&mut deep, 1, &[&objects[..], &[0]].concat());
    let events = read(of(InputSerialization::Avro), &deep);
    assert_eq!(events, ["InvalidData: the Avro payload has records and arrays too deep in each other"]);

    let nulls =
        r#"{"type":"record","name":"N","fields":[{"name":"a","type":{"type":"array","items":"null"}}]}"#;
    let mut endless = header(nulls);
    let count = i64::MAX;
    let mut object = Vec::new();
    zigzag(count, &mut object);
    object.push(0);
    block(&mut endless, 1, &object);
    let events = read(of(InputSerialization::Avro), &endless);
    assert_eq!(events, ["InvalidData: the Avro payload is damaged, or ends too early"]);
    assert!(read(of(InputSerialization::Avro), b"{}")[0].contains("is no container file"));
}

fn zigzag(number: i64, out: &mut Vec<u8>) {
    let mut number = (number << 1 ^ number >> 63) as u64;
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A file without blocks.
fn header(schema: &str) -> Vec<u8> {
    let mut out = b"Obj\x01".to_vec();
    zigzag(1, &mut out);
    for text in ["avro.schema", schema] {
        zigzag(text.len() as i64, &mut out);
        out.extend(text.as_bytes());
    }
    zigzag(0, &mut out);
    out.extend([7; 16]);
    out
}

fn block(file: &mut Vec<u8>, objects: i64, data: &[u8]) {
    zigzag(objects, file);
    zigzag(data.len() as i64, file);
    file.extend(data);
    file.extend([7; 16]);
}

#[test]
fn avro_is_written_with_the_types_that_the_rows_have_rule_format_04() {
    let rows = [
        r#"{"id":"a","v":1,"r":{"x":1,"y":[1,"two"]},"n":null}"#,
        r#"{"id":"b","v":1.5,"r":{"x":true},"extra":[]}"#,
    ];
    let mut writer = OutputFormat::Avro.writer();
    rows.iter().for_each(|row| writer.write(&record(row)).unwrap());
    let mut timed = Record::default();
    timed.set("id".into(), Value::DateTime(DateTime::parse("2026-01-01T00:00:00.1234567Z").unwrap()));
    writer.write(&timed).unwrap();
    let odd = writer.write(&record(r#"{"no name":1}"#)).unwrap_err();
    assert!(odd.to_string().contains("ColumnNameInvalid") && !odd.wants_new_file(), "{odd}");
    let file = writer.finish().unwrap();
    // The Avro project's reader takes it, and ours gives the rows back, with NULL for what is missing.
    assert_eq!(apache_avro::Reader::new(&file[..]).unwrap().map(Result::unwrap).count(), 3);
    assert_eq!(
        read(of(InputSerialization::Avro), &file),
        [
            r#"{"id":"a","v":1,"r":{"x":1,"y":[1,"two"]},"n":null,"extra":null}"#,
            r#"{"id":"b","v":1.5,"r":{"x":true,"y":null},"n":null,"extra":[]}"#,
            r#"{"id":"2026-01-01T00:00:00.1234567Z","v":null,"r":null,"n":null,"extra":null}"#,
        ]
    );
    assert!(OutputFormat::Avro.writer().finish().unwrap().is_empty());
}

#[test]
fn parquet_is_written_with_records_as_groups_and_arrays_as_lists() {
    let rows = [
        r#"{"id":1,"f":1,"mixed":1,"on":true,"machine":{"t":20.5,"tags":["a","b"]},"readings":[{"v":1},{"v":null}]}"#,
        r#"{"id":2,"f":0.5,"mixed":"x","on":null,"machine":null,"readings":[]}"#,
        r#"{"id":3,"mixed":[1],"machine":{"tags":[]}}"#,
    ];
    let mut writer = OutputFormat::Parquet.writer();
    for (index, row) in rows.iter().enumerate() {
        let mut row = record(row);
        let at = DateTime::parse("2026-01-01T00:00:00.1234567Z").unwrap();
        row.set("at".into(), if index == 0 { Value::DateTime(at) } else { Value::Null });
        writer.write(&row).unwrap();
    }
    let file = SerializedFileReader::new(bytes::Bytes::from(writer.finish().unwrap())).unwrap();
    let rows: Vec<_> = file.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    let texts: Vec<String> = rows.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            r#"{id: 1, f: 1.0, mixed: "1", on: true, machine: {t: 20.5, tags: ["a", "b"]}, readings: [{v: 1}, {v: null}], at: 2026-01-01 00:00:00.123456 +00:00}"#,
            r#"{id: 2, f: 0.5, mixed: "x", on: null, machine: null, readings: [], at: null}"#,
            r#"{id: 3, f: null, mixed: "[1]", on: null, machine: {t: null, tags: []}, readings: null, at: null}"#,
        ]
    );
    let at = rows[0].get_column_iter().find(|(name, _)| *name == "at").map(|(_, field)| field.clone());
    assert_eq!(at, Some(Field::TimestampMicros(1_767_225_600_123_456)));
}

#[test]
fn a_file_ends_before_it_is_too_large() {
    let row = record(&format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 20)));
    for format in [OutputFormat::default(), OutputFormat::Avro, OutputFormat::Parquet] {
        let mut writer = format.writer();
        let error = (0..100).find_map(|_| writer.write(&row).err()).unwrap();
        assert!(
            error.wants_new_file() && writer.size() <= MAX_FILE && writer.rows() > 32,
            "{format:?}: {error}"
        );
    }
    // Few rows of many columns each are much, too.
    let mut writer = OutputFormat::Parquet.writer();
    let wide = |from: usize| {
        Record::from_distinct((from..from + 5000).map(|n| (n.to_string().into(), Value::Null)).collect())
    };
    let error = (0..100).find_map(|row| writer.write(&wide(row * 5000)).err()).unwrap();
    assert!(error.wants_new_file(), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn texts_of_csv_go_round(rows in prop::collection::vec(prop::collection::vec(".{0,6}|[\",;\r\n ]{0,4}", 3), 1..5)) {
        for delimiter in Delimiter::ALL {
            let mut writer = OutputFormat::Csv { delimiter, decimal: Decimal::Point }.writer();
            let fields = |row: &[String]| -> Record {
                ["a", "b", "c"].iter().zip(row).map(|(name, text)| (Arc::from(*name), Value::text(text))).collect()
            };
            let rows: Vec<Record> = rows.iter().map(|row| fields(row)).collect();
            rows.iter().for_each(|row| writer.write(row).unwrap());
            let file = writer.finish().unwrap();
            let expected: Vec<String> = rows.into_iter().map(|row| Value::from(row).to_json()).collect();
            prop_assert_eq!(read(csv(delimiter), &file), expected);
        }
    }

    #[test]
    fn no_bytes_are_too_much_for_a_reader(
        noise in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, byte: u8
    ) {
        let mut file = avro_file(READING, Codec::Null, vec![reading(Some(1.0)), reading(None)]);
        let at = at.index(file.len());
        file[at] = byte;
        for serialization in [InputSerialization::Avro, InputSerialization::Csv { delimiter: Delimiter::Comma, header: true }] {
            for compression in [Compression::None, Compression::GZip, Compression::Deflate] {
                for payload in [&file[..], &noise, &file[..at]] {
                    read(InputFormat { serialization, compression }, payload);
                }
            }
        }
    }
}
