//! Which ports are opened and what each leads to.

use super::ready::Ready;
use crate::config::Listen;
use arc_swap::ArcSwap;
use ironbrook_gateway::{Listener, Services, Tls};
use rustls::ServerConfig;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

/// The ports of `dev`, as far as this machine allows them.
pub struct Ports {
    listen: Listen,
    /// HTTPS after a look at what may be bound.
    pub https: SocketAddr,
    notes: Vec<String>,
}

impl Ports {
    /// Looks whether the usual HTTPS port may be bound.
    pub fn choose(listen: &Listen) -> Self {
        let (https, note) = https_port(listen.https, listen.https_fallback);
        let plain = [(listen.mqtt_plain, "--mqtt-plain"), (listen.mqtt_topics, "--mqtt-topics")];
        let warnings = plain.into_iter().filter_map(|(addr, flag)| open_to_others(addr?, flag));
        let notes = note.into_iter().chain(warnings).collect();
        Self { listen: listen.clone(), https, notes }
    }

    /// `localhost`, with the port where it is not the one every client assumes.
    pub fn http_authority(&self, host: &str) -> String {
        if self.https.port() == 443 { host.to_owned() } else { format!("{host}:{}", self.https.port()) }
    }

    /// The address of the web page.
    pub fn portal(&self) -> SocketAddr {
        self.listen.portal
    }

    /// The address of the storage account.
    pub fn blob(&self) -> SocketAddr {
        self.listen.blob
    }

    /// The AMQP port with TLS.
    pub fn amqp(&self) -> SocketAddr {
        self.listen.amqp
    }

    /// The plain AMQP port.
    pub fn amqp_plain(&self) -> SocketAddr {
        self.listen.amqp_plain
    }

    /// All listeners. A port on 127.0.0.1 is opened on ::1 as well where there is one: some clients try that first.
    pub fn listeners(
        &mut self,
        tls: &Arc<ArcSwap<ServerConfig>>,
        main: &Arc<Services>,
        topics: &Arc<Services>,
        blob: &Arc<Services>,
        portal: &Arc<Services>,
    ) -> Vec<Listener> {
        let (on, either) = (Tls::On(tls.clone()), Tls::Either(tls.clone()));
        [
            (Some(self.listen.mqtt), &on, main),
            (self.listen.mqtt_plain, &Tls::Off, main),
            (self.listen.mqtt_topics, &Tls::Off, topics),
            (self.listen.mqtt_topics_tls, &on, topics),
            (Some(self.https), &on, main),
            (Some(self.listen.amqp), &on, main),
            (Some(self.listen.amqp_plain), &Tls::Off, main),
            (Some(self.listen.blob), &either, blob),
            (Some(self.listen.portal), &either, portal),
        ]
        .into_iter()
        .filter_map(|(addr, tls, services)| Some((addr?, tls, services)))
        .flat_map(|(addr, tls, services)| {
            let listener = |addr| Listener { addr, tls: tls.clone(), services: services.clone() };
            std::iter::once(addr).chain(on_ipv6(addr)).map(listener).collect::<Vec<_>>()
        })
        .collect()
    }

    /// Adds addresses and notes to what is announced.
    pub fn complete(self, mut ready: Ready) -> Ready {
        let Self { listen, https, notes } = self;
        let rows = [
            ("mqtt", Some(listen.mqtt)),
            ("mqtt_plain", listen.mqtt_plain),
            ("mqtt_topics", listen.mqtt_topics),
            ("mqtt_topics_tls", listen.mqtt_topics_tls),
            ("https", Some(https)),
            ("amqp", Some(listen.amqp)),
            ("amqp_plain", Some(listen.amqp_plain)),
            ("blob", Some(listen.blob)),
            ("portal", Some(listen.portal)),
        ];
        for (purpose, addr) in rows {
            let Some(addr) = addr else { continue };
            let all = std::iter::once(addr).chain(on_ipv6(addr)).map(|a| a.to_string()).collect();
            ready.listeners.insert(purpose, all);
        }
        ready.notes.extend(notes);
        ready
    }
}

