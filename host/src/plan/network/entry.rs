//! The entries of `allow` and `deny`: `tcp:HOST:PORT`, `udp:HOST:PORT`, `http://HOST:PORT` and
//! `https://HOST:PORT`; and networks, to be denied.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Allowed, Denied, Host, HttpScheme, Name, Ports, Target, Transport};
use crate::plan::scope::Wrong;
use crate::trigger::{did_you_mean, quoted};

const ALLOWED: &str =
    "what is allowed is `tcp:HOST:PORT`, `udp:HOST:PORT`, `http://HOST` or `https://HOST`";
const DENIED: &str =
    "what is denied is an address or a network such as `10.0.0.0/8`, or `tcp:10.0.0.0/8:25`";

/// Something that may be reached.
pub fn allowed(text: &str) -> Result<Allowed, Wrong> {
    let text = plain(text, ALLOWED)?;
    if let Some((scheme, rest)) = text.split_once("://") {
        return http(scheme, rest);
    }
    let Some((transport, rest)) = transport(text) else {
        return Err(no_protocol(text));
    };
    let (host, port) = host_and_port(rest, transport)?;
    Ok(Allowed::Socket {
        transport,
        target: target(host)?,
        ports: ports(port)?,
    })
}

/// Something that may not.
pub fn denied(text: &str) -> Result<Denied, Wrong> {
    let text = plain(text, DENIED)?;
    if text.contains("://") {
        return Err(Wrong::new(
            format!("{} is a URL", quoted(text)),
            "what is not allowed cannot be reached: deny the addresses that no name may lead to",
        ));
    }
    let (transport, host, ports) = match transport(text) {
        Some((transport, rest)) => {
            let (host, port) = host_and_port(rest, transport)?;
            (Some(transport), host, ports(port)?)
        }
        None => (None, text, Ports::All),
    };
    if transport.is_none()
        && let Some((address, port)) = host.split_once(':')
        && address.parse::<Ipv4Addr>().is_ok()
    {
        return Err(Wrong::new(
            format!(
                "{} does not say of which protocol its port is",
                quoted(text)
            ),
            format!("write `tcp:{address}:{port}`, or `{address}` for all of it"),
        ));
    }
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let net = match (bare, host.contains(':')) {
        (Some(net), _) => inet6(net)?,
        (None, true) => inet6(host)?,
        (None, false) => match target(host)? {
            Target::Net(net) => net,
            Target::Name(name) => {
                return Err(Wrong::new(
                    format!("`{name}` is a name"),
                    "a name may lead elsewhere tomorrow: deny an address or a network",
                ));
            }
        },
    };
    Ok(Denied {
        transport,
        net,
        ports,
    })
}

/// The text, if it can mean anything.
fn plain<'a>(text: &'a str, forms: &str) -> Result<&'a str, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("an empty text", forms));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Wrong::new(
            format!("a space or a control character in {}", quoted(text)),
            forms,
        ));
    }
    Ok(text)
}

fn transport(text: &str) -> Option<(Transport, &str)> {
    let tcp = text.strip_prefix("tcp:").map(|rest| (Transport::Tcp, rest));
    tcp.or_else(|| text.strip_prefix("udp:").map(|rest| (Transport::Udp, rest)))
}

fn no_protocol(text: &str) -> Wrong {
    let before = text.split(':').next().unwrap_or_default();
    let help = did_you_mean(before, ["tcp", "udp"]).filter(|_| text.contains(':'));
    Wrong::new(
        format!("{} does not say how it is reached", quoted(text)),
        help.unwrap_or_else(|| ALLOWED.to_owned()),
    )
}

fn http(scheme: &str, rest: &str) -> Result<Allowed, Wrong> {
    let scheme = match scheme {
        "http" => HttpScheme::Plain,
        "https" => HttpScheme::Tls,
        other => {
            return Err(Wrong::new(
                format!("{} is no way for a guest to send requests", quoted(other)),
                did_you_mean(other, ["http", "https"]).unwrap_or_else(|| ALLOWED.to_owned()),
            ));
        }
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let behind_host = authority
        .split_once(']')
        .map_or(authority, |(_, rest)| rest);
    if behind_host.contains(['/', '?', '#']) {
        return Err(Wrong::new(
            format!("a path in `{}://{rest}`", scheme.name()),
            "a host is allowed as a whole: leave out what is behind it",
        ));
    }
    let (host, port) = if let Some(inner) = authority.strip_prefix('[') {
        let (host, behind) = closed(inner, authority)?;
        let port = match behind {
            "" => None,
            behind => Some(behind.strip_prefix(':').ok_or_else(|| {
                Wrong::new(
                    format!("{} behind the `]`", quoted(behind)),
                    "a port is written behind a `:`, such as `http://[::1]:8080`",
                )
            })?),
        };
        (Host::Address(one(inet6(host)?)?), port)
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        if port.is_some_and(|port| port.contains(':')) {
            return Err(unbracketed(authority));
        }
        let host = match target(host)? {
            // Of IPv4, and what is behind a `/` has been found to be a path.
            Target::Net(net) => Host::Address(net.addr()),
            Target::Name(name) => Host::Name(name),
        };
        (host, port)
    };
    let port = port.map_or(Ok(scheme.port()), |port| match ports(port)? {
        Ports::One(port) => Ok(port),
        Ports::All => Err(Wrong::new(
            "`*` as the port of requests",
            "write the port, or leave it out for that of the protocol",
        )),
    })?;
    Ok(Allowed::Http { scheme, host, port })
}

/// What is between brackets, and what is behind them.
fn closed<'a>(inner: &'a str, whole: &str) -> Result<(&'a str, &'a str), Wrong> {
    inner.split_once(']').ok_or_else(|| {
        Wrong::new(
            format!("no `]` in {}", quoted(whole)),
            "an IPv6 address is written in brackets, such as `[::1]`",
        )
    })
}

