//! Who listens where, so that two triggers that want the same address are told so with both places
//! named, and not by the one that happens to bind second.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use super::Address;
use super::scope::Scope;
use crate::trigger::{Source, Span};

/// Where an address is written, and for whom.
#[derive(Clone, Debug)]
struct Where {
    address: Address,
    owner: String,
    source: Arc<Source>,
    span: Span,
}

/// Every address of the plan so far.
#[derive(Debug, Default)]
pub(super) struct Claims {
    exact: HashMap<Address, Where>,
    /// The first claim on a port, of each family: an address of all interfaces clashes with any.
    ports: HashMap<(&'static str, u16), Where>,
}

impl Claims {
    /// Takes an address for a trigger, or reports who has it.
    pub fn claim(&mut self, scope: &mut Scope<'_>, address: &Address, span: &Span) {
        let place = Where {
            address: address.clone(),
            owner: scope.owner.clone(),
            source: Arc::clone(scope.source),
            span: span.clone(),
        };
        if let Some(other) = self.holder(address) {
            let message = format!("`{address}` in {} is taken by {}", place.owner, other.owner);
            let what = format!("`{}` in {}", other.address, other.owner);
            scope
                .problem(span, message)
                .see(what, &other.source, &other.span);
            return;
        }
        if let Some(port) = port(address) {
            self.ports
                .entry((address.family(), port))
                .or_insert_with(|| place.clone());
        }
        self.exact.insert(
            everywhere(address).unwrap_or_else(|| address.clone()),
            place,
        );
    }

    fn holder(&self, address: &Address) -> Option<&Where> {
        let Some(port) = port(address) else {
            return self.exact.get(address);
        };
        if port == 0 {
            return None;
        }
        match everywhere(address) {
            Some(_) => self.ports.get(&(address.family(), port)),
            None => self
                .exact
                .get(address)
                .or_else(|| self.exact.get(&all_interfaces(address, port))),
        }
    }
}

fn port(address: &Address) -> Option<u16> {
    match address {
        Address::Inet(address) => Some(address.port()),
        Address::Inet6(address) => Some(address.port()),
        Address::Unix(_) | Address::Abstract(_) | Address::Inherited(_) => None,
    }
}

/// The address in one spelling if it is that of all interfaces.
fn everywhere(address: &Address) -> Option<Address> {
    match address {
        Address::Inet(inet) if inet.ip().is_unspecified() => {
            Some(all_interfaces(address, inet.port()))
        }
        Address::Inet6(inet) if inet.ip().is_unspecified() => {
            Some(all_interfaces(address, inet.port()))
        }
        _ => None,
    }
}

/// All interfaces, in the family of an inet address.
fn all_interfaces(address: &Address, port: u16) -> Address {
    match address {
        Address::Inet6(_) => Address::Inet6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0)),
        _ => Address::Inet(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)),
    }
}
