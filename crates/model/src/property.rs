//! System properties and how each protocol spells them: the one table of names.
//!
//! Source: Azure docs "Create and read IoT Hub messages", "Message routing query syntax", and the SDKs' topic builders.

/// A property that the platform defines, as opposed to one a user made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SystemProperty {
    /// Chosen by the sender; up to 128 characters.
    MessageId = 1,
    /// Id of the message this one answers.
    CorrelationId = 2,
    /// Origin of the message.
    UserId = 3,
    /// Destination, on C2D messages.
    To = 4,
    /// MIME type of the body.
    ContentType = 5,
    /// Charset of the body, e.g. `utf-8`.
    ContentEncoding = 6,
    /// Absolute expiry time, ISO 8601.
    Expiry = 7,
    /// When the sender made the message, ISO 8601.
    CreationTime = 8,
    /// Schema name of the body.
    MessageSchema = 9,
    /// Plug-and-play interface id.
    InterfaceId = 10,
    /// Plug-and-play component name (`dt-subject`).
    Subject = 11,
    /// Plug-and-play model id (`dt-dataschema`).
    DataSchema = 12,
    /// Output of a module the message left by.
    OutputName = 13,
    /// Input of a module the message goes to.
    InputName = 14,
    /// Feedback wish of a C2D message: `none`, `positive`, `negative`, `full`.
    Ack = 15,
    /// Operation asked of the receiver.
    Operation = 16,
    /// Device that sent the message; stamped by the hub.
    ConnectionDeviceId = 17,
    /// Module that sent the message; stamped by the hub.
    ConnectionModuleId = 18,
    /// How the sender authenticated, JSON text; stamped by the hub.
    ConnectionAuthMethod = 19,
    /// Generation of the sender's identity; stamped by the hub.
    ConnectionGenerationId = 20,
    /// Distributed tracing id.
    DiagnosticId = 21,
    /// Distributed tracing context.
    DiagnosticContext = 22,
}

/// One row of the table: the names of a property, `None` where a protocol has none.
struct Names {
    property: SystemProperty,
    mqtt: Option<&'static str>,
    storage: Option<&'static str>,
    routing: Option<&'static str>,
    http: Option<&'static str>,
}

const fn row(
    property: SystemProperty,
    mqtt: Option<&'static str>,
    storage: Option<&'static str>,
    routing: Option<&'static str>,
    http: Option<&'static str>,
) -> Names {
    Names { property, mqtt, storage, routing, http }
}

use SystemProperty as P;
static NAMES: &[Names] = &[
    row(P::MessageId, Some("$.mid"), Some("messageId"), Some("messageId"), Some("iothub-messageid")),
    row(
        P::CorrelationId,
        Some("$.cid"),
        Some("correlationId"),
        Some("correlationId"),
        Some("iothub-correlationid"),
    ),
    row(P::UserId, Some("$.uid"), Some("userId"), Some("userId"), Some("iothub-userid")),
    row(P::To, Some("$.to"), Some("to"), Some("to"), Some("iothub-to")),
    row(P::ContentType, Some("$.ct"), Some("contentType"), Some("contentType"), Some("iothub-contenttype")),
    row(
        P::ContentEncoding,
        Some("$.ce"),
        Some("contentEncoding"),
        Some("contentEncoding"),
        Some("iothub-contentencoding"),
    ),
    row(P::Expiry, Some("$.exp"), Some("expiryTimeUtc"), None, Some("iothub-expiry")),
    row(
        P::CreationTime,
        Some("$.ctime"),
        Some("iothub-creation-time-utc"),
        Some("iothub-creation-time-utc"),
        Some("iothub-creationtimeutc"),
    ),
    row(
        P::MessageSchema,
        Some("$.schema"),
        Some("iothub-message-schema"),
        Some("iothub-message-schema"),
        Some("iothub-messageschema"),
    ),
    row(
        P::InterfaceId,
        Some("$.ifid"),
        Some("iothub-interface-id"),
        Some("iothub-interface-id"),
        Some("iothub-interface-id"),
    ),
    row(P::Subject, Some("$.sub"), Some("dt-subject"), Some("dt-subject"), Some("dt-subject")),
    row(P::DataSchema, None, Some("dt-dataschema"), Some("dt-dataschema"), None),
    row(P::OutputName, Some("$.on"), Some("outputName"), Some("outputName"), None),
    row(P::InputName, None, Some("inputName"), Some("inputName"), None),
    row(P::Ack, Some("iothub-ack"), None, None, Some("iothub-ack")),
    row(P::Operation, Some("iothub-operation"), None, None, Some("iothub-operation")),
    row(P::ConnectionDeviceId, Some("$.cdid"), Some("connectionDeviceId"), Some("connectionDeviceId"), None),
    row(P::ConnectionModuleId, Some("$.cmid"), Some("connectionModuleId"), Some("connectionModuleId"), None),
    row(P::ConnectionAuthMethod, None, Some("connectionAuthMethod"), Some("connectionAuthMethod"), None),
    row(P::ConnectionGenerationId, None, Some("connectionDeviceGenerationId"), None, None),
    row(P::DiagnosticId, Some("$.diagid"), Some("Diagnostic-Id"), None, None),
    row(P::DiagnosticContext, Some("$.diagctx"), Some("Correlation-Context"), None, None),
];

impl SystemProperty {
    fn names(self) -> &'static Names {
        // The table is in the order of the discriminants, which a test holds.
        &NAMES[self as usize - 1]
    }

    /// The key in an MQTT property bag, not percent-encoded.
    pub fn mqtt_key(self) -> Option<&'static str> {
        self.names().mqtt
    }

    /// The member of `SystemProperties` in a storage blob.
    pub fn storage_name(self) -> Option<&'static str> {
        self.names().storage
    }

    /// The HTTP header, lower case.
    pub fn http_header(self) -> Option<&'static str> {
        self.names().http
    }

    /// The property of an MQTT bag key (`$.mid`), if it is one the platform defines.
    pub fn from_mqtt_key(key: &str) -> Option<Self> {
        NAMES.iter().find(|n| n.mqtt == Some(key)).map(|n| n.property)
    }

    /// The property a routing condition names as `$name`; without the dollar, any case.
    pub fn from_routing_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|n| n.routing.is_some_and(|r| r.eq_ignore_ascii_case(name))).map(|n| n.property)
    }

    /// The property of an HTTP header name, any case.
    pub fn from_http_header(name: &str) -> Option<Self> {
        NAMES.iter().find(|n| n.http.is_some_and(|h| h.eq_ignore_ascii_case(name))).map(|n| n.property)
    }

    /// The stable number in stored records.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The property of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        NAMES.get(usize::from(number).checked_sub(1)?).map(|n| n.property)
    }

    /// Whether only the hub may set it; a sender's own value is dropped.
    pub fn is_stamped(self) -> bool {
        matches!(
            self,
            P::ConnectionDeviceId
                | P::ConnectionModuleId
                | P::ConnectionAuthMethod
                | P::ConnectionGenerationId
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_order_of_numbers() {
        for (index, names) in NAMES.iter().enumerate() {
            assert_eq!(names.property as usize, index + 1);
            assert_eq!(SystemProperty::from_number(names.property.number()), Some(names.property));
        }
    }
}
