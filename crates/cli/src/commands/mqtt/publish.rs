//! `ironbrook mqtt pub`.

use super::connect::{Server, qos, watch};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use ironbrook_client::topics::{Client, Message, Properties, QoS, Receipt, UserProperties};
use std::collections::VecDeque;
use std::path::PathBuf;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

/// Messages whose acknowledgement is waited for at once.
const UNDER_WAY_MAX: usize = 1024;
/// Longest line of standard input, and longest file, bytes.
const PAYLOAD_LEN_MAX: u64 = 256 * 1024 * 1024 - 128 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    server: Server,
    /// Topic to publish on.
    #[arg(long, short = 't', value_name = "TOPIC")]
    topic: String,
    #[command(flatten)]
    payload: Payload,
    /// How hard delivery is tried: 0 once or never, 1 at least once, 2 exactly once.
    #[arg(long, short = 'q', default_value = "0", value_parser = qos, value_name = "QOS")]
    qos: QoS,
    /// Have the server keep the message for later subscribers; an empty one takes it away again.
    #[arg(long, short = 'r')]
    retain: bool,
    /// Client id; else the server chooses one.
    #[arg(long, short = 'i', default_value = "", value_name = "ID")]
    client_id: String,
    #[command(flatten)]
    properties: PropertyArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Payload {
    /// Text to publish.
    #[arg(long, short = 'm', value_name = "TEXT", allow_hyphen_values = true)]
    message: Option<String>,
    /// File to publish; - is standard input as a whole.
    #[arg(long, short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
    /// Publish each line of standard input.
    #[arg(long, short = 'l')]
    stdin_lines: bool,
}

/// Properties of MQTT 5.0.
#[derive(Debug, Default, clap::Args)]
struct PropertyArgs {
    /// A pair of the application's own; several are possible. MQTT 5.0, as the options below.
    #[arg(long = "user-property", value_parser = pair, value_name = "NAME=VALUE")]
    user_properties: Vec<(String, String)>,
    /// Seconds the message lives.
    #[arg(long, value_name = "SECONDS")]
    expiry: Option<u32>,
    /// Topic for an answer.
    #[arg(long, value_name = "TOPIC")]
    response_topic: Option<String>,
    /// What an answer is to repeat.
    #[arg(long, value_name = "TEXT")]
    correlation: Option<String>,
    /// What the payload is, e.g. application/json.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
}

impl PropertyArgs {
    fn properties(&self) -> anyhow::Result<Properties> {
        let pairs = self.user_properties.iter().map(|(name, value)| (name, value));
        Ok(Properties {
            is_text: None,
            expiry: self.expiry,
            content_type: self.content_type.as_deref().map(Into::into),
            response_topic: self.response_topic.as_deref().map(Into::into),
            correlation_data: self.correlation.clone().map(Bytes::from),
            user: UserProperties::from_pairs(pairs).context("a user property cannot be used")?,
        })
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let template = Message::new(args.topic, Bytes::new())
        .qos(args.qos)
        .retain(args.retain)
        .properties(args.properties.properties()?);
    // Before a connection is made: a file that is not there is the caller's error.
    let whole = match &args.payload {
        Payload { message: Some(text), .. } => Some(Bytes::from(text.clone())),
        Payload { file: Some(path), .. } => Some(file(path).await?),
        _ => None,
    };
    let (client, messages) = args.server.builder()?.client_id(args.client_id).connect().await?;
    drop(messages);
    let work = async {
        match whole {
            Some(payload) => drop(client.publish(Message { payload, ..template }).await?),
            None => lines(&client, &template).await?,
        }
        anyhow::Ok(client.close().await?)
    };
    tokio::select! {
        done = work => done,
        error = watch(&client) => Err(error),
        _ = tokio::signal::ctrl_c() => bail!("stopped before all messages were acknowledged"),
    }
}

async fn file(path: &std::path::Path) -> anyhow::Result<Bytes> {
    let name = || format!("{} cannot be read", path.display());
    let mut payload = Vec::new();
    if path.as_os_str() == "-" {
        tokio::io::stdin().take(PAYLOAD_LEN_MAX + 1).read_to_end(&mut payload).await.with_context(name)?;
    } else {
        let file = tokio::fs::File::open(path).await.with_context(name)?;
        file.take(PAYLOAD_LEN_MAX + 1).read_to_end(&mut payload).await.with_context(name)?;
    }
    if payload.len() as u64 > PAYLOAD_LEN_MAX {
        bail!("{} is longer than a message of MQTT can be", path.display());
    }
    Ok(payload.into())
}

async fn lines(client: &Client, template: &Message) -> anyhow::Result<()> {
    let mut reader = BufReader::new(tokio::io::stdin());
    let mut under_way: VecDeque<Receipt> = VecDeque::new();
    loop {
        let mut line = Vec::new();
        let read = (&mut reader).take(PAYLOAD_LEN_MAX + 1).read_until(b'\n', &mut line).await;
        if read.context("standard input cannot be read")? == 0 {
            break;
        }
        if line.len() as u64 > PAYLOAD_LEN_MAX {
            bail!("a line is longer than a message of MQTT can be");
        }
        let end = line.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line).len());
        line.truncate(end.unwrap_or(line.len()));
        under_way.push_back(client.enqueue(Message { payload: line.into(), ..template.clone() }).await?);
        while under_way.len() > UNDER_WAY_MAX
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.await?;
        }
    }
    for receipt in under_way {
        receipt.await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_taken_over_and_pairs_end_at_the_first_equals_sign() {
        let args = PropertyArgs {
            user_properties: vec![pair("a=b=c").unwrap(), pair("d=").unwrap()],
            correlation: Some("x".to_owned()),
            ..PropertyArgs::default()
        };
        let properties = args.properties().unwrap();
        assert_eq!(properties.user.iter().collect::<Vec<_>>(), [("a", "b=c"), ("d", "")]);
        assert_eq!(properties.correlation_data.as_deref(), Some(&b"x"[..]));
        assert!(pair("nothing").is_err());
    }
}
