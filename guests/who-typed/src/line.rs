//! The line, for both clothes; bytes of a name that are not printable ASCII are escaped.

use portcullis_guest::{Credentials, Local, Peer, UnixName};

pub fn line(peer: &Peer, local: &Local, trigger: &str) -> String {
    let peer = match peer {
        Peer::Inet(address) => format!("inet {address}"),
        Peer::Unix(Credentials { uid, gid, pid }) => match pid {
            Some(pid) => format!("unix uid={uid} gid={gid} pid={pid}"),
            None => format!("unix uid={uid} gid={gid}"),
        },
    };
    let local = match local {
        Local::Inet(address) => format!("inet {address}"),
        Local::Unix(UnixName::Path(path)) => format!("unix {}", path.escape_ascii()),
        Local::Unix(UnixName::Abstract(name)) => format!("unix @{}", name.escape_ascii()),
        Local::Unix(UnixName::Unnamed) => "unix".to_owned(),
    };
    format!("peer={peer} local={local} trigger={trigger}\n")
}
