//! The broker's figures for Prometheus, read when they are asked for.

use ironbrook_pubsub::Broker;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;

/// See the module.
pub(super) struct Figures(Broker);

impl Figures {
    pub(super) fn register(broker: Broker, registry: &mut Registry) {
        registry.register_collector(Box::new(Self(broker)));
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.0.snapshot();
        let counters = [
            ("topics_messages_received", "Publishes of clients to ordinary topics", now.messages_received),
            ("topics_messages_sent", "Publishes handed out to clients", now.messages_sent),
            ("topics_bytes_received", "Payload bytes of publishes received", now.bytes_received),
            ("topics_bytes_sent", "Payload bytes of publishes handed out", now.bytes_sent),
            (
                "topics_messages_dropped",
                "Messages left out for a session whose queue was full",
                now.messages_dropped,
            ),
            ("topics_messages_expired", "Messages that expired in a queue", now.messages_expired),
            ("topics_journal_damaged", "Records that could not be read at start", now.journal_damaged),
        ];
        for (name, help, value) in counters {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let gauges = [
            ("topics_clients_connected", "Connected clients", now.clients_connected),
            ("topics_sessions", "Sessions, connected or not", now.sessions),
            ("topics_subscriptions", "Subscriptions", now.subscriptions),
            ("topics_retained", "Retained messages", now.retained),
            ("topics_retained_bytes", "Bytes of retained messages", now.retained_bytes),
            ("topics_stored_bytes", "Bytes of messages on disk that are retained or wait", now.stored_bytes),
        ];
        for (name, help, value) in gauges {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}
