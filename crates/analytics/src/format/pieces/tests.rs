use super::*;
use crate::format::{Compression, Delimiter, InputFormat, JsonLayout, OutputFormat};
use crate::value::{JsonOptions, Record, Value};
use std::io::{BufReader, Read};
use std::sync::Arc;

const CSV: InputSerialization = InputSerialization::Csv { delimiter: Delimiter::Comma, header: true };
const BARE: InputSerialization = InputSerialization::Csv { delimiter: Delimiter::Semicolon, header: false };

/// Events as JSON, and errors with their places, however little of the file is there at once.
fn read(file: &[u8], serialization: InputSerialization, lines: bool) -> Vec<String> {
    let all = read_by(file, serialization, lines, 1 << 20);
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(read_by(file, serialization, lines, size), all, "{size} bytes at once");
    }
    all
}

fn read_by(file: &[u8], serialization: InputSerialization, lines: bool, size: usize) -> Vec<String> {
    let mut pieces = Pieces::new(BufReader::with_capacity(size, file), serialization, lines);
    let format = InputFormat { serialization: pieces.serialization(), compression: Compression::None };
    let mut reader = format.reader(JsonOptions::default());
    let mut all = Vec::new();
    while let Some(piece) = pieces.next().unwrap() {
        reader.read(piece.payload, &mut |event| match event {
            Ok(event) => {
                let mut json = Vec::new();
                event.write_json(&mut json);
                all.push(String::from_utf8(json).unwrap());
            }
            Err(error) => all.push(piece.locate(&error).to_string()),
        });
    }
    all
}

#[test]
fn rows_of_csv_are_told_from_lines_of_quoted_fields() {
    let file = b"\xef\xbb\xbf\n\"a\nb\",c\r\n\"x\ny\",1\n\"bad\"x,2\n3,\"4\"\n5\n\n6,7";
    assert_eq!(
        read(file, CSV, false),
        [
            r#"{"a\nb":"x\ny","c":"1"}"#,
            "line 6: text stands behind the end of a quoted field; double the quotes inside one",
            r#"{"a\nb":"3","c":"4"}"#,
            "line 8: 1 fields, the header has 2",
            r#"{"a\nb":"6","c":"7"}"#,
        ]
    );
    for empty in ["", "\n\n", "a,b", "a,b\n"] {
        assert_eq!(read(empty.as_bytes(), CSV, false), [""; 0], "{empty:?}");
    }
    assert_eq!(
        read(b"a,a\n1,2\n", CSV, false),
        ["the first line of the CSV payload is no header: two columns have the same name"]
    );
}

#[test]
fn the_first_row_of_a_file_without_header_says_how_many_columns_there_are() {
    let file = b"1;\"2;3\"\n4\n5;6\n";
    assert_eq!(
        read(file, BARE, false),
        [
            r#"{"column1":"1","column2":"2;3"}"#,
            "line 2: 1 fields, the header has 2",
            r#"{"column1":"5","column2":"6"}"#,
        ]
    );
}

#[test]
fn a_quote_without_end_costs_its_own_row_alone() {
    let row = format!("{},1\n", "x".repeat(1000));
    let file = format!("a,b\n1,\"2\n{}3,4\n", row.repeat(6 << 10));
    let all = read_by(file.as_bytes(), CSV, false, 64 << 10);
    assert_eq!(all.len(), (6 << 10) + 2);
    assert_eq!(all[0], "line 2: a quoted field has no end");
    assert_eq!(all.last().unwrap(), r#"{"a":"3","b":"4"}"#);
}

#[test]
fn json_is_read_by_lines_or_as_a_whole() {
    assert_eq!(
        read(b"\n{\"a\":1}\n{\"a\":\n\n[{\"a\":3},{\"a\":4}]", InputSerialization::Json, false),
        [r#"{"a":1}"#, "line 3: no JSON at byte 6: expected a value", r#"{"a":3}"#, r#"{"a":4}"#]
    );
    assert_eq!(
        read(b"\n[{\"a\":1},\n {\"a\":x}]", InputSerialization::Json, false),
        [r#"{"a":1}"#, "line 3: no JSON at byte 17: expected a value"]
    );
    // A first line that is damaged does not make all of it one text where it is known to be lines.
    assert_eq!(
        read(b"{\"a\":\n{\"a\":2}\n", InputSerialization::Json, true),
        ["line 1: no JSON at byte 6: expected a value", r#"{"a":2}"#]
    );
}

fn container(rows: u32) -> Vec<u8> {
    let mut writer = OutputFormat::Avro.writer();
    for number in 0..rows {
        let row: Record =
            [(Arc::from("n"), Value::BigInt(number.into())), (Arc::from("t"), Value::text("x".repeat(100)))]
                .into_iter()
                .collect();
        writer.write(&row).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn a_container_file_is_read_block_by_block() {
    let file = container(2000);
    let mut pieces = Pieces::new(&file[..], InputSerialization::Avro, false);
    let mut parts = 0;
    while pieces.next().unwrap().is_some() {
        parts += 1;
    }
    assert!(parts > 1, "the writer makes blocks of 16 KB");
    let all = read(&file, InputSerialization::Avro, false);
    assert_eq!(all.len(), 2000);
    assert!(all[1999].starts_with(r#"{"n":1999,"#));

    // What is cut off or damaged costs nothing before it.
    let cut = read(&file[..file.len() - 20], InputSerialization::Avro, false);
    let last = cut.last().unwrap();
    assert!(last.starts_with("behind object ") && last.contains("damaged"), "{last}");
    let before = cut.len() - 1;
    assert!(last.starts_with(&format!("behind object {before}:")), "{before} {last}");
    let none = read(b"no container", InputSerialization::Avro, false);
    assert!(none.len() == 1 && none[0].contains("no container file"), "{none:?}");
    assert_eq!(read(b"", InputSerialization::Avro, false), [""; 0]);
}

#[test]
fn compressed_files_are_read_as_they_come_and_rows_leave_before_the_end() {
    let mut writer = OutputFormat::Json(JsonLayout::Array).writer();
    let mut written = Vec::new();
    for number in 0..3 {
        let row: Record = [(Arc::from("n"), Value::BigInt(number))].into_iter().collect();
        writer.write(&row).unwrap();
        written.extend(writer.drain());
    }
    written.extend(writer.finish().unwrap());
    assert_eq!(written, br#"[{"n":0},{"n":1},{"n":2}]"#);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &written).unwrap();
    let packed = gzip.finish().unwrap();
    let mut back = Vec::new();
    Compression::GZip.reader(&packed[..]).unwrap().read_to_end(&mut back).unwrap();
    assert_eq!(back, written);
}
