//! Everything that is compared: the host with its guests and jobs, the references, and the peers.

use crate::client::Dialogue;

/// A server. Those that are compared stand side by side: in this order they are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// The reference, plain tokio, and the limit, plain epoll on one thread.
    TokioEcho,
    EpollEcho,
    /// The host with one guest: in C, with 1,000 triggers for that one, in Rust with its standard
    /// library, a component of the typed world.
    P1,
    Thousand,
    RustStd,
    Typed,
    /// The host with 100 triggers, each of which has a guest of its own.
    Hundred,
    /// The host with a plan for many, whose guest is given what it begins with and no more: in C, for
    /// 19,000 connections, and a component.
    Fixed,
    FixedTyped,
    /// The host with a native job that it accepts for, alone and with 10,000 guests at work beside it.
    NativeBeside,
    Native,
    /// A process for each connection.
    Tcpserver,
    Tcpsvd,
    Xinetd,
    OpenbsdInetd,
    SystemdSocketActivate,
    Socat,
    Nsjail,
    WasmtimeRun,
    /// The host with a job that accepts for itself, and what a bridge does with the same.
    Listener,
    Bridge,
    /// The host with an HTTP component, and wasmtime's own server with the same.
    Http,
    WasmtimeServe,
}

impl Peer {
    /// As it is called in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::TokioEcho => "tokio-echo",
            Self::EpollEcho => "epoll-echo",
            Self::P1 => "p1 guest in C",
            Self::Thousand => "p1 guest in C, 1,000 triggers",
            Self::RustStd => "p1 guest in Rust",
            Self::Typed => "typed component",
            Self::Hundred => "100 triggers",
            Self::Fixed => "p1 guest in C, of fixed memory",
            Self::FixedTyped => "typed component, of fixed memory",
            Self::NativeBeside => "native job, 10,000 guests beside",
            Self::Native => "native job",
            Self::Tcpserver => "tcpserver",
            Self::Tcpsvd => "tcpsvd",
            Self::Xinetd => "xinetd",
            Self::OpenbsdInetd => "openbsd-inetd",
            Self::SystemdSocketActivate => "systemd-socket-activate",
            Self::Socat => "socat",
            Self::Nsjail => "nsjail",
            Self::WasmtimeRun => "wasmtime run",
            Self::Listener => "listener-style job",
            Self::Bridge => "stand-in bridge",
            Self::Http => "HTTP component",
            Self::WasmtimeServe => "wasmtime serve",
        }
    }

    pub fn dialogue(self) -> Dialogue {
        match self {
            Self::Listener | Self::Bridge => Dialogue::Message,
            Self::Http | Self::WasmtimeServe => Dialogue::Http,
            _ => Dialogue::Echo,
        }
    }
}
