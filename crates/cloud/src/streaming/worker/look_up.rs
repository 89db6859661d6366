//! Reference data at the start and when it changes.

use super::{Worker, time};
use crate::streaming::JobError;
use ironbrook_analytics::value::DateTime;
use tokio_util::sync::CancellationToken;

impl Worker {
    /// Waits for reference data; false where it was cancelled.
    pub(super) async fn load_references(&mut self, cancel: &CancellationToken) -> Result<bool, JobError> {
        for number in 0..self.references.len() {
            loop {
                let reference = &mut self.references[number];
                let span = (self.from, time(self.clock.now()));
                match reference.read(&self.place.account, &self.query, span).await {
                    Ok(versions) => {
                        for (valid, rows) in versions {
                            let valid = valid.unwrap_or(DateTime::MIN);
                            self.engine.load_reference(reference.input, valid, &rows)?;
                        }
                        break;
                    }
                    Err(error) => self.status.trouble(&format!("waiting: {error}")),
                }
                tokio::select! {
                    () = cancel.cancelled() => return Ok(false),
                    () = self.clock.sleep(self.place.settings.refresh) => {}
                }
            }
        }
        self.refresh_at = self.clock.now().plus(self.place.settings.refresh);
        Ok(true)
    }

    /// Reads reference data again where it is time and it changed. What cannot be read leaves the rows that are there.
    pub(super) async fn refresh(&mut self) {
        let now = self.clock.now();
        if self.references.is_empty() || now < self.refresh_at {
            return;
        }
        self.refresh_at = now.plus(self.place.settings.refresh);
        for reference in &mut self.references {
            match reference.read(&self.place.account, &self.query, (self.floor, time(now))).await {
                Ok(versions) => {
                    for (valid, rows) in versions {
                        // The input is one of the query's own.
                        let _ =
                            self.engine.load_reference(reference.input, valid.unwrap_or(self.floor), &rows);
                        tracing::info!(job = self.name, rows = rows.len(), "reference data read again");
                    }
                }
                Err(error) => {
                    tracing::warn!(job = self.name, %error, "reference data stays as it was");
                    self.status.trouble(&format!("reference data stays as it was: {error}"));
                }
            }
        }
    }
}
