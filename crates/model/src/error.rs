//! The one table that maps every error to its Azure code, HTTP status, AMQP condition and MQTT action.
//!
//! Source: Azure docs "Understand and resolve Azure IoT Hub errors" and the .NET service SDK's `ErrorCode` enum.

use crate::Cause;
use std::borrow::Cow;
use std::fmt;

macro_rules! codes {
    ($($name:ident = $number:literal,)*) => {
        /// An IoT Hub error code; the first three digits are the HTTP status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        #[allow(missing_docs, reason = "the names are Azure's and say it")]
        pub enum ErrorCode { $($name = $number,)* }

        impl ErrorCode {
            /// All codes, ascending.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The value of the `iothub-errorcode` header.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

codes! {
    GenericBadRequest = 400000,
    InvalidProtocolVersion = 400001,
    DeviceInvalidResultCount = 400002,
    InvalidOperation = 400003,
    ArgumentInvalid = 400004,
    ArgumentNull = 400005,
    IotHubFormatError = 400006,
    DeviceStorageEntitySerializationError = 400007,
    BlobContainerValidationError = 400008,
    ImportWarningExistsError = 400009,
    InvalidSchemaVersion = 400010,
    DeviceDefinedMultipleTimes = 400011,
    DeserializationError = 400012,
    BulkRegistryOperationFailure = 400013,
    DefaultStorageEndpointNotConfigured = 400014,
    InvalidFileUploadCorrelationId = 400015,
    ExpiredFileUploadCorrelationId = 400016,
    InvalidStorageEndpoint = 400017,
    InvalidMessagingEndpoint = 400018,
    InvalidFileUploadCompletionStatus = 400019,
    InvalidStorageEndpointOrBlob = 400020,
    RequestCanceled = 400021,
    InvalidStorageEndpointProperty = 400022,
    EtagDoesNotMatch = 400023,
    RequestTimedOut = 400024,
    UnsupportedOperationOnReplica = 400025,
    NullMessage = 400026,
    ConnectionForcefullyClosedOnNewConnection = 400027,
    InvalidDeviceScope = 400028,
    ConnectionForcefullyClosedOnFaultInjection = 400029,
    ConnectionRejectedOnFaultInjection = 400030,
    InvalidEndpointAuthenticationType = 400031,
    ManagedIdentityNotEnabled = 400032,
    InvalidPolicyKey = 400035,
    BulkRegenerateDeviceKeyOperationFailure = 400036,
    InvalidRouteTestInput = 400100,
    InvalidSourceOnRoute = 400101,
    RoutingNotEnabled = 400102,
    InvalidContentEncodingOrType = 400103,
    CannotRegisterModuleToModule = 400301,
    TenantHubRoutingNotEnabled = 400302,
    InvalidConfigurationTargetCondition = 400401,
    InvalidConfigurationContent = 400402,
    CannotModifyImmutableConfigurationContent = 400403,
    InvalidConfigurationCustomMetricsQuery = 400404,
    InvalidPnPInterfaceDefinition = 400501,
    InvalidPnPDesiredProperties = 400502,
    InvalidPnPReportedProperties = 400503,
    InvalidPnPWritableReportedProperties = 400504,
    InvalidDigitalTwinJsonPatch = 400505,
    InvalidDigitalTwinPayload = 400506,
    InvalidDigitalTwinPatch = 400507,
    InvalidDigitalTwinPatchPath = 400508,
    GenericUnauthorized = 401000,
    IotHubNotFound = 401001,
    IotHubUnauthorizedAccess = 401002,
    IotHubUnauthorized = 401003,
    ElasticPoolNotFound = 401004,
    SystemModuleModifyUnauthorizedAccess = 401100,
    GenericForbidden = 403000,
    IotHubSuspended = 403001,
    IotHubQuotaExceeded = 403002,
    JobQuotaExceeded = 403003,
    DeviceMaximumQueueDepthExceeded = 403004,
    IotHubMaxCbsTokenExceeded = 403005,
    DeviceMaximumActiveFileUploadLimitExceeded = 403006,
    DeviceMaximumQueueSizeExceeded = 403007,
    RoutingEndpointResponseForbidden = 403008,
    InvalidMessageExpiryTime = 403009,
    OperationNotAvailableInCurrentTier = 403010,
    KeyEncryptionKeyRevoked = 403011,
    DeviceDisabled = 403012,
    DeviceModelMaxPropertiesExceeded = 403100,
    DeviceModelMaxIndexablePropertiesExceeded = 403101,
    DeviceMaximumInflightMethodExceeded = 403800,
    GenericNotFound = 404000,
    DeviceNotFound = 404001,
    JobNotFound = 404002,
    QuotaMetricNotFound = 404004,
    SystemPropertyNotFound = 404005,
    AmqpAddressNotFound = 404006,
    RoutingEndpointResponseNotFound = 404007,
    CertificateNotFound = 404008,
    ElasticPoolTenantHubNotFound = 404009,
    ModuleNotFound = 404010,
    AzureTableStoreNotFound = 404011,
    IotHubFailingOver = 404012,
    FeatureNotSupported = 404013,
    DigitalTwinInterfaceNotFound = 404014,
    QueryStoreClusterNotFound = 404101,
    DeviceNotOnline = 404103,
    DeviceConnectionClosedRemotely = 404104,
    ConfigurationNotFound = 404301,
    GroupNotFound = 404302,
    DigitalTwinModelNotFound = 404401,
    InterfaceNameModelNotFound = 404402,
    GenericMethodNotAllowed = 405000,
    OperationNotAllowedInCurrentState = 405102,
    ImportDevicesNotSupported = 405103,
    BulkAddDevicesNotSupported = 405104,
    GenericConflict = 409000,
    DeviceAlreadyExists = 409001,
    LinkCreationConflict = 409002,
    CallbackSubscriptionConflict = 409003,
    ModelAlreadyExists = 409101,
    DeviceLocked = 409102,
    DeviceJobAlreadyExists = 409103,
    JobAlreadyExists = 409104,
    ModuleAlreadyExistsOnDevice = 409301,
    ConfigurationAlreadyExists = 409401,
    ApplyConfigurationAlreadyInProgressOnDevice = 409402,
    DigitalTwinModelAlreadyExists = 409501,
    DigitalTwinModelExistsWithOtherModelType = 409502,
    InterfaceNameModelAlreadyExists = 409503,
    GenericPreconditionFailed = 412000,
    PreconditionFailed = 412001,
    DeviceMessageLockLost = 412002,
    JobRunPreconditionFailed = 412003,
    InflightMessagesInLink = 412004,
    GenericRequestEntityTooLarge = 413000,
    MessageTooLarge = 413001,
    TooManyDevices = 413002,
    TooManyModulesOnDevice = 413003,
    ConfigurationCountLimitExceeded = 413101,
    DigitalTwinModelCountLimitExceeded = 413201,
    InterfaceNameCompressionModelCountLimitExceeded = 413202,
    GenericUnsupportedMediaType = 415000,
    IncompatibleDataType = 415101,
    GenericTooManyRequests = 429000,
    ThrottlingException = 429001,
    ThrottleBacklogLimitExceeded = 429002,
    ThrottlingBacklogTimeout = 429003,
    ThrottlingMaxActiveJobCountExceeded = 429004,
    DeviceThrottlingLimitExceeded = 429005,
    ClientClosedRequest = 499000,
    ServerError = 500001,
    JobCancelled = 500002,
    GenericTimeout = 500008,
    InvalidThrottleParameter = 500009,
    ModelRepoEndpointError = 500301,
    ResolutionError = 500302,
    GenericBadGateway = 502000,
    GenericServiceUnavailable = 503000,
    ServiceUnavailable = 503001,
    PartitionNotFound = 503003,
    IotHubActivationFailed = 503004,
    ServerBusy = 503005,
    IotHubRestoring = 503006,
    ReceiveLinkOpensThrottled = 503008,
    ConnectionUnavailable = 503101,
    DeviceUnavailable = 503102,
    HostingServiceNotAvailable = 503301,
    GenericGatewayTimeout = 504000,
    GatewayTimeout = 504101,
}

/// An AMQP error condition, a symbol on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AmqpCondition(pub &'static str);

/// What an MQTT 3.1.1 connection can do about an error, which has no error packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MqttAction {
    /// Before CONNACK: refuse with this return code and close.
    Refuse(u8),
    /// Close the connection.
    Close,
    /// Answer where the exchange has an answer (twin, method); otherwise close.
    Answer,
}

impl ErrorCode {
    /// The six-digit number.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The HTTP status.
    pub const fn http_status(self) -> u16 {
        (self as u32 / 1000) as u16
    }

    /// The AMQP condition.
    pub const fn amqp_condition(self) -> AmqpCondition {
        use ErrorCode as E;
        AmqpCondition(match self {
            E::DeviceMessageLockLost => "com.microsoft:message-lock-lost",
            E::DeviceAlreadyExists | E::ModuleAlreadyExistsOnDevice => "com.microsoft:device-already-exists",
            E::IotHubQuotaExceeded => "com.microsoft:quota-exceeded",
            E::IotHubSuspended => "com.microsoft:iot-hub-suspended",
            E::IotHubNotFound => "com.microsoft:iot-hub-not-found-error",
            E::DeviceMaximumQueueDepthExceeded
            | E::DeviceMaximumQueueSizeExceeded
            | E::IotHubMaxCbsTokenExceeded => "amqp:resource-limit-exceeded",
            E::LinkCreationConflict => "amqp:link:stolen",
            E::ConnectionForcefullyClosedOnNewConnection => "amqp:connection:forced",
            _ => match self.http_status() {
                400 => "com.microsoft:argument-error",
                401 => "amqp:unauthorized-access",
                403 | 405 => "amqp:not-allowed",
                404 => "amqp:not-found",
                409 => "amqp:not-allowed",
                412 => "com.microsoft:precondition-failed",
                413 => "amqp:link:message-size-exceeded",
                415 => "amqp:not-implemented",
                429 => "com.microsoft:device-container-throttled",
                503 => "com.microsoft:server-busy",
                504 => "com.microsoft:timeout",
                _ => "amqp:internal-error",
            },
        })
    }

    /// What an MQTT connection does; `connecting` is true until CONNACK was sent.
    pub const fn mqtt_action(self, connecting: bool) -> MqttAction {
        if connecting {
            return MqttAction::Refuse(match self {
                Self::InvalidProtocolVersion => 1,
                Self::IotHubFormatError => 4,
                _ => match self.http_status() {
                    400 => 2,
                    429 | 500..=599 => 3,
                    _ => 5,
                },
            });
        }
        match self.http_status() {
            401 => MqttAction::Close,
            _ => MqttAction::Answer,
        }
    }

    /// Whether trying again later can help.
    pub const fn is_transient(self) -> bool {
        matches!(self.http_status(), 429 | 500..=599)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

/// Something the hub did not do, with its Azure code and a text that names the cause and the cure.
///
/// The text goes to the peer and to the log: it never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The Azure code.
    pub code: ErrorCode,
    /// Cause and cure, for people.
    pub message: Cow<'static, str>,
    /// The cause, for programs, where a credential was refused.
    pub cause: Option<Cause>,
}

impl Refusal {
    /// A refusal with its code and text.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), cause: None }
    }

    /// The same with its cause.
    #[must_use]
    pub fn because(self, cause: Cause) -> Self {
        Self { cause: Some(cause), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_a_condition_and_an_action() {
        for code in ErrorCode::ALL {
            assert!((400..600).contains(&code.http_status()), "{code}");
            assert!(!code.amqp_condition().0.is_empty());
            assert!(matches!(code.mqtt_action(true), MqttAction::Refuse(1..=5)), "{code}");
        }
    }

    #[test]
    fn the_code_of_an_unauthorised_connect_is_5() {
        assert_eq!(ErrorCode::IotHubUnauthorized.mqtt_action(true), MqttAction::Refuse(5));
    }
}
