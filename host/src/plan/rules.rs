//! Rules of access: `allow` and `deny`. A client over inet is told by its address, one over unix by
//! the user and group that it runs as. Names of hosts are not looked up: whoever has an address says
//! what its name is.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use nix::unistd::{Gid, Uid};
use toml::Spanned;

use super::scope::{Scope, Wrong};
use super::{Address, Identity, identity};
use crate::trigger::{Field, NumberOrText, OneOrMany, did_you_mean, quoted};

/// Which clients are let in at all. The most special rule that fits a client decides; of two that
/// are alike, `deny`. A client that none fits is let in when nothing is allowed in so many words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Who is let in.
    pub allow: Vec<Rule>,
    /// Who is not.
    pub deny: Vec<Rule>,
}

/// Some clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Those with an address of this network; never an IPv4 network in IPv6's clothes.
    Net(IpNet),
    /// Those over unix that run as this user. More special than a group.
    User(Identity<Uid>),
    /// Those over unix whose primary group is this.
    Group(Identity<Gid>),
}

impl Rules {
    /// Whether they let in everybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { allow, deny } = self;
        allow.is_empty() && deny.is_empty()
    }

    /// All of them, whatever they say.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.allow.iter().chain(&self.deny)
    }
}

const FORMS: &str = "a rule is an address, a network such as `10.0.0.0/8`, or, over unix, `uid:1000`, \
    `user:NAME`, `gid:100` or `group:NAME`";

/// The rules of a trigger.
pub(super) fn read(
    scope: &mut Scope<'_>,
    allow: Field<OneOrMany<String>>,
    deny: Field<OneOrMany<String>>,
) -> Rules {
    Rules {
        allow: list(scope, allow, "would admit nobody,"),
        deny: list(scope, deny, "says nothing,"),
    }
}

/// Refuses rules that can fit nobody at these addresses.
pub(super) fn fit(
    scope: &mut Scope<'_>,
    allow: &Field<OneOrMany<String>>,
    deny: &Field<OneOrMany<String>>,
    listen: &[Spanned<Address>],
) {
    let any = |fits: fn(&Address) -> bool| listen.iter().any(|it| fits(it.get_ref()));
    let inherited = any(|it| matches!(it, Address::Inherited(_)));
    let inet = inherited || any(|it| matches!(it, Address::Inet(_) | Address::Inet6(_)));
    let unix = inherited || any(|it| matches!(it, Address::Unix(_) | Address::Abstract(_)));
    if listen.is_empty() {
        return;
    }
    for field in [allow, deny] {
        let Field::Given(key, rules) = field else {
            continue;
        };
        let rules = match rules.get_ref() {
            OneOrMany::One(rule) => std::slice::from_ref(rule),
            OneOrMany::Many(rules) => rules.as_slice(),
        };
        for written in rules {
            let (why, help) = match rule(written.get_ref()) {
                Ok(Rule::Net(_)) if !inet => (
                    "an address, where the trigger listens on no address",
                    "over unix, clients are told by `uid:1000`, `user:NAME`, `gid:100` or `group:NAME`",
                ),
                Ok(Rule::User(_) | Rule::Group(_)) if !unix => (
                    "a user or group, where the trigger listens on no unix socket",
                    "over inet, clients are told by addresses and networks, such as `10.0.0.0/8`",
                ),
                _ => continue,
            };
            let message = format!("`{}`: {why}", key.path);
            scope.problem(&written.span(), message).help(help);
        }
    }
}

fn list(scope: &mut Scope<'_>, field: Field<OneOrMany<String>>, empty: &str) -> Vec<Rule> {
    let Field::Given(key, texts) = field else {
        return Vec::new();
    };
    let texts = match texts.into_inner() {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    };
    if texts.is_empty() {
        let why = format!("is an empty list, which {empty}");
        scope.refuse(&key, &why, FORMS);
    }
    texts
        .into_iter()
        .filter_map(|text| scope.part(&key.path, text, |text| rule(&text)))
        .collect()
}

fn rule(text: &str) -> Result<Rule, Wrong> {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let message = format!("{} is not a rule", quoted(text));
        return Err(Wrong::new(message, FORMS));
    }
    let Some((kind, rest)) = text.split_once(':') else {
        return net(text).map(Rule::Net);
    };
    let number = || {
        let digits = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        let message = format!("{} is not a number", quoted(rest));
        let other = if kind == "uid" {
            "user:NAME"
        } else {
            "group:NAME"
        };
        digits
            .then(|| NumberOrText::Text(rest.to_owned()))
            .ok_or_else(|| Wrong::new(message, format!("a name is written `{other}`")))
    };
    let name = || NumberOrText::Text(rest.to_owned());
    match kind {
        "uid" => identity::uid(number()?).map(Rule::User),
        "gid" => identity::gid(number()?).map(Rule::Group),
        "user" => identity::uid(name()).map(Rule::User),
        "group" => identity::gid(name()).map(Rule::Group),
        _ => net(text).map(Rule::Net),
    }
}

/// A network, or an address as the smallest of them.
fn net(text: &str) -> Result<IpNet, Wrong> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let bare = bare.unwrap_or(text);
    let net = bare
        .parse::<IpNet>()
        .or_else(|_| bare.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| no_net(text))?;
    if net.trunc() != net {
        return Err(Wrong::new(
            format!("`{net}` has more in its address than in its prefix"),
            format!("did you mean `{}`, or `{}` alone?", net.trunc(), net.addr()),
        ));
    }
    Ok(plain(net))
}

/// The network of IPv4 that one of IPv6 may be: its clients are clients of IPv4.
fn plain(net: IpNet) -> IpNet {
    let IpNet::V6(mapped) = net else { return net };
    let length = mapped.prefix_len().checked_sub(96);
    match (mapped.addr().to_ipv4_mapped(), length) {
        (Some(address), Some(length)) => {
            ipnet::Ipv4Net::new(address, length).map_or(net, IpNet::V4)
        }
        _ => net,
    }
}

fn no_net(text: &str) -> Wrong {
    let message = format!("{} is neither an address nor a network", quoted(text));
    if let Some((kind, _)) = text.split_once(':')
        && let Some(close) = did_you_mean(kind, ["uid", "user", "gid", "group"])
    {
        return Wrong::new(message, close);
    }
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let host = text.split(['/', ':']).next().unwrap_or_default();
    let parts: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    if parts.iter().all(|part| numeric(part)) && parts.len() < 4 && !text.contains(['/', ':']) {
        // The way of tcprules and xinetd.
        let mut whole: Vec<&str> = parts.clone();
        whole.resize(4, "0");
        let net = format!("{}/{}", whole.join("."), parts.len() * 8);
        if net.parse::<IpNet>().is_ok() {
            return Wrong::new(message, format!("did you mean `{net}`?"));
        }
    }
    if let Some((address, _)) = text.split_once(':')
        && address.parse::<Ipv4Addr>().is_ok()
    {
        return Wrong::new(
            message,
            "a client is told by its address: leave the port out",
        );
    }
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
    if host.contains(|c: char| c.is_ascii_alphabetic()) && text.chars().all(name) {
        return Wrong::new(
            format!("{} is a name", quoted(text)),
            "names are not looked up, because whoever has an address says what its name is: write addresses and networks",
        );
    }
    Wrong::new(message, FORMS)
}
