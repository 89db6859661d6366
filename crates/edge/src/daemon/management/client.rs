//! Asks the management API, for the command line.

use super::{LogQuery, frames};
use crate::daemon::sockets::MANAGEMENT_PATH_FILE;
use crate::daemon::{API_VERSION, files};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ironbrook_model::percent_encode;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Longest wait for an answer's head; a restart waits for the module to end.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Longest answer that is not a log.
const ANSWER_LEN_MAX: usize = 4 * 1024 * 1024;

/// Why the daemon did not answer as hoped.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no daemon on this data folder.
    #[error(
        "no edge runtime answers on {path} ({reason}); start it with `ironbrook edge run` or `ironbrook dev`"
    )]
    NotRunning {
        /// The socket, or the file that would tell where it is.
        path: PathBuf,
        /// What failed.
        reason: String,
    },
    /// It answered, but not well.
    #[error("the edge runtime did not answer as expected: {0}")]
    Protocol(String),
    /// It said no.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The daemon's text.
        message: String,
    },
}

/// A module as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// `running`, `stopped`, …
    pub status: String,
    /// `Up 2 minutes`, …
    pub description: String,
    /// Its image.
    pub config: String,
}

/// A client of one daemon; each call opens its own connection.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The client of the daemon that runs on a data folder.
    pub fn for_data_dir(data_dir: &Path) -> Result<Self, ClientError> {
        let path = data_dir.join(crate::assembly::FOLDER).join(MANAGEMENT_PATH_FILE);
        let not_running =
            |reason: &str| ClientError::NotRunning { path: path.clone(), reason: reason.to_owned() };
        let bytes = files::read(&path).map_err(|error| not_running(&error.to_string()))?;
        let bytes = bytes.ok_or_else(|| not_running("the file is not there"))?;
        let text = String::from_utf8(bytes).map_err(|_| not_running("the file holds no path"))?;
        Ok(Self::new(text.trim()))
    }

    /// The client of a daemon whose socket is known.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// All modules, sorted by name.
    pub async fn modules(&self) -> Result<Vec<Module>, ClientError> {
        let body = self.json("/modules").await?;
        let modules = body["modules"].as_array().ok_or_else(|| unexpected("there is no list of modules"))?;
        let mut modules: Vec<Module> = modules.iter().map(read_module).collect();
        modules.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(modules)
    }

    /// One module in the stock form (`ModuleDetails`).
    pub async fn module(&self, name: &str) -> Result<Value, ClientError> {
        self.json(&format!("/modules/{}", percent_encode(name))).await
    }

    /// What machine it runs on.
    pub async fn system_info(&self) -> Result<Value, ClientError> {
        self.json("/systeminfo").await
    }

    /// Stops and starts a module.
    pub async fn restart(&self, name: &str) -> Result<(), ClientError> {
        let path = format!("/modules/{}/restart", percent_encode(name));
        self.send(Method::POST, &path, "").await.map(drop)
    }

    /// A module's log; [`Logs::next`] gives it in pieces. With `follow` it goes on until the module is removed.
    pub async fn logs(&self, name: &str, query: LogQuery, follow: bool) -> Result<Logs, ClientError> {
        let path = format!("/modules/{}/logs", percent_encode(name));
        let mut parameters = format!("&follow={follow}");
        let tail = query.tail.map(|tail| tail.to_string());
        let time = |time: ironbrook_model::Timestamp| percent_encode(&time.to_string()).to_string();
        let named = [("tail", tail), ("since", query.since.map(time)), ("until", query.until.map(time))];
        for (name, value) in named.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            parameters.push_str(&format!("&{name}={value}"));
        }
        let body = self.send(Method::GET, &path, &parameters).await?;
        Ok(Logs { body, frames: frames::Reader::default() })
    }

    async fn json(&self, path: &str) -> Result<Value, ClientError> {
        let body = self.send(Method::GET, path, "").await?;
        serde_json::from_slice(&collect(body).await?).map_err(|error| unexpected(&error.to_string()))
    }

    async fn send(&self, method: Method, path: &str, parameters: &str) -> Result<Incoming, ClientError> {
        let sending = self.request(method, path, parameters);
        let response = tokio::time::timeout(ANSWER_TIME, sending)
            .await
            .map_err(|_| unexpected("no answer in time"))??;
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(response.into_body());
        }
        let body = collect(response.into_body()).await?;
        let message = serde_json::from_slice::<Value>(&body).ok();
        let message = message.and_then(|body| body["message"].as_str().map(str::to_owned));
        Err(ClientError::Refused { status: status.as_u16(), message: message.unwrap_or(status.to_string()) })
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        parameters: &str,
    ) -> Result<http::Response<Incoming>, ClientError> {
        let not_running = |error: std::io::Error| ClientError::NotRunning {
            path: self.socket.clone(),
            reason: error.to_string(),
        };
        let stream = UnixStream::connect(&self.socket).await.map_err(not_running)?;
        let broken = |error: hyper::Error| unexpected(&error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the answer's body, or when the caller drops it.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?api-version={API_VERSION}{parameters}"))
            .header(http::header::HOST, "localhost")
            .body(Empty::<Bytes>::new())
            .map_err(|error| unexpected(&error.to_string()))?;
        sender.send_request(request).await.map_err(broken)
    }
}

/// A module's log as it arrives.
#[derive(Debug)]
pub struct Logs {
    body: Incoming,
    frames: frames::Reader,
}

impl Logs {
    /// The next piece of text, whole lines or parts of them; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| unexpected(&error.to_string()))?;
            let text = frame.into_data().map(|data| self.frames.read(&data)).unwrap_or_default();
            if !text.is_empty() {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }
}

async fn collect(body: Incoming) -> Result<Bytes, ClientError> {
    let body = Limited::new(body, ANSWER_LEN_MAX).collect().await;
    Ok(body.map_err(|error| unexpected(&error.to_string()))?.to_bytes())
}

fn read_module(module: &Value) -> Module {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = &module["status"]["runtimeStatus"];
    Module {
        name: text(&module["name"]),
        status: text(&status["status"]),
        description: text(&status["description"]),
        config: text(&module["config"]["settings"]["image"]),
    }
}

fn unexpected(reason: &str) -> ClientError {
    ClientError::Protocol(reason.to_owned())
}
