//! Rows on their way out: lines on standard output, or files.

use super::format::{Ending, Formats, sequel};
use crate::commands::OutputFormat as Shown;
use anyhow::{Context as _, anyhow, bail};
use flate2::write::GzEncoder;
use ironbrook_analytics::Query;
use ironbrook_analytics::engine::{Engine, OutputRow};
use ironbrook_analytics::format::{Compression, Decimal, OutputFormat, RowWriter};
use ironbrook_analytics::job::{Job, OnOutputError};
use ironbrook_analytics::value::Value;
use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Stdout, Write, stdout};
use std::path::{Path, PathBuf};

/// Rows that wait in memory before they go to their file, in bytes.
const DRAIN_AT: usize = 64 << 10;

/// All outputs of a query.
pub(super) struct Outputs<'a> {
    query: &'a Query,
    shown: Shown,
    /// Of each output; `None` for lines on standard output.
    files: Vec<Option<FileOutput>>,
    lines: BufWriter<Stdout>,
    skips_errors: bool,
    pub(super) written: u64,
    /// Rows that their format does not take.
    pub(super) refused: u64,
}

/// Rows on their way to a file.
struct FileOutput {
    name: String,
    /// `-` is standard output.
    file: PathBuf,
    format: OutputFormat,
    compression: Compression,
    writer: Box<dyn RowWriter>,
    to: To,
    /// How many files there are so far.
    number: usize,
}

enum To {
    Plain(BufWriter<Box<dyn Write>>),
    GZip(GzEncoder<BufWriter<Box<dyn Write>>>),
}

impl<'a> Outputs<'a> {
    /// Opens the files that `to` names. `sources` are files that are read, which cannot be written too.
    pub(super) fn open(
        query: &'a Query,
        (shown, formats): (Shown, &Formats),
        to: &[String],
        job: Option<&Job>,
        sources: &[PathBuf],
    ) -> anyhow::Result<Self> {
        let mut files: Vec<Option<FileOutput>> = query.outputs().iter().map(|_| None).collect();
        for text in to {
            let (output, file) = named(query, text)?;
            let name = &*query.outputs()[output];
            if files[output].is_some() {
                bail!("--to: {name} is given twice");
            }
            if sources.iter().any(|source| is_same(source, &file)) {
                bail!("--to: {} is read too; give another file", file.display());
            }
            files[output] = Some(FileOutput::open(name, file, formats, job)?);
        }
        if to.is_empty() && formats_given(query, formats) {
            let [only] = query.outputs() else {
                bail!("--output-format: the query has several outputs; give --to NAME=FILE for each");
            };
            files[0] = Some(FileOutput::open(only, "-".into(), formats, job)?);
        }
        if files.iter().flatten().filter(|output| output.is_stdout()).count() > 1 {
            bail!("--to: standard output can take the rows of one output only");
        }
        Ok(Self {
            query,
            shown,
            files,
            lines: BufWriter::new(stdout()),
            skips_errors: job.is_some_and(|job| job.on_output_error == OnOutputError::Drop),
            written: 0,
            refused: 0,
        })
    }

    /// Leaves out rows that their format does not take.
    pub(super) fn skip_errors(&mut self) {
        self.skips_errors = true;
    }

    /// Writes what the engine has.
    pub(super) fn write(&mut self, engine: &mut Engine) -> anyhow::Result<()> {
        let mut line = Vec::new();
        for row in engine.rows() {
            match &mut self.files[row.output] {
                None => {
                    line.clear();
                    show(&mut line, self.query, self.shown, &row);
                    self.lines.write_all(&line)?;
                }
                Some(file) => match file.write(&row) {
                    Ok(()) => {}
                    Err(_) if self.skips_errors => {
                        self.refused += 1;
                        continue;
                    }
                    Err(error) => return Err(error.context(format!("output {}", file.name))),
                },
            }
            self.written += 1;
        }
        Ok(())
    }

    /// Ends all files.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.lines.flush()?;
        self.files.into_iter().flatten().try_for_each(|file| {
            let name = file.file.display().to_string();
            file.finish().context(name)
        })
    }
}

/// Whether a format is given for the only output.
fn formats_given(query: &Query, formats: &Formats) -> bool {
    query.outputs().iter().any(|name| formats.ending(name, None).is_some())
}

/// One row a line: JSON, behind the name of the output where there are several.
fn show(line: &mut Vec<u8>, query: &Query, shown: Shown, row: &OutputRow) {
    let name = &query.outputs()[row.output];
    match shown {
        Shown::Json => {
            line.extend(b"{\"output\":");
            Value::text(name).write_json(line);
            line.extend(format!(",\"timestamp\":\"{}\",\"row\":", row.timestamp).bytes());
            row.record.write_json(line);
            line.push(b'}');
        }
        Shown::Table => {
            if query.outputs().len() > 1 {
                line.extend(name.bytes());
                line.push(b'\t');
            }
            row.record.write_json(line);
        }
    }
    line.push(b'\n');
}

