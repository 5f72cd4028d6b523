//! The listening side of a trigger: its addresses, and what is set on its sockets.

use std::num::NonZeroU32;

use toml::Spanned;

use super::scope::{Scope, Wrong};
use super::{Address, SocketOptions, identity, quantity};
use crate::trigger::{Field, OneOrMany, Socket};

/// Beyond this no text is an address, and none has to be quoted in full.
const ADDRESS_MAX: usize = 300;

/// The addresses of `listen`, each with its place.
pub(super) fn listen(
    scope: &mut Scope<'_>,
    field: Field<OneOrMany<String>>,
) -> Vec<Spanned<Address>> {
    let Field::Given(key, texts) = field else {
        return Vec::new();
    };
    let texts = match texts.into_inner() {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    };
    if texts.is_empty() {
        scope.refuse(
            &key,
            "is an empty list",
            r#"at least one address is wanted, such as "127.0.0.1:8000""#,
        );
    }
    let mut listen = Vec::new();
    for text in texts {
        let span = text.span();
        if let Some(address) = scope.part(&key.path, text, |text| address(&text)) {
            listen.push(Spanned::new(span, address));
        }
    }
    listen
}

fn address(text: &str) -> Result<Address, Wrong> {
    if text.len() > ADDRESS_MAX {
        return Err(Wrong::new(
            format!("a text of {} bytes is no address", text.len()),
            "no address is that long",
        ));
    }
    Ok(text.parse::<Address>()?)
}

/// What is set on the sockets at these addresses. `host_accepts`: connections, too, are the host's.
pub(super) fn options(
    scope: &mut Scope<'_>,
    field: Field<Socket>,
    listen: &[Spanned<Address>],
    host_accepts: bool,
) -> SocketOptions {
    let Socket {
        backlog,
        nodelay,
        keepalive,
        mode,
        owner,
        group,
    } = field.given().unwrap_or_default();

    // With no address that could be read, there is nothing that a key could not fit.
    let some = |fits: fn(&Address) -> bool| {
        listen.is_empty() || listen.iter().any(|address| fits(address.get_ref()))
    };
    if !some(|address| {
        matches!(
            address,
            Address::Inet(_) | Address::Inet6(_) | Address::Inherited(_)
        )
    }) {
        for key in [nodelay.key(), keepalive.key()].into_iter().flatten() {
            scope.refuse(
                key,
                "has no TCP address to act on",
                "a unix socket has no such option: leave it out",
            );
        }
    }
    if !some(|address| matches!(address, Address::Unix(_))) {
        for key in [mode.key(), owner.key(), group.key()].into_iter().flatten() {
            scope.refuse(
                key,
                "has no unix path to act on",
                "only a path has an owner, a group and a mode: listen on `unix:/path`, or leave it out",
            );
        }
    }
    if !some(|address| !matches!(address, Address::Inherited(_)))
        && let Some(key) = backlog.key()
    {
        scope.refuse(
            key,
            "has no effect on inherited sockets",
            "set `Backlog=` in systemd's socket unit",
        );
    }

    SocketOptions {
        backlog: scope.value(backlog, backlog_length),
        nodelay: nodelay.given().unwrap_or(host_accepts),
        keepalive: keepalive.given().unwrap_or(false),
        mode: scope.text(mode, quantity::octal),
        owner: scope.value(owner, identity::uid),
        group: scope.value(group, identity::gid),
    }
}

fn backlog_length(number: i64) -> Result<NonZeroU32, Wrong> {
    quantity::count(number)
        .ok()
        .filter(|length| i32::try_from(length.get()).is_ok())
        .ok_or_else(|| {
            Wrong::new(
                format!("{number} is out of range"),
                format!("a number from 1 to {} is wanted", i32::MAX),
            )
        })
}
