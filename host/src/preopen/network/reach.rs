//! What may be reached, once every name is looked up: the rules that a socket's address has to pass,
//! and the addresses that requests go to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::bail;
use ipnet::IpNet;
use wasmtime_wasi::sockets::SocketAddrUse;

use super::pins::Pins;
use crate::plan::{Allowed, Denied, Host, HttpScheme, Name, Network, Ports, Target, Transport};

/// Rules and pinned addresses.
#[derive(Debug, Default)]
pub struct Reach {
    allowed: Vec<Rule>,
    denied: Vec<Denied>,
    sites: HashMap<Site, Vec<SocketAddr>>,
    pins: Pins,
}

/// Where a socket may be connected to.
#[derive(Debug)]
struct Rule {
    transport: Transport,
    net: IpNet,
    ports: Ports,
}

/// Where a request may be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// How.
    pub scheme: HttpScheme,
    /// An address in its one spelling, or a name in lower case.
    pub host: String,
    /// Where there.
    pub port: u16,
}

impl Reach {
    /// What `network` allows, its names looked up by `resolve`.
    ///
    /// # Errors
    /// When a name has no address, or leads only where it may not.
    pub fn of(
        network: &Network,
        resolve: impl FnMut(&str) -> std::io::Result<Vec<IpAddr>>,
    ) -> anyhow::Result<Self> {
        let mut reach = Self {
            denied: network.deny.clone(),
            pins: Pins::of(network, resolve)?,
            ..Self::default()
        };
        for allowed in &network.allow {
            reach.add(allowed)?;
        }
        Ok(reach)
    }

    fn add(&mut self, allowed: &Allowed) -> anyhow::Result<()> {
        match allowed {
            Allowed::Socket {
                transport,
                target,
                ports,
            } => {
                let mut nets = match target {
                    Target::Net(net) => vec![*net],
                    Target::Name(name) => self.pinned(name).map(IpNet::from).collect(),
                };
                // What is denied in part is found out when it is used.
                let port = match ports {
                    Ports::All => None,
                    Ports::One(port) => Some(port.get()),
                };
                nets.retain(|net| !self.denies(*transport, *net, port));
                if nets.is_empty() {
                    bail!("network: every address of `{allowed}` is denied");
                }
                self.allowed.extend(nets.into_iter().map(|net| Rule {
                    transport: *transport,
                    net,
                    ports: *ports,
                }));
            }
            Allowed::Http { scheme, host, port } => {
                let port = port.get();
                let (host, addresses) = match host {
                    Host::Address(address) => (address.to_string(), vec![*address]),
                    Host::Name(name) => (name.to_string(), self.pinned(name).collect()),
                };
                let addresses: Vec<SocketAddr> = addresses
                    .into_iter()
                    .filter(|ip| !self.denies(Transport::Tcp, (*ip).into(), Some(port)))
                    .map(|address| SocketAddr::new(address, port))
                    .collect();
                if addresses.is_empty() {
                    bail!("network: every address of `{allowed}` is denied");
                }
                let site = Site {
                    scheme: *scheme,
                    host,
                    port,
                };
                self.sites.insert(site, addresses);
            }
        }
        Ok(())
    }

    fn pinned(&self, name: &Name) -> impl Iterator<Item = IpAddr> {
        let addresses = self.pins.of_name(name.as_str()).unwrap_or_default();
        addresses.iter().copied()
    }

    /// Whether all of a network is denied, or one port of all of it.
    fn denies(&self, transport: Transport, net: IpNet, port: Option<u16>) -> bool {
        self.denied.iter().any(|denied| {
            denied.transport.is_none_or(|its| its == transport)
                && denied.net.contains(&net)
                && match (denied.ports, port) {
                    (Ports::All, _) => true,
                    (ports, Some(port)) => ports.hold(port),
                    (Ports::One(_), None) => false,
                }
        })
    }

    /// Whether a socket of this kind may be used with whoever is at `address`.
    pub fn allows(&self, transport: Transport, address: SocketAddr) -> bool {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let allowed = self.allowed.iter().any(|rule| {
            rule.transport == transport && rule.net.contains(&ip) && rule.ports.hold(port)
        });
        allowed && !self.denies(transport, ip.into(), Some(port))
    }