/// The output that a file is for. The name of a file may hold an equals sign too.
fn named(query: &Query, text: &str) -> anyhow::Result<(usize, PathBuf)> {
    let place = |name: &str| query.outputs().iter().position(|known| known.eq_ignore_ascii_case(name));
    if let Some((name, file)) = text.split_once('=')
        && let Some(output) = place(name)
        && !file.is_empty()
    {
        return Ok((output, file.into()));
    }
    match query.outputs() {
        [_] if !text.is_empty() && !text.contains('=') => Ok((0, text.into())),
        names => {
            let names: Vec<&str> = names.iter().map(|name| &**name).collect();
            Err(anyhow!("--to: it is written NAME=FILE, and the query writes {}", names.join(", ")))
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other && one.is_file())
}

impl FileOutput {
    fn open(name: &str, file: PathBuf, formats: &Formats, job: Option<&Job>) -> anyhow::Result<Self> {
        let ending = formats.ending(name, Some(&file));
        let of_job = job.and_then(|job| job.output(name)).map(|output| output.format);
        let decimal = job.map_or(Decimal::Point, |job| Decimal::of_locale(&job.locale));
        let format = formats.output(name, ending, of_job, decimal);
        let compression = ending.map_or(Compression::None, |ending| ending.compression);
        if compression == Compression::Deflate {
            bail!("{}: rows are compressed with gzip; let the name end with .gz", file.display());
        }
        let is_binary = ending.is_some_and(|ending: Ending| ending.is_binary())
            || matches!(format, OutputFormat::Avro | OutputFormat::Parquet);
        if file.as_os_str() == "-" && is_binary && stdout().is_terminal() {
            bail!(
                "{} is nothing for a terminal: redirect standard output, or give --to FILE",
                format.extension()
            );
        }
        let to = open(&file, compression)?;
        Ok(Self { name: name.to_owned(), file, format, compression, writer: format.writer(), to, number: 1 })
    }

    fn is_stdout(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    fn write(&mut self, row: &OutputRow) -> anyhow::Result<()> {
        match self.writer.write(&row.record) {
            Err(error) if error.wants_new_file() => {
                if self.is_stdout() {
                    return Err(error).context("standard output is one file; give --to FILE");
                }
                self.next_file()?;
                self.writer.write(&row.record)?;
            }
            other => other?,
        }
        if self.writer.size() >= DRAIN_AT {
            let bytes = self.writer.drain();
            self.to.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Ends the file and begins its sequel.
    #[allow(clippy::print_stderr, reason = "what people should know of their files")]
    fn next_file(&mut self) -> anyhow::Result<()> {
        self.number += 1;
        let file = sequel(&self.file, self.number);
        eprintln!("{}: goes on in {}", self.name, file.display());
        let to = std::mem::replace(&mut self.to, open(&file, self.compression)?);
        let writer = std::mem::replace(&mut self.writer, self.format.writer());
        end(writer, to).context(file.display().to_string())
    }

    #[allow(clippy::print_stderr, reason = "what people should know of their files")]
    fn finish(self) -> anyhow::Result<()> {
        let is_empty = self.writer.rows() == 0 && self.number == 1;
        end(self.writer, self.to)?;
        // A file without a schema is none of these formats.
        if is_empty && matches!(self.format, OutputFormat::Avro | OutputFormat::Parquet) {
            eprintln!("{}: there are no rows, so there is no file", self.name);
            if self.file.as_os_str() != "-" && self.file.is_file() {
                std::fs::remove_file(&self.file)?;
            }
        }
        Ok(())
    }
}

fn open(file: &Path, compression: Compression) -> anyhow::Result<To> {
    let to: Box<dyn Write> = match file.as_os_str().as_encoded_bytes() {
        b"-" => Box::new(stdout()),
        _ => Box::new(File::create(file).with_context(|| file.display().to_string())?),
    };
    let to = BufWriter::new(to);
    Ok(match compression {
        Compression::None => To::Plain(to),
        _ => To::GZip(GzEncoder::new(to, flate2::Compression::default())),
    })
}

/// Writes what a writer has left.
fn end(writer: Box<dyn RowWriter>, mut to: To) -> anyhow::Result<()> {
    to.write_all(&writer.finish()?)?;
    match to {
        To::Plain(mut to) => to.flush()?,
        To::GZip(to) => to.finish()?.flush()?,
    }
    Ok(())
}

impl To {
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(to) => to.write_all(bytes),
            Self::GZip(to) => to.write_all(bytes),
        }
    }
}
