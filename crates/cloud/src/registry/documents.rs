//! Documents of the provisioning service: enrolments and what became of them, in the registry's database, so that they are
//! written and synced as identities are.

use super::error::Error;
use super::store::Changes;
use super::{Registry, tables};
use ironbrook_model::Refusal;
use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where documents lie, by their id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shelf {
    /// Enrolments of one device.
    Enrollments,
    /// Enrolments of many.
    EnrollmentGroups,
    /// What became of devices that registered.
    Registrations,
}

impl Shelf {
    const fn table(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        match self {
            Self::Enrollments => tables::ENROLLMENTS,
            Self::EnrollmentGroups => tables::ENROLLMENT_GROUPS,
            Self::Registrations => tables::REGISTRATIONS,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Enrollments => "enrolment",
            Self::EnrollmentGroups => "enrolment group",
            Self::Registrations => "registration",
        }
    }
}

impl Registry {
    /// A document.
    pub(crate) async fn document<T>(&self, shelf: Shelf, id: String) -> Result<Option<T>, Refusal>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let read = move |tx: &ReadTransaction| {
            let table = tx.open_table(shelf.table())?;
            table.get(id.as_str())?.map(|bytes| tables::decode(shelf.what(), bytes.value())).transpose()
        };
        self.inner.store.read(read).await
    }

    /// Up to `count` documents whose ids come after one, by id, of which `wanted` says yes.
    pub(crate) async fn documents<T>(
        &self,
        shelf: Shelf,
        after: String,
        count: usize,
        wanted: impl Fn(&T) -> bool + Send + 'static,
    ) -> Result<Vec<(String, T)>, Refusal>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let read = move |tx: &ReadTransaction| {
            let table = tx.open_table(shelf.table())?;
            let mut found = Vec::new();
            for row in table.range(after.as_str()..)? {
                let (id, bytes) = row?;
                if id.value() == after {
                    continue;
                }
                let document = tables::decode(shelf.what(), bytes.value())?;
                if wanted(&document) {
                    found.push((id.value().to_owned(), document));
                }
                if found.len() >= count {
                    break;
                }
            }
            Ok(found)
        };
        self.inner.store.read(read).await
    }

    /// Changes a document, which is given as it is, with how many there are; `None` takes it away. Returns when it is on disk.
    pub(crate) async fn change_document<T, F>(
        &self,
        shelf: Shelf,
        id: String,
        change: F,
    ) -> Result<Option<T>, Refusal>
    where
        T: Serialize + DeserializeOwned + Clone + Send + 'static,
        F: FnOnce(Option<T>, u64) -> Result<Option<T>, Refusal> + Send + 'static,
    {
        let change = move |changes: &Changes<'_>| {
            let mut table = changes.tx.open_table(shelf.table())?;
            let count = table.len()?;
            let old = table
                .get(id.as_str())?
                .map(|bytes| tables::decode::<T>(shelf.what(), bytes.value()))
                .transpose()?;
            let new = change(old, count).map_err(Error::Refused)?;
            match &new {
                Some(new) => {
                    table.insert(id.as_str(), tables::encode(shelf.what(), new)?.as_slice())?;
                }
                None => {
                    table.remove(id.as_str())?;
                }
            }
            Ok(new)
        };
        self.inner.store.write(change).await
    }

    /// The id scope of the provisioning service: made at random once, then always the same. Blocks.
    pub(crate) fn id_scope(&self) -> Result<String, Error> {
        const SERIES: &str = "id scope";
        let number = self.inner.store.write_now(|changes| {
            let mut counters = changes.tx.open_table(tables::COUNTERS)?;
            if let Some(number) = counters.get(SERIES)?.map(|number| number.value()) {
                return Ok(number);
            }
            let number = u64::from(uuid::Uuid::new_v4().as_fields().0);
            counters.insert(SERIES, number)?;
            Ok(number)
        })?;
        Ok(format!("0ne{number:08X}"))
    }
}