/// The usual HTTPS port if it may be bound, else the other with a note for people.
pub fn https_port(usual: SocketAddr, fallback: SocketAddr) -> (SocketAddr, Option<String>) {
    if !TcpListener::bind(usual).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
        return (usual, None);
    }
    let note = format!(
        "port {} needs a right this process has not: HTTPS and WebSocket are on {fallback}; for SDKs that know no other port run \
         'sudo sysctl net.ipv4.ip_unprivileged_port_start={}'",
        usual.port(),
        usual.port()
    );
    (fallback, Some(note))
}

/// What to say where MQTT without TLS can be reached from other machines.
fn open_to_others(plain: SocketAddr, flag: &str) -> Option<String> {
    (!plain.ip().is_loopback()).then(|| {
        format!(
            "WARNING: {plain} takes MQTT without TLS from other machines; tokens, passwords and messages can be read on the \
             way. Use it in networks you trust, or give {flag} a loopback address"
        )
    })
}

/// Free ports in place of port 0, since they stand in connection strings before they are opened.
pub fn with_free_ports(listen: &Listen) -> Listen {
    let mut listen = listen.clone();
    let Listen {
        mqtt,
        mqtt_plain,
        mqtt_topics,
        mqtt_topics_tls,
        https,
        https_fallback,
        amqp,
        amqp_plain,
        portal,
        blob,
    } = &mut listen;
    // All are held until the last is found, so that no two are the same.
    let mut held = Vec::new();
    let always = [mqtt, https, https_fallback, amqp, amqp_plain, portal, blob];
    for addr in always.into_iter().chain(mqtt_plain).chain(mqtt_topics).chain(mqtt_topics_tls) {
        if addr.port() == 0
            && let Ok(socket) = TcpListener::bind(*addr)
            && let Ok(free) = socket.local_addr()
        {
            *addr = free;
            held.push(socket);
        }
    }
    listen
}

/// The same port on ::1, if the address is 127.0.0.1 and the port can be had there.
fn on_ipv6(addr: SocketAddr) -> Option<SocketAddr> {
    if addr.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) || addr.port() == 0 {
        return None;
    }
    // Not a bind of the port itself: ours may hold it by now.
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    has_ipv6.then(|| SocketAddr::from((Ipv6Addr::LOCALHOST, addr.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_becomes_free_ports_that_differ() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listen = Listen { mqtt: any, https: any, amqp: any, portal: any, ..Listen::default() };
        let Listen { mqtt, https, amqp, portal, blob, .. } = with_free_ports(&listen);
        let mut found = vec![mqtt.port(), https.port(), amqp.port(), portal.port()];
        found.sort_unstable();
        found.dedup();
        assert!(found.len() == 4 && !found.contains(&0), "{found:?}");
        assert_eq!(blob, Listen::default().blob, "a port that was chosen stays");
    }

    #[test]
    fn plain_mqtt_is_opened_on_wish_only_and_warned_of_off_loopback() {
        let absent = Ports::choose(&Listen::default());
        assert!(
            absent.listen.mqtt_plain.is_none() && !absent.notes.iter().any(|note| note.contains("WARNING"))
        );
        for (addr, warned) in [("127.0.0.1:1883", false), ("[::1]:1883", false), ("0.0.0.0:1883", true)] {
            let listen = Listen { mqtt_plain: addr.parse().ok(), ..Listen::default() };
            let notes = Ports::choose(&listen).notes;
            assert_eq!(
                notes.iter().any(|note| note.contains("WARNING") && note.contains(addr)),
                warned,
                "{addr}"
            );
        }
        let listen = Listen { mqtt_plain: "127.0.0.1:0".parse().ok(), ..Listen::default() };
        assert!(with_free_ports(&listen).mqtt_plain.is_some_and(|addr| addr.port() != 0));
    }
}
