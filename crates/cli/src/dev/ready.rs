//! What `dev` says when it is ready: for people a screen, for programs one line of JSON.

use crate::edge_device::EdgeDevice;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Everything a user or a program needs to connect. No `Debug`: it is made of secrets.
#[derive(Clone, Serialize)]
pub struct Ready {
    /// Service side, policy `iothubowner`.
    pub hub_connection_string: String,
    /// Enrolments of the provisioning service, policy `provisioningserviceowner`.
    pub provisioning_connection_string: String,
    /// What devices name the provisioning service by.
    pub provisioning_id_scope: String,
    /// Device side, by device id.
    pub device_connection_strings: BTreeMap<String, String>,
    /// Event Hubs clients, TLS.
    pub events_connection_string: String,
    /// Event Hubs clients, plain on loopback.
    pub events_connection_string_plain: String,
    /// Blob clients.
    pub blob_connection_string: String,
    /// The authority to trust.
    pub ca_file: PathBuf,
    /// SHA-256 of the authority.
    pub ca_sha256: String,
    /// The web page, with the setup token.
    pub portal_url: String,
    /// Addresses by purpose.
    pub listeners: BTreeMap<&'static str, Vec<String>>,
    /// This process.
    pub pid: u32,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// A token of the first device for an hour, for the lines to copy.
    #[serde(skip)]
    pub first_token: Option<FirstToken>,
    /// What people should know, such as another port than the usual one.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// What the lines to copy need.
#[derive(Clone)]
pub struct FirstToken {
    /// The device.
    pub device: String,
    /// `localhost`, or `localhost:8443`.
    pub authority: String,
    /// Its token.
    pub token: String,
    /// How this program is called.
    pub program: String,
}

impl Ready {
    /// Adds what there is to know of the edge device.
    pub fn add_edge(&mut self, edge: &EdgeDevice) {
        for (purpose, addresses) in &edge.listeners {
            let purpose = match *purpose {
                "mqtt" => "edge_mqtt",
                "https" => "edge_https",
                "amqp" => "edge_amqp",
                other => other,
            };
            self.listeners.insert(purpose, addresses.clone());
        }
        self.notes.extend(edge.notes.iter().cloned());
    }

    /// The screen for people.
    pub fn screen(&self) -> String {
        let mut out = String::from("\nironbrook is ready\n\n");
        for (purpose, addresses) in &self.listeners {
            line(&mut out, purpose, &addresses.join("  "));
        }
        out.push('\n');
        for (device, connection_string) in &self.device_connection_strings {
            line(&mut out, &format!("device {device}"), connection_string);
        }
        line(&mut out, "service", &self.hub_connection_string);
        line(&mut out, "provisioning", &self.provisioning_connection_string);
        line(&mut out, "id scope", &self.provisioning_id_scope);
        line(&mut out, "events", &self.events_connection_string);
        line(&mut out, "events, plain", &self.events_connection_string_plain);
        line(&mut out, "blob", &self.blob_connection_string);
        out.push('\n');
        line(&mut out, "authority", &self.ca_file.display().to_string());
        line(&mut out, "  SHA-256", &self.ca_sha256);
        line(&mut out, "data", &self.data_dir.display().to_string());
        line(&mut out, "page", &self.portal_url);
        for note in &self.notes {
            line(&mut out, "note", note);
        }
        if let Some(first) = &self.first_token {
            let _ = write!(
                out,
                "\nA first message (the token is good for an hour):\n\n{}",
                self.first_message(first)
            );
        }
        out.push_str("\nCtrl-C stops.\n");
        out
    }

    /// Three lines to copy into a shell. The last begins before the message, so that it is seen among the sensor's.
    fn first_message(&self, first: &FirstToken) -> String {
        let FirstToken { device, authority, token, program } = first;
        let (ca, data) =
            (quoted(&self.ca_file.display().to_string()), quoted(&self.data_dir.display().to_string()));
        format!(
            "TOKEN={} SINCE=$(date -u +%FT%TZ)\n\
             curl --cacert {ca} -H \"Authorization: $TOKEN\" -H 'iothub-contenttype: application/json' -H 'iothub-contentencoding: utf-8' \
             -d '{{\"temperature\": 30.5}}' 'https://{authority}/devices/{device}/messages/events?api-version=2021-04-12'\n\
             {} messages monitor --data-dir {data} --from $SINCE --count 3\n",
            quoted(token),
            quoted(program),
        )
    }
}

fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {name:<22} {value}");
}

/// Quoted for a POSIX shell where needed.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-:=@%+".contains(&b);
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_for_a_shell_only_where_needed() {
        assert_eq!(quoted("/a/b-c.pem"), "/a/b-c.pem");
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
    }
}