    /// Whether a guest may use an address for this. It listens nowhere, and the only end of its own that
    /// it may choose is any.
    pub fn permits(&self, address: SocketAddr, to: SocketAddrUse) -> bool {
        match to {
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                address.ip().is_unspecified() && address.port() == 0
            }
            SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => false,
            SocketAddrUse::TcpConnect => self.allows(Transport::Tcp, address),
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => {
                self.allows(Transport::Udp, address)
            }
        }
    }

    /// Whether any socket of this kind is of use.
    pub fn has_sockets(&self, transport: Transport) -> bool {
        self.allowed.iter().any(|rule| rule.transport == transport)
    }

    /// Whether any request is to be encrypted.
    pub fn has_tls(&self) -> bool {
        self.sites.keys().any(|site| site.scheme == HttpScheme::Tls)
    }

    /// The addresses that requests for `site` go to; `None`: it is not allowed.
    pub fn site(&self, site: &Site) -> Option<&[SocketAddr]> {
        self.sites.get(site).map(Vec::as_slice)
    }

    /// The names that are allowed.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    fn network(text: &str) -> Network {
        let text = format!("[trigger.t]\nlisten = \"80\"\nwasm = \"t.wasm\"\nnetwork = {text}\n");
        let plan = Plan::read(text, "t.toml", "/srv").map_err(|problems| problems.to_string());
        let mut triggers = plan.unwrap().triggers;
        match triggers.remove(0).job {
            crate::plan::Job::Guest { guest, .. } => guest.network,
            crate::plan::Job::Native(_) => unreachable!(),
        }
    }

    fn reach(text: &str) -> anyhow::Result<Reach> {
        Reach::of(&network(text), |name| {
            let addresses: &[&str] = match name {
                "db.internal" => &["10.0.0.5", "fd00::5"],
                "mapped.example" => &["::ffff:10.0.0.5"],
                "rebound.example" => &["127.0.0.1", "192.0.2.7"],
                "metadata.example" => &["169.254.169.254"],
                "nobody.example" => &["0.0.0.0", "::"],
                _ => return Err(std::io::Error::other("no such name")),
            };
            Ok(addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect())
        })
    }

    fn tcp(reach: &Reach, address: &str) -> bool {
        reach.permits(address.parse().unwrap(), SocketAddrUse::TcpConnect)
    }

    #[test]
    fn an_address_is_allowed_at_its_port_and_protocol_only() {
        let reach =
            reach(r#"["tcp:10.0.0.5:5432", "udp:[fd00::1]:53", "tcp:10.1.0.0/16:*"]"#).unwrap();
        assert!(tcp(&reach, "10.0.0.5:5432") && tcp(&reach, "10.1.2.3:1"));
        for address in [
            "10.0.0.5:5433",
            "10.0.0.6:5432",
            "10.2.0.0:1",
            "[fd00::1]:53",
        ] {
            assert!(!tcp(&reach, address), "{address}");
        }
        let udp = |to| reach.permits("[fd00::1]:53".parse().unwrap(), to);
        assert!(udp(SocketAddrUse::UdpSend) && udp(SocketAddrUse::UdpReceive));
        assert!(!reach.permits("10.0.0.5:5432".parse().unwrap(), SocketAddrUse::UdpSend));
    }

    #[test]
    fn an_ipv4_address_in_ipv6s_clothes_is_that_ipv4_address() {
        let reach = reach(r#"{ allow = ["tcp:0.0.0.0/0:80"], deny = ["127.0.0.0/8"] }"#).unwrap();
        assert!(tcp(&reach, "[::ffff:192.0.2.1]:80"));
        assert!(!tcp(&reach, "[::ffff:127.0.0.1]:80"));
        assert!(!tcp(&reach, "[::1]:80"));
    }

    #[test]
    fn nothing_is_bound_to_a_chosen_end_and_nothing_listens() {
        let reach = reach(r#"["tcp:0.0.0.0/0:*", "tcp:[::/0]:*", "udp:0.0.0.0/0:*"]"#).unwrap();
        let may = |address: &str, to| reach.permits(address.parse().unwrap(), to);
        for to in [SocketAddrUse::TcpBind, SocketAddrUse::UdpBind] {
            assert!(may("0.0.0.0:0", to) && may("[::]:0", to));
            for address in ["127.0.0.1:0", "0.0.0.0:80", "[::1]:0", "[::ffff:0.0.0.0]:0"] {
                assert!(!may(address, to), "{address}");
            }
        }
        assert!(!may("0.0.0.0:0", SocketAddrUse::TcpListen));
        assert!(!may("127.0.0.1:80", SocketAddrUse::TcpAccept));
    }

    #[test]
    fn a_name_is_its_pinned_addresses_and_what_is_denied_is_none_of_them() {
        let open =
            reach(r#"["tcp:db.internal:5432", "http://rebound.example", "tcp:mapped.example:1"]"#)
                .unwrap();
        assert!(tcp(&open, "10.0.0.5:5432") && tcp(&open, "[fd00::5]:5432"));
        assert!(tcp(&open, "10.0.0.5:1") && !tcp(&open, "10.0.0.5:2"));
        let site = Site {
            scheme: HttpScheme::Plain,
            host: "rebound.example".to_owned(),
            port: 80,
        };
        assert_eq!(open.site(&site).unwrap().len(), 2);

        let denied = reach(
            r#"{ allow = ["http://rebound.example", "tcp:db.internal:*"], deny = ["127.0.0.0/8", "tcp:10.0.0.5:25"] }"#,
        )
        .unwrap();
        assert_eq!(
            denied.site(&site).unwrap(),
            ["192.0.2.7:80".parse().unwrap()]
        );
        assert!(tcp(&denied, "10.0.0.5:26") && !tcp(&denied, "10.0.0.5:25"));
        assert!(
            !tcp(&denied, "192.0.2.7:80"),
            "requests are the host's to send"
        );
    }

    #[test]
    fn a_name_that_leads_nowhere_it_may_is_an_error() {
        let error = |text| format!("{:#}", reach(text).unwrap_err());
        assert_eq!(
            error(r#"["tcp:gone.example:1"]"#),
            "network: cannot look up `gone.example`: no such name"
        );
        assert_eq!(
            error(r#"["tcp:metadata.example:80"]"#),
            "network: `metadata.example` leads to 169.254.169.254, where no name may lead; write the address itself if it is meant"
        );
        assert_eq!(
            error(r#"["http://nobody.example"]"#),
            "network: `nobody.example` leads to 0.0.0.0, ::, where no name may lead; write the address itself if it is meant"
        );
        assert_eq!(
            error(r#"{ allow = ["https://mapped.example"], deny = ["tcp:10.0.0.0/8:*"] }"#),
            "network: every address of `https://mapped.example` is denied"
        );
        assert_eq!(
            error(r#"{ allow = ["tcp:10.0.0.5:80"], deny = ["10.0.0.0/8"] }"#),
            "network: every address of `tcp:10.0.0.5:80` is denied"
        );
    }
}
