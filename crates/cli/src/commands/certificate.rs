//! `ironbrook certificate`: authorities whose certificates prove devices.

use super::connection::Where;
use super::{Global, OutputFormat};
use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Options of `ironbrook certificate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    at: Where,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register an authority. It proves nobody before it is verified.
    Add {
        /// A name for it.
        name: String,
        /// Its certificate, PEM or DER.
        file: PathBuf,
        /// You vouch for it: it needs no proof that you hold its key.
        #[arg(long)]
        verified: bool,
    },
    /// List the registered authorities.
    List,
    /// Show a new verification code, or with FILE prove with a certificate for it that you hold the authority's key.
    Verify {
        /// Which authority.
        name: String,
        /// A certificate signed by the authority, whose common name is the code.
        file: Option<PathBuf>,
    },
    /// Take an authority away; connections of devices that stand on it end.
    Delete {
        /// Which.
        name: String,
    },
}

/// Runs the command.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "what the command is asked for")]
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let client = args.at.service_client()?;
    match args.command {
        Command::Add { name, file, verified } => {
            let added = client.add_certificate(&name, &read(&file)?, verified).await?;
            show(&[added], global.output);
            if !verified {
                eprintln!(
                    "{name}: not verified yet; `ironbrook certificate verify {name}` shows the code to sign"
                );
            }
        }
        Command::List => show(&client.certificates().await?, global.output),
        Command::Verify { name, file: None } => {
            let code = client.certificate_code(&name).await?;
            match global.output {
                OutputFormat::Table => println!("{code}"),
                OutputFormat::Json => println!("{}", json!({ "name": name, "verificationCode": code })),
            }
            eprintln!(
                "sign a certificate with this common name, then: ironbrook certificate verify {name} FILE"
            );
        }
        Command::Verify { name, file: Some(file) } => {
            show(&[client.verify_certificate(&name, &read(&file)?).await?], global.output);
        }
        Command::Delete { name } => {
            client.delete_certificate(&name).await?;
            eprintln!("{name}: deleted");
        }
    }
    Ok(())
}

/// PEM as it stands; DER as base64.
fn read(file: &Path) -> anyhow::Result<String> {
    use base64::Engine as _;
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let pem = std::str::from_utf8(&bytes).ok().filter(|text| text.contains("-----BEGIN"));
    Ok(pem.map_or_else(|| base64::engine::general_purpose::STANDARD.encode(&bytes), str::to_owned))
}

#[allow(clippy::print_stdout, reason = "what the command is asked for")]
fn show(certificates: &[Value], output: OutputFormat) {
    match output {
        OutputFormat::Json => certificates.iter().for_each(|certificate| println!("{certificate}")),
        OutputFormat::Table => print!("{}", table(certificates)),
    }
}

fn table(certificates: &[Value]) -> String {
    let head = ["NAME", "SUBJECT", "VERIFIED", "EXPIRES", "THUMBPRINT"].map(str::to_owned);
    let rows = certificates.iter().map(|certificate| {
        let of = &certificate["properties"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let verified = if of["isVerified"] == true { "yes" } else { "no" };
        [
            text(&certificate["name"]),
            text(&of["subject"]),
            verified.to_owned(),
            text(&of["expiry"]),
            text(&of["thumbprint"]),
        ]
    });
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
    super::columns(&rows)
}
