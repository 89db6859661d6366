//! Formats of files, by the endings of their names or as said.

use anyhow::{Context as _, bail};
use ironbrook_analytics::format::{
    Compression, Decimal, Delimiter, InputFormat, InputSerialization, JsonLayout, OutputFormat,
};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What the ending of a file's name says, as `csv.gz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    kind: Kind,
    pub(super) compression: Compression,
    /// Its length with the point before it.
    len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    JsonLines,
    Csv,
    Tsv,
    Avro,
    Parquet,
}

const COMPRESSIONS: [(&str, Compression); 2] =
    [(".gz", Compression::GZip), (".deflate", Compression::Deflate)];
const KINDS: [(&str, Kind); 7] = [
    (".json", Kind::Json),
    (".jsonl", Kind::JsonLines),
    (".ndjson", Kind::JsonLines),
    (".csv", Kind::Csv),
    (".tsv", Kind::Tsv),
    (".avro", Kind::Avro),
    (".parquet", Kind::Parquet),
];

impl Ending {
    /// Of a file; `None` where it says nothing that is known.
    pub(super) fn of(file: &Path) -> Option<Self> {
        let name = file.file_name()?.to_str()?.to_ascii_lowercase();
        let packed = COMPRESSIONS.into_iter().find(|(ending, _)| name.ends_with(ending));
        let (ending, compression) = packed.unwrap_or(("", Compression::None));
        let inner = &name[..name.len() - ending.len()];
        let (known, kind) = KINDS.into_iter().find(|(known, _)| inner.ends_with(known))?;
        Some(Self { kind, compression, len: known.len() + ending.len() })
    }

    /// How events in it are written.
    ///
    /// # Errors
    /// Of a format that is only written.
    pub(super) fn events(&self) -> anyhow::Result<InputSerialization> {
        Ok(match self.kind {
            Kind::Json | Kind::JsonLines => InputSerialization::Json,
            Kind::Csv => InputSerialization::Csv { delimiter: Delimiter::Comma, header: true },
            Kind::Tsv => InputSerialization::Csv { delimiter: Delimiter::Tab, header: true },
            Kind::Avro => InputSerialization::Avro,
            Kind::Parquet => bail!("Parquet is written, not read; give events as JSON, CSV or Avro"),
        })
    }

    /// Whether each line is an event for sure.
    pub(super) fn is_lines(&self) -> bool {
        self.kind == Kind::JsonLines
    }

    /// Whether rows in it are no text for people.
    pub(super) fn is_binary(&self) -> bool {
        matches!(self.kind, Kind::Avro | Kind::Parquet) || self.compression != Compression::None
    }
}

/// `[NAME=]FORMAT`.
#[derive(Debug, Clone)]
pub(super) struct NamedFormat {
    name: Option<String>,
    ending: Ending,
}

impl FromStr for NamedFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, format) = match text.split_once('=') {
            Some((name, format)) => (Some(name.to_owned()), format),
            None => (None, text),
        };
        let ending = Ending::of(Path::new(&format!("x.{format}"))).ok_or(
            "a format is json, jsonl, csv, tsv, avro or parquet, with .gz behind it where it is compressed",
        )?;
        Ok(Self { name, ending })
    }
}

/// `[NAME=]CHARACTER`.
#[derive(Debug, Clone)]
pub(super) struct NamedDelimiter {
    name: Option<String>,
    delimiter: Delimiter,
}

impl FromStr for NamedDelimiter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, character) = match (Delimiter::parse(text), text.split_once('=')) {
            (None, Some((name, character))) => (Some(name.to_owned()), character),
            _ => (None, text),
        };
        let delimiter = Delimiter::parse(character)
            .ok_or("a delimiter is a comma, a semicolon, a space, a tab (\\t) or a vertical bar")?;
        Ok(Self { name, delimiter })
    }
}

/// How the files of a run are written, as its options say.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Formats {
    /// Format of the events: json, jsonl, csv, tsv or avro, with .gz or .deflate behind it where it is compressed. Where it is not
    /// given, the ending of the file decides, then the job, and else it is JSON. May be given several times.
    #[arg(long, value_name = "[NAME=]FORMAT")]
    input_format: Vec<NamedFormat>,
    /// Format of the rows: json (an array), jsonl, csv, tsv, avro or parquet, with .gz behind it to compress them. Where it is not given,
    /// the ending of the file decides. May be given several times.
    #[arg(long, value_name = "[NAME=]FORMAT")]
    output_format: Vec<NamedFormat>,
    /// What stands between the fields of CSV, of an input or output by name or of all: `,` `;` `|` a space or `\t`.
    #[arg(long, value_name = "[NAME=]CHARACTER")]
    delimiter: Vec<NamedDelimiter>,
    /// CSV that comes in has no header: its columns are column1, column2 and so on.
    #[arg(long)]
    no_header: bool,
}

/// What was said for a name, else what was said for all.
fn said<T, V>(all: &[T], name: &str, part: impl Fn(&T) -> (Option<&str>, V)) -> Option<V> {
    let of = |wanted: Option<&str>| {
        all.iter().map(&part).find_map(|(given, value)| match (given, wanted) {
            (Some(given), Some(wanted)) if given.eq_ignore_ascii_case(wanted) => Some(value),
            (None, None) => Some(value),
            _ => None,
        })
    };
    of(Some(name)).or_else(|| of(None))
}

