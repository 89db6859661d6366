//! The device and module client.

mod backoff;
mod builder;
mod desired;
mod driver;
mod environment;
mod handle;
mod link;
#[cfg(test)]
mod module_tests;
mod received;
mod request;
#[cfg(test)]
pub(crate) mod script;
mod session;
mod subscription;
#[cfg(test)]
mod tests;
mod topic;
mod twin;
mod window;

pub use backoff::RetryPolicy;
pub use builder::Builder;
pub use driver::Driver;
pub use handle::{ConnectionState, DeviceClient, Receipt};
pub use received::{DesiredUpdates, Messages, MethodCall, MethodCalls, ReceivedMessage};
pub use twin::{DesiredUpdate, Twin};

pub(crate) use backoff::Backoff;
pub(crate) use builder::identity_of;

use crate::error::Result;
use bytes::Bytes;
use ironbrook_wire::mqtt::v4::PacketId;
use received::ConnectionNumber;
use subscription::Feed;
use tokio::sync::oneshot;

/// How an answer comes back.
type Reply<T> = oneshot::Sender<Result<T>>;

/// What a handle asks of the driver, apart from telemetry.
#[derive(Debug)]
pub(crate) enum Control {
    Subscribe(Feed, Reply<()>),
    TwinGet(Reply<Twin>),
    TwinPatch(Bytes, Reply<u64>),
    Answer { connection: ConnectionNumber, rid: String, status: i32, body: Bytes },
    Complete { connection: ConnectionNumber, packet_id: PacketId },
    Close(Reply<()>),
}
