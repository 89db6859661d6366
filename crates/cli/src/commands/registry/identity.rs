//! `ironbrook device-identity` and `ironbrook module-identity`.

use super::{Device, client, device_id, list, module_id, show};
use crate::commands::Global;
use crate::commands::connection::Where;
use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};
use ironbrook_client::{ConnectionString, DeviceId, Identity, ModuleId, ServiceClient};
use serde_json::{Map, Value, json};

/// Devices listed where the caller does not say, as `az` does, and in one page.
const TOP: usize = 1000;
const PAGE: usize = 1000;

/// Options of `ironbrook device-identity`.
#[derive(Debug, clap::Args)]
// Where the hub is may be said before or after the verb.
#[command(mut_args(|arg| arg.global(true)))]
pub struct DeviceArgs {
    #[command(flatten)]
    at: Where,
    #[command(subcommand)]
    command: DeviceCommand,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// Make a device.
    Create(DeviceCreate),
    /// Show a device.
    Show(Device),
    /// List devices.
    List {
        /// At most so many.
        #[arg(long, default_value_t = TOP, value_name = "N")]
        top: usize,
    },
    /// Change a device.
    Update(DeviceUpdate),
    /// Delete a device, with its modules.
    Delete(Device),
    /// Give a device new keys.
    RenewKey(RenewKey<Device>),
    /// Print the connection string a device connects with.
    ConnectionString(ConnectionStringArgs<Device>),
}

#[derive(Debug, clap::Args)]
struct DeviceCreate {
    #[command(flatten)]
    device: Device,
    /// Make an edge device.
    #[arg(long, visible_alias = "ee")]
    edge_enabled: bool,
    /// The edge device it connects through.
    #[arg(long, value_name = "ID", value_parser = device_id)]
    parent: Option<DeviceId>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Args)]
struct DeviceUpdate {
    #[command(flatten)]
    device: Device,
    /// Whether it is an edge device.
    #[arg(long, visible_alias = "ee")]
    edge_enabled: Option<bool>,
    #[command(flatten)]
    settings: Settings,
}

