//! `ironbrook c2d-message`: messages to devices.

use super::connection::Where;
use super::device_key;
use super::{Global, OutputFormat};
use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use ironbrook_client::{
    DeviceId, DeviceInbox, Identity, Message, ModuleId, Settle, SystemProperty, WaitingMessage,
};
use ironbrook_hub::seams::{Clock as _, SystemClock};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Options of `ironbrook c2d-message`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send a message; the hub keeps it until the device takes it.
    Send(Box<SendArgs>),
    /// Take the next message in place of a device; it stays locked until its end is told, or for a minute.
    Receive(ReceiveArgs),
    /// Tell the end of a message that was received.
    Settle(SettleArgs),
    /// Remove all messages that wait for a device.
    Purge(To),
}

/// The device.
#[derive(Debug, clap::Args)]
struct To {
    #[command(flatten)]
    at: Where,
    /// The device.
    #[arg(long, short, value_name = "ID")]
    device_id: String,
}

#[derive(Debug, clap::Args)]
struct SendArgs {
    #[command(flatten)]
    to: To,
    /// A module of the device.
    #[arg(long, value_name = "ID")]
    module_id: Option<String>,
    /// The body.
    #[arg(long, value_name = "TEXT", default_value = "")]
    data: String,
    /// An application property, as often as wanted.
    #[arg(long = "property", short, value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
    /// What feedback is wanted of the message.
    #[arg(long, value_enum)]
    ack: Option<Ack>,
    /// Seconds after which the message is not given any more.
    #[arg(long, value_name = "SECONDS")]
    expires_in: Option<u64>,
    /// The message's id.
    #[arg(long, value_name = "TEXT")]
    message_id: Option<String>,
    /// The correlation id.
    #[arg(long, value_name = "TEXT")]
    correlation_id: Option<String>,
    /// Kind of the body, e.g. `application/json`.
    #[arg(long, value_name = "TEXT")]
    content_type: Option<String>,
    /// Encoding of the body, e.g. `utf-8`.
    #[arg(long, value_name = "TEXT")]
    content_encoding: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ack {
    Positive,
    Negative,
    Full,
}

#[derive(Debug, clap::Args)]
struct ReceiveArgs {
    #[command(flatten)]
    to: To,
    /// Tell its end at once.
    #[arg(long, value_enum)]
    end: Option<End>,
    /// Seconds for which it is locked.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..=300))]
    lock_timeout: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct SettleArgs {
    #[command(flatten)]
    to: To,
    /// The lock, as `receive` showed it.
    #[arg(long, value_name = "TEXT")]
    lock: String,
    /// How it ends.
    #[arg(long, value_enum)]
    end: End,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum End {
    Complete,
    Reject,
    Abandon,
}

impl End {
    fn settle(self) -> Settle {
        match self {
            Self::Complete => Settle::Complete,
            Self::Reject => Settle::Reject,
            Self::Abandon => Settle::Abandon,
        }
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    match args.command {
        Command::Send(args) => send(&args).await,
        Command::Receive(args) => receive(&args, global.output).await,
        Command::Settle(args) => {
            inbox(&args.to).await?.settle(&args.lock, args.end.settle()).await.context("not settled")
        }
        Command::Purge(to) => purge(&to, global.output).await,
    }
}

async fn send(args: &SendArgs) -> anyhow::Result<()> {
    let device = DeviceId::new(args.to.device_id.as_str()).context("--device-id")?;
    let to = match &args.module_id {
        Some(module) => Identity::module(device, ModuleId::new(module.as_str()).context("--module-id")?),
        None => Identity::device(device),
    };
    args.to.at.service_client()?.send_message(&to, &message(args)).await.context("the message was not queued")
}

fn message(args: &SendArgs) -> Message {
    let mut message = Message::new(args.data.clone());
    for (name, value) in &args.properties {
        message.properties.set(name.clone(), value.clone());
    }
    let ack = args.ack.map(|ack| match ack {
        Ack::Positive => "positive",
        Ack::Negative => "negative",
        Ack::Full => "full",
    });
    let expires =
        args.expires_in.map(|seconds| SystemClock.now().plus(Duration::from_secs(seconds)).to_string());
    for (property, value) in [
        (SystemProperty::Ack, ack.map(str::to_owned)),
        (SystemProperty::Expiry, expires),
        (SystemProperty::MessageId, args.message_id.clone()),
        (SystemProperty::CorrelationId, args.correlation_id.clone()),
        (SystemProperty::ContentType, args.content_type.clone()),
        (SystemProperty::ContentEncoding, args.content_encoding.clone()),
    ] {
        if let Some(value) = value {
            message.system.set(property, value);
        }
    }
    message
}

/// The device's own side of its queue, with its key.
async fn inbox(to: &To) -> anyhow::Result<DeviceInbox> {
    let target = device_key::target(&to.at, &to.device_id).await?;
    let mut builder = DeviceInbox::builder(&target.connection_string)?;
    if let Some(ca) = &target.ca {
        builder = builder.ca_file(ca)?;
    }
    if let Some(address) = target.address {
        builder = builder.address(address);
    }
    Ok(builder.build()?)
}

async fn receive(args: &ReceiveArgs, output: OutputFormat) -> anyhow::Result<()> {
    let inbox = inbox(&args.to).await?;
    let found = inbox.receive(args.lock_timeout.map(Duration::from_secs)).await.context("no answer")?;
    let Some(found) = found else { return Ok(()) };
    if let Some(end) = args.end {
        inbox.settle(&found.lock, end.settle()).await.context("the message was received, but not settled")?;
    }
    show(&found, output);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "what the command is asked for")]
fn show(found: &WaitingMessage, output: OutputFormat) {
    let body = String::from_utf8_lossy(&found.message.body);
    let texts = |pairs: Vec<(String, String)>| {
        pairs.into_iter().map(|(n, v)| (n, Value::from(v))).collect::<Map<_, _>>()
    };
    let system =
        found.message.system.iter().filter_map(|(p, v)| Some((p.http_header()?.to_owned(), v.to_string())));
    let system = texts(system.collect());
    let properties = found.message.properties.iter().map(|(n, v)| (n.to_string(), v.to_string()));
    let properties = texts(properties.collect());
    match output {
        OutputFormat::Json => println!(
            "{}",
            json!({
                "lock": found.lock,
                "sequence_number": found.sequence_number,
                "delivery_count": found.delivery_count,
                "enqueued_time": found.enqueued_time,
                "system_properties": system,
                "properties": properties,
                "body": body,
            })
        ),
        OutputFormat::Table => {
            println!("{}", super::messages::visible(&body));
            println!("    lock = {}", found.lock);
            for (name, value) in system.iter().chain(&properties) {
                println!("    {name} = {}", super::messages::visible(value.as_str().unwrap_or_default()));
            }
        }
    }
}

#[allow(clippy::print_stdout, reason = "what the command is asked for")]
async fn purge(to: &To, output: OutputFormat) -> anyhow::Result<()> {
    let device = DeviceId::new(to.device_id.as_str()).context("--device-id")?;
    let purged = to.at.service_client()?.purge_messages(&device).await.context("the queue was not purged")?;
    match output {
        OutputFormat::Table => println!("{purged} messages removed"),
        OutputFormat::Json => println!("{}", json!({"device": device, "purged": purged})),
    }
    Ok(())
}
