//! Where to listen: the five forms of an address in a trigger file, read without asking the system
//! anything, and written the same way in ready lines, the log and `check`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// `sun_path` holds 108 bytes: a path needs one for its NUL, an abstract name one before it.
const UNIX_NAME_MAX: usize = 107;

/// systemd's limit for the names of the descriptors that it passes, in bytes.
const INHERITED_NAME_MAX: usize = 255;

const FORMS: &str =
    "an address is `ADDR:PORT`, `[ADDR6]:PORT`, `PORT`, `unix:/path`, `unix:@name` or `fd:NAME`";

/// Where a trigger listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `127.0.0.1:80`, or `80` for all of IPv4. Port 0 is any free port.
    Inet(SocketAddrV4),
    /// `[::1]:80`; the scope of a link-local address is a number, `[fe80::1%2]:80`.
    Inet6(SocketAddrV6),
    /// `unix:/run/x.sock`: absolute, at most 107 bytes.
    Unix(PathBuf),
    /// `unix:@name`: the name without the `@`, at most 107 bytes, of exactly its own length.
    Abstract(String),
    /// `fd:NAME`: a listener that systemd's protocol hands over under this name.
    Inherited(String),
}

/// Why a text is not an [`Address`], and what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AddressError {
    /// What is wrong, naming the part that is.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl Address {
    /// The family by the name that handlers find in `PROTO`; an inherited listener has the family of
    /// the socket that comes, which nobody knows yet.
    #[must_use]
    pub fn family(&self) -> &'static str {
        match self {
            Self::Inet(_) => "inet",
            Self::Inet6(_) => "inet6",
            Self::Unix(_) | Self::Abstract(_) => "unix",
            Self::Inherited(_) => "inherited",
        }
    }

    /// Whether it is the same socket wherever it is named, and not a free port of the system's choice.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Inet(address) => address.port() != 0,
            Self::Inet6(address) => address.port() != 0,
            Self::Unix(_) | Self::Abstract(_) | Self::Inherited(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Inet6(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
            Self::Inherited(name) => write!(f, "fd:{name}"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(wrong("an empty address", FORMS));
        }
        // Addresses stand in ready lines and in the log, one line each.
        if text.chars().any(char::is_control) {
            return Err(wrong("a control character in an address", FORMS));
        }
        if let Some(name) = text.strip_prefix("unix:@") {
            unix_name(name).map(Self::Abstract)
        } else if let Some(path) = text.strip_prefix("unix:") {
            unix_path(path).map(Self::Unix)
        } else if let Some(name) = text.strip_prefix("fd:") {
            inherited_name(name).map(Self::Inherited)
        } else if text.starts_with('/') || text.starts_with('@') {
            Err(wrong(
                format!("`{text}` has no `unix:` in front"),
                format!("did you mean `unix:{text}`?"),
            ))
        } else if text.starts_with('[') {
            inet6(text).map(Self::Inet6)
        } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self::Inet(SocketAddrV4::new(
                Ipv4Addr::UNSPECIFIED,
                port(text)?,
            )))
        } else {
            inet(text).map(Self::Inet)
        }
    }
}

fn inet(text: &str) -> Result<SocketAddrV4, AddressError> {
    if text.contains("://") {
        return Err(wrong(format!("`{text}` is a URL"), FORMS));
    }
    let Some((host, port_text)) = text.rsplit_once(':') else {
        return Err(match text.parse::<Ipv4Addr>() {
            Ok(_) => wrong(
                format!("no port in `{text}`"),
                format!("write the port behind it, such as `{text}:80`"),
            ),
            Err(_) => wrong(format!("`{text}` is no address"), FORMS),
        });
    };
    if host.contains(':') {
        return Err(wrong(
            format!("an IPv6 address without brackets in `{text}`"),
            "write it in brackets, such as `[::1]:80`",
        ));
    }
    let port = port(port_text)?;
    host.parse().map(|ip| SocketAddrV4::new(ip, port)).map_err(|_| match host {
        "" | "*" => wrong(
            format!("no address in `{text}`"),
            format!("write `{port}` for all of IPv4, `[::]:{port}` for all of IPv6"),
        ),
        _ if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => wrong(
            format!("`{host}` is not an IPv4 address"),
            "four numbers from 0 to 255 without leading zeros are wanted, such as `127.0.0.1:80`",
        ),
        _ => wrong(
            format!("`{host}` is a name, not an address"),
            format!("names are not looked up: write the address, such as `127.0.0.1:{port}`"),
        ),
    })
}