/// What can be set of any identity.
#[derive(Debug, clap::Args)]
struct Settings {
    /// Whether it may connect.
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    status_reason: Option<String>,
    /// Base64; generated where left out. Give both keys or none.
    #[arg(long, visible_alias = "pk", value_name = "KEY", requires = "secondary_key")]
    primary_key: Option<String>,
    /// Base64.
    #[arg(long, visible_alias = "sk", value_name = "KEY", requires = "primary_key")]
    secondary_key: Option<String>,
    /// SHA-1 or SHA-256 of a self-signed certificate it connects with.
    #[arg(long, visible_alias = "ptp", value_name = "HEX", conflicts_with = "primary_key")]
    primary_thumbprint: Option<String>,
    /// Of a second one.
    #[arg(long, visible_alias = "stp", value_name = "HEX", requires = "primary_thumbprint")]
    secondary_thumbprint: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    Enabled,
    Disabled,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Key {
    Primary,
    Secondary,
    Both,
    Swap,
}

#[derive(Debug, clap::Args)]
struct RenewKey<T: clap::Args> {
    #[command(flatten)]
    of: T,
    /// Which key.
    #[arg(long, visible_alias = "kt", value_enum, default_value_t = Key::Both)]
    key_type: Key,
}

#[derive(Debug, clap::Args)]
struct ConnectionStringArgs<T: clap::Args> {
    #[command(flatten)]
    of: T,
    /// Which key.
    #[arg(long, visible_alias = "kt", value_enum, default_value_t = OneKey::Primary)]
    key_type: OneKey,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OneKey {
    Primary,
    Secondary,
}

/// Options of `ironbrook module-identity`.
#[derive(Debug, clap::Args)]
// Where the hub is may be said before or after the verb.
#[command(mut_args(|arg| arg.global(true)))]
pub struct ModuleArgs {
    #[command(flatten)]
    at: Where,
    #[command(subcommand)]
    command: ModuleCommand,
}

#[derive(Debug, Subcommand)]
enum ModuleCommand {
    /// Make a module.
    Create(ModuleSettings),
    /// Show a module.
    Show(Module),
    /// List the modules of a device.
    List(Device),
    /// Change a module.
    Update(ModuleSettings),
    /// Delete a module.
    Delete(Module),
    /// Give a module new keys.
    RenewKey(RenewKey<Module>),
    /// Print the connection string a module connects with.
    ConnectionString(ConnectionStringArgs<Module>),
}

#[derive(Debug, clap::Args)]
struct Module {
    #[command(flatten)]
    device: Device,
    /// The module.
    #[arg(long, short, value_name = "ID", value_parser = module_id)]
    module_id: ModuleId,
}

impl Module {
    fn identity(&self) -> Identity {
        Identity::module(self.device.device_id.clone(), self.module_id.clone())
    }
}

#[derive(Debug, clap::Args)]
struct ModuleSettings {
    #[command(flatten)]
    module: Module,
    #[command(flatten)]
    settings: Settings,
}

/// Runs `ironbrook device-identity`.
pub async fn device(args: DeviceArgs, global: &Global) -> anyhow::Result<()> {
    let client = client(&args.at)?;
    let of = |device: &Device| Identity::device(device.device_id.clone());
    match args.command {
        DeviceCommand::Create(create) => {
            let identity = of(&create.device);
            let mut body = create.settings.put(json!({ "deviceId": identity.device, "status": "enabled" }));
            body["capabilities"] = json!({ "iotEdge": create.edge_enabled });
            if let Some(parent) = &create.parent {
                let scope = client.identity(&Identity::device(parent.clone())).await?["deviceScope"].take();
                if scope.is_null() {
                    bail!("the device '{parent}' is no edge device");
                }
                if !create.edge_enabled {
                    body["deviceScope"] = scope.clone();
                }
                body["parentScopes"] = json!([scope]);
            }
            show(global, &client.put_identity(&identity, &body, None).await?);
        }
        DeviceCommand::Show(device) => show(global, &client.identity(&of(&device)).await?),
        DeviceCommand::List { top } => {
            let (mut devices, mut next) = (Vec::new(), None);
            while devices.len() < top {
                let (page, more) = client.devices_page(next, PAGE.min(top - devices.len())).await?;
                devices.extend(page);
                next = more;
                if next.is_none() {
                    break;
                }
            }
            let columns = [
                ("DEVICE ID", "deviceId"),
                ("STATUS", "status"),
                ("CONNECTION", "connectionState"),
                ("AUTHENTICATION", "authentication.type"),
                ("EDGE", "capabilities.iotEdge"),
                ("LAST ACTIVITY", "lastActivityTime"),
            ];
            list(global, &devices, &columns);
        }
        DeviceCommand::Update(update) => {
            let identity = of(&update.device);
            let mut body = update.settings.put(client.identity(&identity).await?);
            if let Some(edge) = update.edge_enabled {
                body["capabilities"] = json!({ "iotEdge": edge });
            }
            show(global, &replace(&client, &identity, body).await?);
        }
        DeviceCommand::Delete(device) => client.delete(&of(&device)).await?,
        DeviceCommand::RenewKey(renew) => {
            show(global, &renewed(&client, &of(&renew.of), renew.key_type).await?);
        }
        DeviceCommand::ConnectionString(args_of) => {
            tell_connection_string(&client, &args.at, &of(&args_of.of), args_of.key_type, global).await?;
        }
    }
    Ok(())
}

/// Runs `ironbrook module-identity`.
pub async fn module(args: ModuleArgs, global: &Global) -> anyhow::Result<()> {
    let client = client(&args.at)?;
    match args.command {
        ModuleCommand::Create(create) => {
            let identity = create.module.identity();
            let body = json!({ "deviceId": identity.device, "moduleId": identity.module });
            show(global, &client.put_identity(&identity, &create.settings.put(body), None).await?);
        }
        ModuleCommand::Show(module) => show(global, &client.identity(&module.identity()).await?),
        ModuleCommand::List(device) => {
            let columns = [
                ("MODULE ID", "moduleId"),
                ("MANAGED BY", "managedBy"),
                ("CONNECTION", "connectionState"),
                ("AUTHENTICATION", "authentication.type"),
                ("LAST ACTIVITY", "lastActivityTime"),
            ];
            list(global, &client.list_modules(&device.device_id).await?, &columns);
        }
        ModuleCommand::Update(update) => {
            let identity = update.module.identity();
            let body = update.settings.put(client.identity(&identity).await?);
            show(global, &replace(&client, &identity, body).await?);
        }
        ModuleCommand::Delete(module) => client.delete(&module.identity()).await?,
        ModuleCommand::RenewKey(renew) => {
            show(global, &renewed(&client, &renew.of.identity(), renew.key_type).await?);
        }
        ModuleCommand::ConnectionString(of) => {
            tell_connection_string(&client, &args.at, &of.of.identity(), of.key_type, global).await?;
        }
    }
    Ok(())
}

impl Settings {
    /// Puts them into a record.
    fn put(&self, mut record: Value) -> Value {
        if let Some(status) = self.status {
            record["status"] = match status {
                Status::Enabled => "enabled".into(),
                Status::Disabled => "disabled".into(),
            };
        }
        if let Some(reason) = &self.status_reason {
            record["statusReason"] = reason.clone().into();
        }
        if let Some(primary) = &self.primary_key {
            let keys = json!({ "primaryKey": primary, "secondaryKey": self.secondary_key });
            record["authentication"] = json!({ "type": "sas", "symmetricKey": keys });
        }
        if let Some(primary) = &self.primary_thumbprint {
            let prints =
                json!({ "primaryThumbprint": primary, "secondaryThumbprint": self.secondary_thumbprint });
            record["authentication"] = json!({ "type": "selfSigned", "x509Thumbprint": prints });
        }
        record
    }
}

/// Whose record it is.
pub(super) fn identity_of(record: &Value) -> anyhow::Result<Identity> {
    let device = DeviceId::new(record["deviceId"].as_str().context("a record without deviceId")?)?;
    let module = record["moduleId"].as_str().map(ModuleId::new).transpose()?;
    Ok(Identity { device, module })
}

/// Writes a record over the one that was read; refused where somebody else wrote it meanwhile.
async fn replace(client: &ServiceClient, identity: &Identity, record: Value) -> anyhow::Result<Value> {
    let etag = record["etag"].as_str().map_or_else(|| "*".to_owned(), |etag| format!("\"{etag}\""));
    Ok(client.put_identity(identity, &record, Some(&etag)).await?)
}

async fn renewed(client: &ServiceClient, identity: &Identity, which: Key) -> anyhow::Result<Value> {
    let mut record = client.identity(identity).await?;
    let keys = &mut record["authentication"]["symmetricKey"];
    let (primary, secondary) = (keys["primaryKey"].take(), keys["secondaryKey"].take());
    if !primary.is_string() {
        bail!("{identity} has no symmetric keys");
    }
    let new = || Value::from(ironbrook_client::SharedAccessKey::generate().to_base64());
    let (primary, secondary) = match which {
        Key::Primary => (new(), secondary),
        Key::Secondary => (primary, new()),
        Key::Both => (new(), new()),
        Key::Swap => (secondary, primary),
    };
    *keys = json!({ "primaryKey": primary, "secondaryKey": secondary });
    replace(client, identity, record).await
}

async fn tell_connection_string(
    client: &ServiceClient,
    at: &Where,
    identity: &Identity,
    which: OneKey,
    global: &Global,
) -> anyhow::Result<()> {
    let target = at.service()?;
    let parts = ConnectionString::parse(&target.connection_string)?;
    let record = client.identity(identity).await?;
    let name = match which {
        OneKey::Primary => "primaryKey",
        OneKey::Secondary => "secondaryKey",
    };
    let key = record["authentication"]["symmetricKey"][name].as_str();
    let key = key.with_context(|| format!("{identity} has no symmetric keys"))?;
    let module = identity.module.as_ref().map(|module| format!(";ModuleId={module}")).unwrap_or_default();
    let text = format!(
        "HostName={};DeviceId={}{module};SharedAccessKey={key}",
        parts.require("HostName")?,
        identity.device
    );
    show(global, &Value::Object(Map::from_iter([("connectionString".to_owned(), text.into())])));
    Ok(())
}
