//! The names a guest may know, and the addresses they had when it was loaded. They keep these as long as
//! its handler lasts: whoever answers for a name later cannot lead a guest elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _};

use anyhow::{Context as _, bail};

use crate::plan::{Allowed, Host, Network, Target};

/// Addresses of one name that are kept.
const MOST: usize = 32;

/// Names with their addresses.
#[derive(Debug, Default)]
pub struct Pins(BTreeMap<String, Vec<IpAddr>>);

impl Pins {
    /// The names in what `network` allows, each looked up once by `resolve`.
    ///
    /// # Errors
    /// When one has no address that a name may lead to.
    pub fn of(
        network: &Network,
        mut resolve: impl FnMut(&str) -> io::Result<Vec<IpAddr>>,
    ) -> anyhow::Result<Self> {
        let mut pins = BTreeMap::new();
        for allowed in &network.allow {
            let name = match allowed {
                Allowed::Socket {
                    target: Target::Name(name),
                    ..
                }
                | Allowed::Http {
                    host: Host::Name(name),
                    ..
                } => name.as_str(),
                Allowed::Socket { .. } | Allowed::Http { .. } => continue,
            };
            if !pins.contains_key(name) {
                let found =
                    resolve(name).with_context(|| format!("network: cannot look up `{name}`"))?;
                pins.insert(name.to_owned(), kept(name, &found)?);
            }
        }
        Ok(Self(pins))
    }

    /// The addresses of a name; `None`: it is not allowed.
    pub fn of_name(&self, name: &str) -> Option<&[IpAddr]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

/// Those of the addresses `found` that a name may lead to, each once, in their order.
fn kept(name: &str, found: &[IpAddr]) -> anyhow::Result<Vec<IpAddr>> {
    let mut kept = Vec::new();
    for address in found {
        let address = address.to_canonical();
        if !is_no_host(address) && !kept.contains(&address) && kept.len() < MOST {
            kept.push(address);
        }
    }
    if kept.is_empty() {
        let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
        if found.is_empty() {
            bail!("network: `{name}` has no address");
        }
        bail!(
            "network: `{name}` leads to {}, where no name may lead; write the address itself if it is meant",
            found.join(", ")
        );
    }
    Ok(kept)
}

/// Whether an address is one that no host is known by: nobody's, that of a link (where clouds keep their
/// credentials), or that of a group.
fn is_no_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            // All of 0.0.0.0/8 is this machine itself.
            address.octets()[0] == 0
                || address.is_link_local()
                || address.is_multicast()
                || address == Ipv4Addr::BROADCAST
        }
        IpAddr::V6(address) => {
            address == Ipv6Addr::UNSPECIFIED
                || address.is_unicast_link_local()
                || address.is_multicast()
        }
    }
}

/// Asks the system for the addresses of `name`.
///
/// # Errors
/// When it knows none.
pub fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0)
        .to_socket_addrs()?
        .map(|found| found.ip())
        .collect())
}
