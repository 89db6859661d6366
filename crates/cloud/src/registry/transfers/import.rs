//! Items of a blob into the registry.

use super::super::{ConfigurationWish, IfMatch, ImportMode, Registry};
use super::Failure;
use super::row::{Import, Transfer};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use ironbrook_model::{ErrorCode, Refusal};
use serde_json::{Value, json};

/// The blob errors go to.
const ERRORS: &str = "importErrors.log";
/// Longest line in bytes: a device with full twins.
const LINE_LEN_MAX: usize = 1 << 20;
/// Items done at a time.
const GROUP_MAX: usize = 256;
/// Items whose changes wait for the disk at the same time.
const CONCURRENT_MAX: usize = 64;
/// Bytes of errors that are kept; those beyond are only counted.
const ERRORS_LEN_MAX: usize = 16 << 20;

/// What did not go well, a line each.
#[derive(Default)]
struct Errors {
    lines: Vec<u8>,
    count: u64,
}

impl Errors {
    fn add(&mut self, item: &Value, refusal: &Refusal) {
        self.count += 1;
        if self.lines.len() >= ERRORS_LEN_MAX {
            return;
        }
        let line = json!({
            "deviceId": item.get("id"), "moduleId": item.get("moduleId"),
            "errorCode": refusal.code.number(), "errorStatus": refusal.message,
        });
        self.lines.extend_from_slice(format!("{line}\n").as_bytes());
    }
}

/// Lines of a stream of bytes.
struct Lines {
    stream: BoxStream<'static, Result<Bytes, Failure>>,
    rest: BytesMut,
    read: u64,
    is_over: bool,
}

impl Lines {
    /// The next lines; none at the end.
    async fn next(&mut self, most: usize) -> Result<Vec<Bytes>, Failure> {
        let mut lines = Vec::new();
        while lines.len() < most {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line = self.rest.split_to(end + 1).freeze();
                lines.push(line.slice(..end));
                continue;
            }
            if self.rest.len() > LINE_LEN_MAX {
                return Err(Failure::Wish(format!("a line is longer than {LINE_LEN_MAX} bytes")));
            }
            match self.stream.next().await.transpose()? {
                Some(bytes) => {
                    self.read += bytes.len() as u64;
                    self.rest.extend_from_slice(&bytes);
                }
                None if self.rest.is_empty() || self.is_over => break,
                None => {
                    self.is_over = true;
                    lines.push(self.rest.split().freeze());
                }
            }
        }
        Ok(lines)
    }
}

impl Registry {
    /// Reads all items, and configurations where they are wanted; writes what did not go well.
    pub(super) async fn import(&self, id: &str, import: &Import) -> Result<(), Failure> {
        let mut errors = Errors::default();
        let (size, stream) = import.input.read(&import.items).await?;
        let mut lines = Lines { stream, rest: BytesMut::new(), read: 0, is_over: false };
        loop {
            let group = lines.next(GROUP_MAX).await?;
            if group.is_empty() {
                break;
            }
            self.import_group(&group, &mut errors).await;
            let percent = u8::try_from((lines.read * 100 / size.max(1)).min(99)).unwrap_or(99);
            self.note(id, move |transfer: &mut Transfer| transfer.progress = percent).await?;
        }
        if let Some(name) = &import.configurations {
            let (_, stream) = import.input.read(name).await?;
            let mut lines = Lines { stream, rest: BytesMut::new(), read: 0, is_over: false };
            loop {
                let group = lines.next(GROUP_MAX).await?;
                if group.is_empty() {
                    break;
                }
                for line in group.iter().filter(|line| !line.trim_ascii().is_empty()) {
                    self.import_configuration(line, &mut errors).await;
                }
            }
        }
        import.errors.write(ERRORS, errors.lines.into()).await?;
        match errors.count {
            0 => Ok(()),
            count => Err(Failure::Wish(format!("{count} items were refused; {ERRORS} says which and why"))),
        }
    }

    /// Edge devices first, then other devices, then modules: each needs those before it.
    async fn import_group(&self, lines: &[Bytes], errors: &mut Errors) {
        let mut ranks: [Vec<Value>; 3] = Default::default();
        for line in lines.iter().filter(|line| !line.trim_ascii().is_empty()) {
            match serde_json::from_slice::<Value>(line) {
                Ok(item) => ranks[rank(&item)].push(item),
                Err(_) => errors.add(&Value::Null, &unreadable()),
            }
        }
        for items in ranks {
            let work = stream::iter(items).map(|mut item| async move {
                self.adopt_scopes(&mut item).await;
                let done = self.apply_item(item.clone(), ImportMode::CREATE_OR_UPDATE).await;
                (item, done)
            });
            let mut done = work.buffered(CONCURRENT_MAX);
            while let Some((item, result)) = done.next().await {
                if let Err(refusal) = result {
                    errors.add(&item, &refusal);
                }
            }
        }
    }

    async fn import_configuration(&self, line: &[u8], errors: &mut Errors) {
        let Ok(item) = serde_json::from_slice::<Value>(line) else {
            return errors.add(&Value::Null, &unreadable());
        };
        let wish: Result<ConfigurationWish, _> = serde_json::from_value(item.clone());
        let (Ok(wish), Some(id)) = (wish, item.get("id").and_then(Value::as_str)) else {
            return errors.add(&item, &unreadable());
        };
        let made = self.put_configuration(id.to_owned(), wish.clone(), None).await;
        let done = match made {
            Err(refusal) if refusal.code == ErrorCode::ConfigurationAlreadyExists => {
                self.put_configuration(id.to_owned(), wish, Some(IfMatch::Any)).await
            }
            other => other,
        };
        if let Err(refusal) = done {
            errors.add(&item, &refusal);
        }
    }
}

fn rank(item: &Value) -> usize {
    if item.get("moduleId").is_some_and(|module| !module.is_null()) {
        return 2;
    }
    usize::from(item["capabilities"]["iotEdge"] != true)
}

fn unreadable() -> Refusal {
    Refusal::new(ErrorCode::DeserializationError, "a line is not JSON of the expected form")
}
