//! What an assembly adds to the AMQP door: links that are not a device's.

use async_trait::async_trait;
use bytes::Bytes;
use ironbrook_hub::Settlement;
use ironbrook_model::{Permissions, Refusal, SasToken};
use ironbrook_wire::amqp::{Message, Value};

/// A wish to open a link on an address that is not a device's own.
#[derive(Debug, Clone)]
pub struct Attach {
    /// The address, without scheme, authority and leading slash, spelled as the client did.
    pub address: String,
    /// The tokens that CBS accepted on this connection, newest first.
    pub tokens: Vec<SasToken>,
    /// The source filter map, for receivers: filter name and described value.
    pub filters: Vec<(String, Value)>,
    /// The link's properties.
    pub properties: Vec<(String, Value)>,
    /// The symbols the client asks for.
    pub desired_capabilities: Vec<String>,
}

/// Messages for a client that receives.
#[async_trait]
pub trait ServiceSource: Send {
    /// Up to `max` messages, waiting for at least one. Each has a delivery tag of up to 32 bytes. Cancel-safe. An error detaches.
    async fn next(&mut self, max: usize) -> Result<Vec<(Bytes, Message)>, Refusal>;

    /// The client settled a delivery.
    async fn settle(&mut self, tag: &[u8], settlement: Settlement) -> Result<(), Refusal>;

    /// Whether deliveries are sent settled already (events) or wait for the client (feedback).
    fn presettled(&self) -> bool;
}

/// Messages of a client that sends.
#[async_trait]
pub trait ServiceSink: Send {
    /// Takes a message; `Ok` becomes accepted, an error rejected.
    async fn send(&mut self, message: Message) -> Result<(), Refusal>;
}

/// Links of the service side: C2D sending, feedback, the events endpoint.
///
/// Request and response pairs on `$management` are offered through [`request`](Self::request).
#[async_trait]
pub trait AmqpService: Send + Sync + 'static {
    /// Checks a token that came by CBS and is not a device's or module's own, and gives its rights. Links that are
    /// opened here live as long as a token with `SERVICE_CONNECT`.
    async fn authorize(&self, token: &SasToken) -> Result<Permissions, Refusal>;

    /// The address at which what a client asks for really is, where that is another one; checks the right to it. The door sends the
    /// client there, on the host that it connected to.
    async fn elsewhere(&self, _attach: &Attach) -> Result<Option<String>, Refusal> {
        Ok(None)
    }

    /// Opens a link on which the client receives.
    async fn attach_source(&self, attach: Attach) -> Result<Box<dyn ServiceSource>, Refusal>;

    /// Opens a link on which the client sends.
    async fn attach_sink(&self, attach: Attach) -> Result<Box<dyn ServiceSink>, Refusal>;

    /// Answers a request that came on `$management` (or `…/$management`); the door adds the correlation id.
    async fn request(&self, tokens: &[SasToken], request: Message) -> Result<Message, Refusal>;
}