/// The two parts of `HOST:PORT`; an IPv6 host keeps its brackets.
fn host_and_port(text: &str, transport: Transport) -> Result<(&str, &str), Wrong> {
    let no_port = |host: &str| {
        Wrong::new(
            format!("no port in `{transport}:{text}`"),
            format!(
                "write the port behind it, such as `{transport}:{host}:5432`, or `*` for all of them"
            ),
        )
    };
    if let Some(inner) = text.strip_prefix('[') {
        let (host, behind) = closed(inner, text)?;
        let port = behind.strip_prefix(':').ok_or_else(|| no_port(text))?;
        return Ok((&text[..host.len() + 2], port));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| no_port(text))?;
    if host.contains(':') {
        return Err(unbracketed(text));
    }
    Ok((host, port))
}

fn unbracketed(text: &str) -> Wrong {
    Wrong::new(
        format!("an IPv6 address without brackets in {}", quoted(text)),
        "write it in brackets, such as `[::1]:80` or `[fd00::/8]:80`",
    )
}

/// A network, an address or a name.
fn target(text: &str) -> Result<Target, Wrong> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').unwrap_or(inner);
        return inet6(inner).map(Target::Net);
    }
    if text.is_empty() {
        return Err(Wrong::new("no host", ALLOWED));
    }
    if text == "*" {
        return Err(Wrong::new(
            "`*` is not a host",
            "all of IPv4 is `0.0.0.0/0`, all of IPv6 is `[::/0]`",
        ));
    }
    if text.contains('/') {
        let wrong = || not_a_network(text, "10.1.0.0/16");
        let net = Ipv4Net::from_str(text).map_err(|_| wrong())?;
        return trimmed(net.into()).map(Target::Net);
    }
    match text.parse::<Ipv4Addr>() {
        Ok(address) => specified(IpAddr::V4(address)).map(Target::Net),
        Err(_) => Name::read(text).map(Target::Name),
    }
}

/// An IPv6 network or address.
fn inet6(text: &str) -> Result<IpNet, Wrong> {
    if text.contains('%') {
        return Err(Wrong::new(
            format!("a scope in {}", quoted(text)),
            "a guest says itself which interface a link-local address is on: leave out the `%`",
        ));
    }
    let net = if text.contains('/') {
        let net = Ipv6Net::from_str(text).map_err(|_| not_a_network(text, "fd00::/8"))?;
        trimmed(net.into())?
    } else {
        let address = text.parse::<Ipv6Addr>().map_err(|_| {
            Wrong::new(
                format!("{} is not an IPv6 address", quoted(text)),
                "an IPv6 address is written `[::1]`",
            )
        })?;
        specified(IpAddr::V6(address))?
    };
    if let IpAddr::V6(address) = net.addr()
        && let Some(ip) = address.to_ipv4_mapped()
        && net.prefix_len() >= 96
    {
        let rest = match net.prefix_len() {
            128 => String::new(),
            length => format!("/{}", length - 96),
        };
        return Err(Wrong::new(
            format!("{} is an IPv4 address in IPv6's clothes", quoted(text)),
            format!("it is taken off wherever it is met: write `{ip}{rest}`"),
        ));
    }
    Ok(net)
}

fn not_a_network(text: &str, example: &str) -> Wrong {
    Wrong::new(
        format!("{} is not a network", quoted(text)),
        format!("a network is an address and the length of its prefix, such as `{example}`"),
    )
}

/// A network whose address says no more than its prefix does.
fn trimmed(net: IpNet) -> Result<IpNet, Wrong> {
    if net.trunc() == net {
        return Ok(net);
    }
    Err(Wrong::new(
        format!("`{net}` has more in its address than in its prefix"),
        format!("did you mean `{}`, or `{}` alone?", net.trunc(), net.addr()),
    ))
}

/// An address that somebody can have.
fn specified(address: IpAddr) -> Result<IpNet, Wrong> {
    if address.is_unspecified() {
        return Err(Wrong::new(
            format!("`{address}` is nobody's address"),
            format!("write `{address}/0` for all of them, or the address that is meant"),
        ));
    }
    Ok(address.into())
}

/// The one address of a network that requests may go to.
fn one(net: IpNet) -> Result<IpAddr, Wrong> {
    if net.prefix_len() == net.max_prefix_len() {
        return Ok(net.addr());
    }
    Err(Wrong::new(
        format!("`{net}` is a network"),
        "requests go to one host: write its address or its name",
    ))
}

fn ports(text: &str) -> Result<Ports, Wrong> {
    const PORTS: &str = "a port is a number from 1 to 65535, or `*` for all of them";
    if text == "*" {
        return Ok(Ports::All);
    }
    if text.is_empty() {
        return Err(Wrong::new("no port behind the `:`", PORTS));
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse::<NonZeroU16>().ok().filter(|_| digits);
    port.map(Ports::One)
        .ok_or_else(|| Wrong::new(format!("{} is not a port", quoted(text)), PORTS))
}
