//! Counters of the doors.

use ironbrook_model::ErrorCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A protocol that a door speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are label values")]
pub enum Protocol {
    /// MQTT 3.1.1.
    mqtt,
    /// AMQP 1.0.
    amqp,
    /// HTTP/1.1.
    http,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProtocol {
    protocol: Protocol,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    protocol: Protocol,
    code: u32,
}

/// The counters. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    connections: Family<ByProtocol, Gauge>,
    opened: Family<ByProtocol, Counter>,
    received: Family<ByProtocol, Counter>,
    sent: Family<ByProtocol, Counter>,
    refused: Family<ByCode, Counter>,
    handshakes_failed: Counter,
}

impl Metrics {
    /// Counters that `registry` prints.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("gateway_connections", "Open connections", metrics.connections.clone());
        registry.register(
            "gateway_connections_opened",
            "Connections opened since start",
            metrics.opened.clone(),
        );
        registry.register(
            "gateway_messages_received",
            "Messages taken from clients",
            metrics.received.clone(),
        );
        registry.register("gateway_messages_sent", "Messages handed to clients", metrics.sent.clone());
        registry.register(
            "gateway_refused",
            "Requests and connections refused, by code",
            metrics.refused.clone(),
        );
        registry.register(
            "gateway_tls_handshakes_failed",
            "TLS handshakes that did not succeed",
            metrics.handshakes_failed.clone(),
        );
        metrics
    }

    /// Counts a connection until the guard is dropped.
    pub fn connection(&self, protocol: Protocol) -> ConnectionGuard {
        let label = ByProtocol { protocol };
        self.opened.get_or_create(&label).inc();
        let gauge = self.connections.get_or_create(&label).clone();
        gauge.inc();
        ConnectionGuard(gauge)
    }

    /// The counter of messages taken, to be kept by a connection: a lookup per message would cost more than the count.
    pub fn received(&self, protocol: Protocol) -> Counter {
        self.received.get_or_create(&ByProtocol { protocol }).clone()
    }

    /// The counter of messages handed out.
    pub fn sent(&self, protocol: Protocol) -> Counter {
        self.sent.get_or_create(&ByProtocol { protocol }).clone()
    }

    /// Counts a refusal.
    pub fn refused(&self, protocol: Protocol, code: ErrorCode) {
        self.refused.get_or_create(&ByCode { protocol, code: code.number() }).inc();
    }

    /// Counts a TLS handshake that failed.
    pub fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }
}

/// Counts a connection as open while it lives.
#[derive(Debug)]
pub struct ConnectionGuard(Gauge);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_printed_with_their_labels() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let guard = metrics.connection(Protocol::mqtt);
        metrics.refused(Protocol::amqp, ErrorCode::IotHubUnauthorized);
        metrics.received(Protocol::http).inc_by(3);
        let print = |registry: &Registry| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
            text
        };
        let text = print(&registry);
        assert!(text.contains("gateway_connections{protocol=\"mqtt\"} 1"), "{text}");
        assert!(text.contains("gateway_refused_total{protocol=\"amqp\",code=\"401003\"} 1"), "{text}");
        assert!(text.contains("gateway_messages_received_total{protocol=\"http\"} 3"), "{text}");
        drop(guard);
        assert!(print(&registry).contains("gateway_connections{protocol=\"mqtt\"} 0"));
    }
}
