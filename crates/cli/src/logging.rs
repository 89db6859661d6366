//! Logging to stderr.

use crate::commands::Global;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// What is logged unless told otherwise: our own news, others' warnings.
const DEFAULT_FILTER: &str = "warn,ironbrook=info,ironbrook_cli=info,ironbrook_cloud=info,ironbrook_gateway=info,ironbrook_hub=info,ironbrook_log=info,ironbrook_modules=info,ironbrook_portal=info";

/// Starts logging for the process.
pub fn init(global: &Global) {
    let filter = global.log.as_deref().unwrap_or(DEFAULT_FILTER);
    let parsed = EnvFilter::try_new(filter);
    let wrong = parsed.as_ref().err().map(ToString::to_string);
    let filter = parsed.unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if global.log_json {
        builder.json().init()
    } else {
        builder.init()
    }
    if let Some(error) = wrong {
        tracing::warn!(target: "ironbrook", error, "the log filter cannot be read; the usual one is used");
    }
}
