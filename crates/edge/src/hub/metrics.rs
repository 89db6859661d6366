//! The edge hub's metrics with their stock names, made from the core's counters when they are asked for.
//!
//! | name | labels | what is left out of the stock labels |
//! |---|---|---|
//! | `edgehub_messages_received_total` | | `route_output`, `id` |
//! | `edgehub_messages_sent_total` | `to` | `from`, outputs and inputs, `priority` |
//! | `edgehub_messages_dropped_total` | `reason`: `no_route`, `ttl_expiry`, `rejected` | `from`, `from_route_output` |
//! | `edgehub_queue_length` | `endpoint`, `priority` | |
//! | `edgehub_connected_clients`, `…client_connect_success_total`, `…client_connect_failed_total` | | `id`, `reason` |
//! | `edgehub_gettwin_total`, `…reported_properties_total`, `…direct_methods_total` | | `source`, `target`, `from`, `to`, `id` |
//!
//! All bear `iothub` and `edge_device`. Labels with the ids of clients would grow without bound.

use ironbrook_hub::Metrics;
use ironbrook_hub::executor::Handle;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;

type Result = std::result::Result<(), fmt::Error>;

/// Shows the metrics in a registry.
pub(super) fn register(
    registry: &mut Registry,
    iothub: &str,
    device: &str,
    core: Metrics,
    executors: Handle,
) {
    let labels = [("iothub", iothub), ("edge_device", device)];
    let labels = labels.map(|(name, value)| (name.into(), value.to_owned().into()));
    let registry = registry.sub_registry_with_prefix("edgehub").sub_registry_with_labels(labels.into_iter());
    registry.register_collector(Box::new(EdgeHubMetrics { core, executors }));
}

struct EdgeHubMetrics {
    core: Metrics,
    executors: Handle,
}

impl fmt::Debug for EdgeHubMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeHubMetrics").finish_non_exhaustive()
    }
}

impl Collector for EdgeHubMetrics {
    // rule EDGEHUB-10
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result {
        let encoder = &mut encoder;
        let core = &self.core;
        let received = core.telemetry_accepted.get() + core.telemetry_orphaned.get();
        for (name, help, value) in [
            ("messages_received", "Messages taken from clients", received),
            ("gettwin", "Twins read by clients", core.twin_reads.get()),
            ("reported_properties", "Changes of reported properties by clients", core.twin_updates.get()),
            ("direct_methods", "Direct methods that clients answered", core.methods_succeeded.get()),
            ("client_connect_success", "Sessions opened", core.connects.get()),
            ("client_connect_failed", "Credentials that did not hold", core.connects_refused.get()),
        ] {
            counters(encoder, name, help, vec![(vec![], value)])?;
        }
        let names: Vec<String> = self.executors.health().into_iter().map(|health| health.name).collect();
        let sent = names.iter().map(|name| (vec![("to", name.clone())], of(&core.endpoint_sent, name)));
        counters(encoder, "messages_sent", "Messages that endpoints took", sent.collect())?;
        let total = |family| names.iter().map(|name| of(family, name)).sum::<u64>();
        let (dropped, expired) = (total(&core.endpoint_dropped), total(&core.endpoint_expired));
        let reasons = [
            ("no_route", core.telemetry_orphaned.get()),
            ("ttl_expiry", expired),
            ("rejected", dropped.saturating_sub(expired)),
        ];
        let reasons = reasons.map(|(reason, count)| (vec![("reason", reason.to_owned())], count));
        counters(encoder, "messages_dropped", "Messages that were not delivered", reasons.into())?;
        let waiting = self.executors.backlog().into_iter().map(|(endpoint, priority, count)| {
            (vec![("endpoint", endpoint), ("priority", priority.to_string())], count)
        });
        gauges(encoder, "queue_length", "Messages that wait for an endpoint, at most", waiting.collect())?;
        let connected = u64::try_from(core.connected.get()).unwrap_or(0);
        gauges(encoder, "connected_clients", "Clients connected now", vec![(vec![], connected)])
    }
}

type Values = Vec<(Vec<(&'static str, String)>, u64)>;

/// What one of the core's counters by endpoint shows.
fn of(family: &Family<Vec<(&'static str, String)>, Counter>, endpoint: &str) -> u64 {
    family.get(&vec![("endpoint", endpoint.to_owned())]).map_or(0, |counter| counter.get())
}

fn counters(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, values: Values) -> Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, values: Values) -> Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
