//! How endpoints do, for Prometheus: read when somebody asks.

use ironbrook_hub::executor::{EndpointStatus, Handle};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;

/// Shows queues and health of all endpoints in a registry.
pub(super) fn register(registry: &mut Registry, executors: &Handle) {
    registry.register_collector(Box::new(Endpoints(executors.clone())));
}

struct Endpoints(Handle);

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").finish_non_exhaustive()
    }
}

impl Collector for Endpoints {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut queued: BTreeMap<String, u64> = BTreeMap::new();
        for (endpoint, _, waiting) in self.0.backlog() {
            *queued.entry(endpoint).or_default() += waiting;
        }
        let queued = queued.into_iter().map(|(name, count)| (name, i64::try_from(count).unwrap_or(i64::MAX)));
        let help = "Records of the log an endpoint has still to look at";
        gauge(&mut encoder, "hub_endpoints_queued", help, queued)?;
        let healthy = self.0.health().into_iter().map(|health| {
            let is_well = matches!(health.status(), EndpointStatus::Healthy | EndpointStatus::Unknown);
            (health.name, i64::from(is_well))
        });
        gauge(&mut encoder, "hub_endpoints_healthy", "1 where an endpoint takes what it is given", healthy)
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (String, i64)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (endpoint, value) in values {
        let labels = [("endpoint", endpoint)];
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
