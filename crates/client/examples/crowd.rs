//! A crowd of devices that stay connected. `cargo xtask bench hub` starts several of these processes, each with the numbers of its first
//! device and of the one after its last as arguments, and the hub in the environment.
//!
//! Each line on standard input is answered with a line of JSON; the end of the input is the end of the crowd.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use ironbrook_client::{
    ConnectionState, DeviceClient, DeviceId, Error, Identity, RetryPolicy, SharedAccessKey, Trust,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Waits between attempts are doubled and jittered from the first to the longest: those of the stock C and .NET clients.
const RETRY: RetryPolicy = RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(30) };
/// Longer than a measurement: nothing is sent but what connecting takes.
const KEEP_ALIVE: Duration = Duration::from_secs(1177);

/// What is told of the crowd.
#[derive(Default)]
struct Counts {
    connected: AtomicU64,
    /// Connections that were there and broke.
    lost: AtomicU64,
    /// Attempts to connect that came to nothing, by cause.
    failed: Mutex<BTreeMap<String, u64>>,
    /// Clients that tried no more.
    ended: AtomicU64,
}

impl Counts {
    fn tell(&self) -> Value {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "connected": self.connected.load(Ordering::SeqCst),
            "lost": self.lost.load(Ordering::SeqCst),
            "ended": self.ended.load(Ordering::SeqCst),
            "failed": *failed,
        })
    }

    /// Follows a client to its end.
    async fn watch(&self, client: DeviceClient) {
        let mut state = client.state();
        let mut up = false;
        loop {
            let now = state.borrow_and_update().clone();
            let is_up = matches!(now, ConnectionState::Connected);
            match (up, is_up) {
                (false, true) => _ = self.connected.fetch_add(1, Ordering::SeqCst),
                (true, false) => {
                    self.lost.fetch_add(1, Ordering::SeqCst);
                    self.connected.fetch_sub(1, Ordering::SeqCst);
                }
                (false, false) => {
                    if let ConnectionState::Waiting { error, .. } = &now {
                        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                        *failed.entry(cause(error)).or_default() += 1;
                    }
                }
                (true, true) => {}
            }
            up = is_up;
            if matches!(now, ConnectionState::Closed(_)) || state.changed().await.is_err() {
                self.ended.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
    }
}

fn cause(error: &Error) -> String {
    match error {
        Error::Network { source, .. } => source.kind().to_string(),
        Error::Unauthorized(_) => "not authorised".to_owned(),
        Error::Refused { status, .. } => format!("refused with {status}"),
        other => other.to_string(),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let hub: Value = serde_json::from_str(&std::env::var("IRONBROOK_CROWD")?)?;
    let text = |name: &str| hub[name].as_str().ok_or_else(|| format!("IRONBROOK_CROWD has no {name}"));
    let key = SharedAccessKey::from_base64(text("key")?).ok_or("the key is no base64")?;
    let (host, address): (_, SocketAddr) = (text("host")?, text("address")?.parse()?);
    let trust = Trust::file(text("ca")?)?.load()?;
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<usize>());
    let (Some(from), Some(to)) = (numbers.next().transpose()?, numbers.next().transpose()?) else {
        return Err("the numbers of the first device and of the one after the last are missing".into());
    };
    let counts = Arc::new(Counts::default());
    for number in from..to {
        let identity = Identity::device(DeviceId::new(format!("device-{number}"))?);
        let client = ironbrook_client::Builder::with_key(host, identity, key.clone())
            .trust(trust.clone())
            .address(address)
            .keep_alive(KEEP_ALIVE)
            .retry(RETRY)
            .start()?;
        let counts = counts.clone();
        tokio::spawn(async move { counts.watch(client).await });
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        println!("{}", counts.tell());
    }
    Ok(())
}
