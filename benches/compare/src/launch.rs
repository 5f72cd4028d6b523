//! How each server is started. Limits of peers are raised so far that they do not bind.

use std::env;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context;
use nix::unistd::{User, getuid};

use crate::peer::Peer;
use crate::places::Places;
use crate::triggers;

const NO_WASMTIME: &str = "wasmtime is not installed; `run --wasmtime` compiles it";

/// How to start a server.
#[derive(Debug)]
pub struct Launch {
    /// What to execute, the program first.
    pub command: Vec<String>,
    /// How to know that it listens.
    pub ready: Ready,
}

/// How a server tells that it listens.
#[derive(Debug)]
pub enum Ready {
    /// By so many lines on stdout, `listening NAME ADDRESS`.
    Says(usize),
    /// By accepting connections to this address.
    Accepts(SocketAddr),
}

impl Launch {
    /// Of a server, or why it cannot be had.
    pub fn of(peer: Peer, places: &Places) -> anyhow::Result<Self> {
        if let Some((file, sockets)) = triggers::write(peer, places)? {
            let command = vec![places.host.display().to_string(), "run".to_owned(), file];
            return Ok(Self {
                command,
                ready: Ready::Says(sockets),
            });
        }
        // Free now, and the next to ask for any port gets another.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let (ready, line) = match peer {
            Peer::TokioEcho => (Ready::Says(1), "{self} tokio-echo"),
            Peer::EpollEcho => (Ready::Says(1), "{self} epoll-echo"),
            Peer::Bridge => (Ready::Says(1), "{self} bridge {message}"),
            _ => (Ready::Accepts(address), installed(peer)),
        };
        let blanks = Blanks { places, address };
        let words = line.split(' ').map(|word| blanks.fill(word));
        let command = words.collect::<Result<_, _>>()?;
        Ok(Self { command, ready })
    }
}

#[rustfmt::skip]
fn installed(peer: Peer) -> &'static str {
    match peer {
        Peer::Tcpserver => "tcpserver -q -H -R -l 0 -c 10000 -b 1024 127.0.0.1 {port} {echo}",
        Peer::Tcpsvd => "tcpsvd -c 10000 -b 1024 -l localhost 127.0.0.1 {port} {echo}",
        Peer::Xinetd => "xinetd -dontfork -f {xinetd.conf} -pidfile {work}/xinetd.pid",
        Peer::OpenbsdInetd => "inetd -i -q 1024 -R 10000000 {inetd.conf}",
        Peer::SystemdSocketActivate => "systemd-socket-activate -l {address} --accept --inetd {echo}",
        Peer::Socat => "socat TCP4-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=1024 EXEC:{echo},nofork",
        Peer::Nsjail => "nsjail -Ml --bindhost 127.0.0.1 --port {port} --time_limit 0 \
            --really_quiet --chroot / -- {echo}",
        Peer::WasmtimeRun => "tcpserver -q -H -R -l 0 -c 10000 -b 1024 127.0.0.1 {port} \
            wasmtime run --allow-precompiled {echo.cwasm}",
        // What the standard library of a guest imports is in `cli`.
        Peer::WasmtimeServe => "wasmtime serve --allow-precompiled -S cli -O pooling-allocator --addr {address} {http.cwasm}",
        other => unreachable!("{other:?} is started otherwise"),
    }
}

/// What stands for the names in braces.
struct Blanks<'a> {
    places: &'a Places,
    address: SocketAddr,
}

impl Blanks<'_> {
    fn fill(&self, text: &str) -> anyhow::Result<String> {
        let places = self.places;
        let values: [(&str, &dyn Fn() -> anyhow::Result<String>); 11] = [
            ("{self}", &|| Ok(env::current_exe()?.display().to_string())),
            ("{work}", &|| Ok(places.work.display().to_string())),
            ("{address}", &|| Ok(self.address.to_string())),
            ("{port}", &|| Ok(self.address.port().to_string())),
            ("{echo}", &|| places.job("echo")),
            ("{message}", &|| places.job("message")),
            ("{user}", &user),
            ("{inetd.conf}", &|| {
                self.file("inetd.conf", include_str!("../peers/inetd.conf"))
            }),
            ("{xinetd.conf}", &|| {
                self.file("xinetd.conf", include_str!("../peers/xinetd.conf"))
            }),
            ("{echo.cwasm}", &|| {
                places.job("echo.cwasm").context(NO_WASMTIME)
            }),
            ("{http.cwasm}", &|| {
                places.job("http.cwasm").context(NO_WASMTIME)
            }),
        ];
        let mut text = text.to_owned();
        for (name, value) in values {
            if text.contains(name) {
                text = text.replace(name, &value()?);
            }
        }
        Ok(text)
    }

    fn file(&self, name: &str, content: &str) -> anyhow::Result<String> {
        self.places.write(name, self.fill(content)?)
    }
}

fn user() -> anyhow::Result<String> {
    Ok(User::from_uid(getuid())?
        .context("this user has no name")?
        .name)
}
