//! Counters of the core, with the names of the original where it has names.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Labels of a counter: name and value.
pub type Labels = Vec<(&'static str, String)>;

macro_rules! metrics {
    ($($field:ident: $kind:ty = $name:literal, $help:literal;)*) => {
        /// The core's counters and gauges. Cheap to clone; clones count together.
        #[derive(Debug, Clone, Default)]
        pub struct Metrics {
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl Metrics {
            /// Makes the counters and shows them in a registry.
            pub fn new(registry: &mut Registry) -> Self {
                let metrics = Self::default();
                $(registry.register($name, $help, metrics.$field.clone());)*
                metrics
            }
        }
    };
}

metrics! {
    telemetry_received: Counter = "d2c_telemetry_ingress_allProtocol", "Telemetry messages offered by devices";
    telemetry_accepted: Counter = "d2c_telemetry_ingress_success", "Telemetry messages taken into the log";
    telemetry_orphaned: Counter = "d2c_telemetry_egress_orphaned", "Telemetry messages that no route wanted";
    telemetry_fallback: Counter = "d2c_telemetry_egress_fallback", "Telemetry messages that only the fallback route wanted";
    telemetry_refused: Counter = "d2c_telemetry_ingress_refused", "Telemetry messages refused, back-pressure not counted";
    events_published: Counter = "hub_events_published", "Twin, lifecycle and connection events taken into the log";
    endpoint_sent: Family<Labels, Counter> = "d2c_endpoints_egress_success", "Messages an endpoint took";
    endpoint_batches: Family<Labels, Counter> = "d2c_endpoints_egress_batches", "Batches an endpoint took";
    endpoint_retries: Family<Labels, Counter> = "d2c_endpoints_egress_retries", "Batches an endpoint could not take at once";
    endpoint_dropped: Family<Labels, Counter> = "d2c_telemetry_egress_dropped", "Messages dead-lettered at an endpoint";
    endpoint_expired: Family<Labels, Counter> = "hub_endpoints_expired", "Those of the dead-lettered that outlived their time";
    records_undecodable: Family<Labels, Counter> = "hub_records_undecodable", "Records of the log that could not be read as messages";
    twin_reads: Counter = "d2c_twin_read_success", "Twins read by devices";
    twin_read_failures: Counter = "d2c_twin_read_failure", "Twin reads by devices that failed";
    twin_updates: Counter = "d2c_twin_update_success", "Reported properties changed by devices";
    twin_update_failures: Counter = "d2c_twin_update_failure", "Changes of reported properties that failed";
    methods_succeeded: Counter = "c2d_methods_success", "Direct methods a device answered";
    methods_failed: Counter = "c2d_methods_failure", "Direct methods without an answer";
    commands_completed: Counter = "c2d_commands_egress_complete_success", "Cloud-to-device messages completed by devices";
    commands_rejected: Counter = "c2d_commands_egress_reject_success", "Cloud-to-device messages rejected by devices";
    commands_abandoned: Counter = "c2d_commands_egress_abandon_success", "Cloud-to-device messages abandoned by devices";
    inputs_completed: Counter = "hub_inputs_completed", "Messages to inputs completed by modules";
    inputs_rejected: Counter = "hub_inputs_rejected", "Messages to inputs rejected by modules";
    inputs_abandoned: Counter = "hub_inputs_abandoned", "Messages to inputs given back by modules";
    connects: Counter = "hub_connects", "Sessions opened";
    connects_refused: Counter = "hub_connects_refused", "Credentials that did not hold";
    connected: Gauge = "connectedDeviceCount", "Identities with a lasting connection";
}