fn inet6(text: &str) -> Result<SocketAddrV6, AddressError> {
    let example = "an IPv6 address is written `[::1]:80`";
    let Some((host, rest)) = text[1..].split_once(']') else {
        return Err(wrong(format!("no `]` in `{text}`"), example));
    };
    let Some(port_text) = rest.strip_prefix(':') else {
        return Err(wrong(
            format!("no port in `{text}`"),
            format!("write the port behind it, such as `[{host}]:80`"),
        ));
    };
    let port = port(port_text)?;
    if let Some((ip, scope)) = host.split_once('%')
        && !scope.is_empty()
        && !scope.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(wrong(
            format!("the scope `{scope}` is a name"),
            format!(
                "write the number of the interface, such as `[{ip}%2]:{port}`; `ip link` shows it"
            ),
        ));
    }
    let address: SocketAddrV6 = text
        .parse()
        .map_err(|_| wrong(format!("`{host}` is not an IPv6 address"), example))?;
    // Every IPv6 socket here is V6ONLY: such an address could never be bound.
    if let Some(ip) = address.ip().to_ipv4_mapped() {
        return Err(wrong(
            format!("`{host}` is an IPv4 address in IPv6's clothes"),
            format!("IPv6 sockets take IPv6 only: write `{ip}:{port}`"),
        ));
    }
    Ok(address)
}

fn port(text: &str) -> Result<u16, AddressError> {
    if text.is_empty() {
        return Err(wrong(
            "no port behind the `:`",
            "a port is a number from 0 to 65535; 0 is any free one",
        ));
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong(
            format!("`{text}` is not a port number"),
            "a port is a number from 0 to 65535; 0 is any free one",
        ));
    }
    text.parse().map_err(|_| {
        wrong(
            format!("port {text} is over 65535"),
            "a port is a number from 0 to 65535; 0 is any free one",
        )
    })
}

fn unix_path(text: &str) -> Result<PathBuf, AddressError> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(wrong(
            format!("`unix:{text}` is not an absolute path"),
            "write the path of the socket from the root, such as `unix:/run/x.sock`, or a name, `unix:@x`",
        ));
    }
    if text.ends_with('/') || !matches!(path.components().next_back(), Some(Component::Normal(_))) {
        return Err(wrong(
            format!("`unix:{text}` is a folder, not a socket"),
            "write the path of the socket itself, such as `unix:/run/x.sock`",
        ));
    }
    // Spelled one way, `/run//x` and `/run/./x` are seen to be the same socket.
    let path: PathBuf = path.components().collect();
    let length = path.as_os_str().len();
    if length > UNIX_NAME_MAX {
        return Err(wrong(
            format!("a unix path of {length} bytes"),
            format!("the kernel takes at most {UNIX_NAME_MAX}"),
        ));
    }
    Ok(path)
}

fn unix_name(name: &str) -> Result<String, AddressError> {
    if name.is_empty() {
        return Err(wrong(
            "an empty abstract name",
            "write one behind the `@`, such as `unix:@x`",
        ));
    }
    if name.len() > UNIX_NAME_MAX {
        return Err(wrong(
            format!("an abstract name of {} bytes", name.len()),
            format!("the kernel takes at most {UNIX_NAME_MAX}"),
        ));
    }
    Ok(name.to_owned())
}

fn inherited_name(name: &str) -> Result<String, AddressError> {
    let example =
        "write what `FileDescriptorName=` says in systemd's socket unit, such as `fd:web`";
    if name.is_empty() {
        return Err(wrong("an empty descriptor name", example));
    }
    if name.contains(':') {
        return Err(wrong(
            format!("a `:` in the descriptor name `{name}`"),
            example,
        ));
    }
    if name.len() > INHERITED_NAME_MAX {
        return Err(wrong(
            format!("a descriptor name of {} bytes", name.len()),
            format!("systemd gives at most {INHERITED_NAME_MAX}"),
        ));
    }
    Ok(name.to_owned())
}

fn wrong(message: impl Into<String>, help: impl Into<String>) -> AddressError {
    AddressError {
        message: message.into(),
        help: help.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in [
            "127.0.0.1:41877",
            "0.0.0.0:0",
            "[::1]:80",
            "[fe80::1%2]:80",
            "unix:/run/x.sock",
            "unix:@name",
            "fd:web",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_port_alone_is_all_of_ipv4() {
        assert_eq!("80".parse::<Address>().unwrap().to_string(), "0.0.0.0:80");
    }

    #[test]
    fn one_unix_path_has_one_spelling() {
        assert_eq!(
            "unix:/run/./a//b".parse::<Address>(),
            "unix:/run/a/b".parse::<Address>()
        );
    }

    #[test]
    fn lengths_are_what_the_kernel_takes() {
        let ok = format!("unix:/{}", "a".repeat(106));
        let long = format!("unix:/{}", "a".repeat(107));
        assert!(ok.parse::<Address>().is_ok());
        assert!(long.parse::<Address>().is_err());
        assert!(
            format!("unix:@{}", "a".repeat(107))
                .parse::<Address>()
                .is_ok()
        );
        assert!(
            format!("unix:@{}", "a".repeat(108))
                .parse::<Address>()
                .is_err()
        );
    }
}
