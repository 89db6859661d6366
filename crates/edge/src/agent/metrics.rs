//! The agent's counters, with their stock names.

use crate::manifest::ModuleDesired;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, String)>;

macro_rules! metrics {
    ($($field:ident: $kind:ty = $name:literal, $help:literal;)*) => {
        /// The agent's counters. Cheap to clone; clones count together.
        #[derive(Debug, Clone, Default)]
        pub struct Metrics {
            $($field: $kind,)*
        }

        impl Metrics {
            /// Makes the counters and shows them in a registry, below the prefix `edgeAgent`.
            pub fn new(registry: &mut Registry) -> Self {
                let registry = registry.sub_registry_with_prefix("edgeAgent");
                let metrics = Self::default();
                $(registry.register($name, $help, metrics.$field.clone());)*
                metrics
            }
        }
    };
}

// The registry appends `_total` to counters.
metrics! {
    starts: Family<Labels, Counter> = "module_start", "Starts of modules";
    stops: Family<Labels, Counter> = "module_stop", "Stops of modules";
    syncs: Counter = "iothub_syncs", "Readings of the agent's twin";
    failed_syncs: Counter = "unsuccessful_iothub_syncs", "Readings of the agent's twin that failed";
    methods: Family<Labels, Counter> = "edgeagent_direct_method_invocations_count", "Calls of the agent's direct methods";
}

impl Metrics {
    pub(super) fn started(&self, module: &str, desired: Option<&ModuleDesired>) {
        self.starts.get_or_create(&labels(module, desired)).inc();
    }

    pub(super) fn stopped(&self, module: &str, desired: Option<&ModuleDesired>) {
        self.stops.get_or_create(&labels(module, desired)).inc();
    }

    pub(super) fn synced(&self, success: bool) {
        if success { &self.syncs } else { &self.failed_syncs }.inc();
    }

    /// `method` is one of the known names: callers could make any number of others.
    pub(super) fn called(&self, method: &'static str) {
        self.methods.get_or_create(&vec![("method_name", method.to_owned())]).inc();
    }
}

fn labels(module: &str, desired: Option<&ModuleDesired>) -> Labels {
    let version = desired.map(|desired| desired.version.clone()).unwrap_or_default();
    vec![("module_name", module.to_owned()), ("module_version", version)]
}
