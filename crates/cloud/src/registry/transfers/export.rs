//! All identities with their twins as lines of a blob.

use super::super::error::Error;
use super::super::{Registry, Stored, activity, identities, tables, view};
use super::Failure;
use super::row::{Export, Transfer};
use ironbrook_model::Identity;
use ironbrook_model::twin::Twin;
use redb::{ReadTransaction, ReadableTableMetadata};
use serde_json::{Map, Value, json};
use std::ops::Bound;

/// Items read at a time.
const GROUP_MAX: usize = 500;
/// Configurations read at a time; there are no more.
const CONFIGURATIONS_MAX: usize = 10_000;

impl Registry {
    /// Writes all identities and twins, and configurations where they are wanted.
    pub(super) async fn export(&self, id: &str, export: &Export) -> Result<(), Failure> {
        let count = |tx: &ReadTransaction| Ok(tx.open_table(tables::IDENTITIES)?.len()?);
        let all = self.inner.store.read(count).await?.max(1);
        let mut upload = export.output.begin(&export.items).await?;
        let (mut after, mut written) = (None, 0_u64);
        loop {
            let (lines, items, last) = self.lines(after, export.with_keys).await?;
            upload.write(&lines).await?;
            written += items as u64;
            let percent = u8::try_from((written * 100 / all).min(99)).unwrap_or(99);
            self.note(id, move |transfer: &mut Transfer| transfer.progress = percent).await?;
            if items < GROUP_MAX {
                break;
            }
            after = last;
        }
        upload.finish().await?;
        let Some(name) = &export.configurations else { return Ok(()) };
        let mut lines = Vec::new();
        for mut configuration in self.list_configurations(CONFIGURATIONS_MAX).await? {
            // What was counted here says nothing elsewhere.
            if let Value::Object(members) = &mut configuration {
                members.shift_remove("systemMetrics");
            }
            lines.extend_from_slice(format!("{configuration}\n").as_bytes());
        }
        export.output.write(name, lines.into()).await
    }

    /// The next lines, how many they are, and the key of the last.
    async fn lines(
        &self,
        after: Option<String>,
        with_keys: bool,
    ) -> Result<(Vec<u8>, usize, Option<String>), Failure> {
        let inner = self.inner.clone();
        let read = move |tx: &ReadTransaction| {
            let table = tx.open_table(tables::IDENTITIES)?;
            let (twins, activities) = (tx.open_table(tables::TWINS)?, tx.open_table(tables::ACTIVITY)?);
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let (mut lines, mut items, mut last) = (Vec::new(), 0, None);
            for row in table.range::<&str>((from, Bound::Unbounded))?.take(GROUP_MAX) {
                let (key, bytes) = row?;
                let (identity, mut stored) =
                    (tables::identity(key.value())?, tables::decode::<Stored>("identity", bytes.value())?);
                activity::fill(&activities, key.value(), &mut stored)?;
                let twin = identities::get(&twins, "twin", key.value())?.unwrap_or_default();
                let shown = view::identity(&inner, &identity, &stored);
                let item = item(&identity, shown, &twin, with_keys);
                lines.extend_from_slice(format!("{item}\n").as_bytes());
                items += 1;
                last = Some(key.value().to_owned());
            }
            Ok::<_, Error>((lines, items, last))
        };
        Ok(self.inner.store.read(read).await?)
    }
}

/// One line: rule REG-08
fn item(identity: &Identity, mut shown: Value, twin: &Twin, with_keys: bool) -> Value {
    let mut item = Map::from_iter([("id".to_owned(), Value::from(identity.device.as_str()))]);
    let mut put = |name: &str, value: Value| {
        item.insert(name.to_owned(), value);
    };
    if let Some(module) = &identity.module {
        put("moduleId", module.as_str().into());
    }
    put("eTag", shown["etag"].take());
    for name in ["managedBy", "status", "statusReason"] {
        put(name, shown[name].take());
    }
    if !with_keys {
        shown["authentication"]["symmetricKey"] = json!({ "primaryKey": null, "secondaryKey": null });
    }
    put("authentication", shown["authentication"].take());
    put("twinETag", twin.etag().into());
    put("tags", Value::Object(twin.tags.clone()));
    let sections =
        json!({ "desired": twin.desired.service_view(), "reported": twin.reported.service_view() });
    put("properties", sections);
    for name in ["capabilities", "deviceScope", "parentScopes"] {
        put(name, shown[name].take());
    }
    item.retain(|_, value| !value.is_null());
    Value::Object(item)
}
