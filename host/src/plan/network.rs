//! What a guest may reach of the network: a list of what is allowed, and of what is denied whatever is
//! allowed. Nothing is looked up here; what names stand for is found out when the guest is loaded.

mod entry;
mod name;

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;

use super::scope::Scope;
use crate::trigger::{self, Field, ListOr};

pub use name::Name;

const HTTP: NonZeroU16 = NonZeroU16::new(80).unwrap();
const HTTPS: NonZeroU16 = NonZeroU16::new(443).unwrap();

/// Where a guest may connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// In the order of the file; nothing but these.
    pub allow: Vec<Allowed>,
    /// In the order of the file; none of these.
    pub deny: Vec<Denied>,
}

impl Network {
    /// Whether nothing can be reached.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty()
    }
}

/// Something that may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// With a socket of the guest's own.
    Socket {
        /// Of which kind.
        transport: Transport,
        /// Whom.
        target: Target,
        /// Where there.
        ports: Ports,
    },
    /// With a request that the host sends for the guest.
    Http {
        /// Whether it is encrypted.
        scheme: HttpScheme,
        /// To whom.
        host: Host,
        /// Where there.
        port: NonZeroU16,
    },
}

/// What may not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// By this; `None`: by any. A request of HTTP goes by TCP.
    pub transport: Option<Transport>,
    /// These addresses, whatever name leads to them.
    pub net: IpNet,
    /// There.
    pub ports: Ports,
}

/// A kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
}

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpScheme {
    /// `http`
    Plain,
    /// `https`
    Tls,
}

/// Whom a socket may be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All of a network, or the one address that it holds.
    Net(IpNet),
    /// Whoever has this name.
    Name(Name),
}

/// Whom a request may be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Whoever has this address, which is never an IPv4 address in IPv6's clothes.
    Address(IpAddr),
    /// Whoever has this name.
    Name(Name),
}

/// One port, or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// `*`
    All,
    /// This one.
    One(NonZeroU16),
}

impl Ports {
    /// Whether `port` is among them.
    pub fn hold(self, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one.get() == port,
        }
    }
}

impl HttpScheme {
    /// As a URL begins with it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "http",
            Self::Tls => "https",
        }
    }

    /// Where it goes unless it is said.
    pub fn port(self) -> NonZeroU16 {
        match self {
            Self::Plain => HTTP,
            Self::Tls => HTTPS,
        }
    }
}

/// `network` as meant; what has no meaning is reported.
pub(super) fn read(scope: &mut Scope<'_>, field: Field<ListOr<trigger::Network>>) -> Network {
    let Field::Given(key, written) = field else {
        return Network::default();
    };
    let span = written.span();
    let (allow, deny) = match written.into_inner() {
        ListOr::List(allow) => {
            let allow = allow
                .into_iter()
                .filter_map(|text| scope.part(&key.path, text, |text| entry::allowed(&text)));
            return Network {
                allow: allow.collect(),
                deny: Vec::new(),
            };
        }
        ListOr::Table(trigger::Network { allow, deny }) => (allow, deny),
    };
    if !allow.is_written() {
        scope
            .problem(&span, format!("`{}` has no `allow`", key.path))
            .help("nothing can be reached but what is allowed, so there is nothing to deny");
    }
    let mut network = Network::default();
    if let Field::Given(key, texts) = allow {
        let texts = texts.into_inner().into_iter();
        let meant = texts
            .filter_map(|text| scope.part(&key.path, text, |text| entry::allowed(&text)))
            .collect();
        network.allow = meant;
    }
    if let Field::Given(key, texts) = deny {
        let texts = texts.into_inner().into_iter();
        let meant = texts
            .filter_map(|text| scope.part(&key.path, text, |text| entry::denied(&text)))
            .collect();
        network.deny = meant;
    }
    network
}

impl Display for Allowed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket {
                transport,
                target,
                ports,
            } => match target {
                Target::Net(net) => write!(f, "{transport}:{}:{ports}", Bracketed(*net)),
                Target::Name(name) => write!(f, "{transport}:{name}:{ports}"),
            },
            Self::Http { scheme, host, port } => {
                write!(f, "{}://", scheme.name())?;
                match host {
                    Host::Address(address) => Bracketed((*address).into()).fmt(f)?,
                    Host::Name(name) => name.fmt(f)?,
                }
                if *port == scheme.port() {
                    Ok(())
                } else {
                    write!(f, ":{port}")
                }
            }
        }
    }
}

impl Display for Denied {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let net = Bracketed(self.net);
        match (self.transport, self.ports) {
            (None, Ports::All) => net.fmt(f),
            (None, ports) => write!(f, "{net}:{ports}"),
            (Some(transport), ports) => write!(f, "{transport}:{net}:{ports}"),
        }
    }
}

impl Display for Transport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl Display for Ports {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::One(port) => port.fmt(f),
        }
    }
}

/// A network as it stands before a port; one of a single address as that address.
struct Bracketed(IpNet);

impl Display for Bracketed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(net) = self;
        let one = net.prefix_len() == net.max_prefix_len();
        match (net, one) {
            (IpNet::V4(net), true) => net.addr().fmt(f),
            (IpNet::V4(net), false) => net.fmt(f),
            (IpNet::V6(net), true) => write!(f, "[{}]", net.addr()),
            (IpNet::V6(net), false) => write!(f, "[{net}]"),
        }
    }
}
