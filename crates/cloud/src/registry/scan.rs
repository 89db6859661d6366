//! Reading all twins, for queries.

use super::error::Error;
use super::{Registry, tables, view};
use ironbrook_model::Refusal;
use ironbrook_model::twin::Twin;
use serde_json::Value;

/// What a query reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Twins of devices.
    Devices,
    /// Twins of modules.
    Modules,
}

/// A part of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The items.
    pub items: Vec<Value>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

impl Registry {
    /// Hands every twin of a source, in the order of ids, to `visit` until it returns false; on a thread that may wait for the
    /// disk. `from` skips what stands before a key that an earlier call of `visit` was given.
    pub async fn scan<T: Send + 'static>(
        &self,
        source: Source,
        from: Option<String>,
        mut state: T,
        mut visit: impl FnMut(&mut T, &str, Value) -> bool + Send + 'static,
    ) -> Result<T, Refusal> {
        let inner = self.inner.clone();
        let read = move |tx: &redb::ReadTransaction| {
            let identities = tx.open_table(tables::IDENTITIES)?;
            let twins = tx.open_table(tables::TWINS)?;
            for row in twins.range::<&str>(from.as_deref().unwrap_or("")..)? {
                let (key, twin) = row?;
                let identity = tables::identity(key.value())?;
                if identity.module.is_some() != (source == Source::Modules) {
                    continue;
                }
                let twin: Twin = tables::decode("twin", twin.value())?;
                let Some(stored) = super::identities::get(&identities, "identity", key.value())? else {
                    return Err(Error::Stored { what: "twin", why: "its identity is missing".to_owned() });
                };
                let item = view::twin(&inner, &identity, &stored, &twin);
                if !visit(&mut state, key.value(), item) {
                    break;
                }
            }
            Ok(state)
        };
        self.inner.store.read(read).await
    }
}