impl Formats {
    fn delimiter(&self, name: &str) -> Option<Delimiter> {
        said(&self.delimiter, name, |one| (one.name.as_deref(), one.delimiter))
    }

    /// How an input's file is written, and whether each line is an event for sure. `job` is what its job says of it.
    pub(super) fn input(
        &self,
        name: &str,
        file: &Path,
        job: Option<InputFormat>,
    ) -> anyhow::Result<(InputFormat, bool)> {
        let given = said(&self.input_format, name, |one| (one.name.as_deref(), one.ending));
        let Some(ending) = given.or_else(|| Ending::of(file)) else {
            return Ok((self.adjusted(name, job.unwrap_or_default()), false));
        };
        let job = job.unwrap_or_default().serialization;
        let serialization = match (ending.kind, job) {
            (Kind::Csv, InputSerialization::Csv { .. }) => job,
            _ => ending.events().with_context(|| name.to_owned())?,
        };
        let format = InputFormat { serialization, compression: ending.compression };
        Ok((self.adjusted(name, format), ending.is_lines()))
    }

    fn adjusted(&self, name: &str, mut format: InputFormat) -> InputFormat {
        if let InputSerialization::Csv { delimiter, header } = &mut format.serialization {
            *delimiter = self.delimiter(name).unwrap_or(*delimiter);
            *header &= !self.no_header;
        }
        format
    }

    /// What was said of an output's format, or what its file's name says.
    pub(super) fn ending(&self, name: &str, file: Option<&Path>) -> Option<Ending> {
        let given = said(&self.output_format, name, |one| (one.name.as_deref(), one.ending));
        given.or_else(|| Ending::of(file?))
    }

    /// How rows are written to a file. `job` is what the output's job says of it.
    pub(super) fn output(
        &self,
        name: &str,
        ending: Option<Ending>,
        job: Option<OutputFormat>,
        decimal: Decimal,
    ) -> OutputFormat {
        let of_job = match job {
            Some(OutputFormat::Csv { delimiter, .. }) => delimiter,
            _ => Delimiter::Comma,
        };
        let csv = |delimiter| OutputFormat::Csv { delimiter, decimal };
        let format = match ending.map(|ending| ending.kind) {
            None => job.unwrap_or_default(),
            Some(Kind::Json) => OutputFormat::Json(JsonLayout::Array),
            Some(Kind::JsonLines) => OutputFormat::Json(JsonLayout::LineSeparated),
            Some(Kind::Csv) => csv(of_job),
            Some(Kind::Tsv) => csv(Delimiter::Tab),
            Some(Kind::Avro) => OutputFormat::Avro,
            Some(Kind::Parquet) => OutputFormat::Parquet,
        };
        match (format, self.delimiter(name)) {
            (OutputFormat::Csv { .. }, Some(delimiter)) => csv(delimiter),
            _ => format,
        }
    }
}

/// The name of a file's sequel: `rows-2.csv` behind `rows.csv`.
pub(super) fn sequel(file: &Path, number: usize) -> PathBuf {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let ending = Ending::of(file).map_or(0, |ending| ending.len);
    let (stem, ending) = name.split_at(name.len() - ending);
    file.with_file_name(format!("{stem}-{number}{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_say_format_and_compression() {
        let of = |name: &str| Ending::of(Path::new(name)).map(|ending| (ending.kind, ending.compression));
        assert_eq!(of("a/B.CSV"), Some((Kind::Csv, Compression::None)));
        assert_eq!(of("a.b.ndjson.gz"), Some((Kind::JsonLines, Compression::GZip)));
        assert_eq!(of("a.json.deflate"), Some((Kind::Json, Compression::Deflate)));
        for other in ["-", "json", "a.gz", "a.txt", "a.csv.zip", ""] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(sequel(Path::new("x/rows.csv.gz"), 2), Path::new("x/rows-2.csv.gz"));
        assert_eq!(sequel(Path::new("rows"), 3), Path::new("rows-3"));
    }

    #[test]
    fn what_is_said_of_a_name_goes_before_what_is_said_of_all_and_that_before_the_ending() {
        let formats = Formats {
            input_format: vec!["csv".parse().unwrap(), "I=avro.gz".parse().unwrap()],
            output_format: Vec::new(),
            delimiter: vec![";".parse().unwrap(), "j=\\t".parse().unwrap()],
            no_header: true,
        };
        let of = |name: &str| formats.input(name, Path::new("a.json"), None).unwrap().0;
        assert_eq!(of("i").serialization, InputSerialization::Avro);
        assert_eq!(of("i").compression, Compression::GZip);
        let csv = |delimiter| InputSerialization::Csv { delimiter, header: false };
        assert_eq!(of("j").serialization, csv(Delimiter::Tab));
        assert_eq!(of("k").serialization, csv(Delimiter::Semicolon));
        assert!("xml".parse::<NamedFormat>().is_err() && "i=..".parse::<NamedDelimiter>().is_err());
    }
}
