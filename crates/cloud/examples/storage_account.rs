//! Serves a storage account alone, for trying a blob client:
//!
//! ```text
//! cargo run -p ironbrook-cloud --example storage_account -- ./blobs 10000
//! ```
//!
//! Prints the connection string. The key is made anew at each start.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use ironbrook_cloud::storage::account::{Account, Config};
use ironbrook_hub::seams::SystemClock;
use ironbrook_log::{Files, Storage};
use ironbrook_model::{SharedAccessKey, SymmetricKeys};
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "./blobs".to_owned());
    let port: u16 = arguments.next().map_or(Ok(0), |text| text.parse())?;

    let storage: Arc<dyn Storage> = Arc::new(Files::open(folder)?);
    let keys = SymmetricKeys { primary: SharedAccessKey::generate(), secondary: SharedAccessKey::generate() };
    let config = Config { name: "ironbrook".to_owned(), keys };
    let account = Account::open(storage, Path::new("account"), config, Arc::new(SystemClock))?;

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("{}", account.connection_string(&format!("http://{}", listener.local_addr()?)));
    tokio::spawn(account.clone().run(CancellationToken::new()));
    axum::serve(listener, account.router()).await?;
    Ok(())
}
