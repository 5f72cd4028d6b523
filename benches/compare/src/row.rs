//! The table as data: what is promised, of which server under which load, and beside which other.

use crate::load::Load::{self, Bulk, Conns, Idle, Rtt, Start};
#[allow(clippy::enum_glob_use, reason = "the table has nearly all of them")]
use crate::peer::Peer::{self, *};
use crate::run::Figure::{self, Answering, Cpu, Memory, P99, Rate};
use Goal::{AtLeast, AtMost, Open, Within};

/// What is promised of a figure, or of its ratio to another server's.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// No further from 1 than this.
    Within(f64),
    /// Nothing; it is good to know.
    Open,
}

#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What `--only` calls it.
    pub name: &'static str,
    pub subject: Peer,
    pub load: Load,
    pub figure: Figure,
    /// As a ratio to whose.
    pub beside: Option<Peer>,
    pub goal: Goal,
}

impl Goal {
    /// How far from it: 1 is just met, less is better. Nothing where nothing is promised.
    pub fn distance(self, measured: f64) -> Option<f64> {
        match self {
            AtMost(most) => Some(measured / most),
            AtLeast(least) => Some(least / measured),
            Within(margin) => Some(measured.max(1.0 / measured) / (1.0 + margin)),
            Open => None,
        }
    }

    pub fn met(self, measured: f64) -> Option<bool> {
        match self {
            AtMost(most) => Some(measured <= most),
            AtLeast(least) => Some(measured >= least),
            Within(margin) => Some((measured - 1.0).abs() <= margin),
            Open => None,
        }
    }
}

/// A server with a process for each connection is beside the guest in C, which does the same work.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row("cpu-c",         P1,           Conns(32),    Cpu,           TokioEcho,             AtMost(1.0)),
    row("cpu-rust",      RustStd,      Conns(32),    Cpu,           TokioEcho,             AtMost(1.3)),
    row("cpu-typed",     Typed,        Conns(32),    Cpu,           TokioEcho,             AtMost(1.4)),
    row("cpu-epoll",     EpollEcho,    Conns(32),    Cpu,           TokioEcho,             Open),
    row("rate-1",        P1,           Conns(1),     Rate,          TokioEcho,             Open),
    row("rate-32",       P1,           Conns(32),    Rate,          TokioEcho,             AtLeast(0.95)),
    row("rate-256",      P1,           Conns(256),   Rate,          TokioEcho,             AtLeast(0.95)),
    row("p99-32",        P1,           Conns(32),    P99,           TokioEcho,             AtMost(1.2)),
    row("p99-256",       P1,           Conns(256),   P99,           TokioEcho,             AtMost(1.2)),
    row("tcpserver",     P1,           Conns(32),    Rate,          Tcpserver,             AtLeast(3.5)),
    row("tcpsvd",        P1,           Conns(32),    Rate,          Tcpsvd,                Open),
    row("xinetd",        P1,           Conns(32),    Rate,          Xinetd,                AtLeast(6.0)),
    row("openbsd-inetd", P1,           Conns(32),    Rate,          OpenbsdInetd,          Open),
    row("systemd",       P1,           Conns(32),    Rate,          SystemdSocketActivate, AtLeast(6.0)),
    row("socat",         P1,           Conns(32),    Rate,          Socat,                 Open),
    row("nsjail",        P1,           Conns(32),    Rate,          Nsjail,                AtLeast(40.0)),
    row("wasmtime-run",  P1,           Conns(32),    Rate,          WasmtimeRun,           AtLeast(30.0)),
    row("rtt",           P1,           Rtt(64),      Rate,          TokioEcho,             AtLeast(0.95)),
    row("bulk-1-c",      P1,           Bulk(1),      Cpu,           TokioEcho,             AtMost(0.7)),
    row("bulk-16-c",     P1,           Bulk(16),     Cpu,           TokioEcho,             AtMost(0.7)),
    row("bulk-1-typed",  Typed,        Bulk(1),      Cpu,           TokioEcho,             AtMost(1.0)),
    row("bulk-16-typed", Typed,        Bulk(16),     Cpu,           TokioEcho,             AtMost(1.0)),
    row("bulk-1-epoll",  EpollEcho,    Bulk(1),      Cpu,           TokioEcho,             Open),
    row("bulk-16-epoll", EpollEcho,    Bulk(16),     Cpu,           TokioEcho,             Open),
    alone("idle-c",      Fixed,        Idle(10_000), Memory,                               AtMost(24.0)),
    alone("idle-typed",  FixedTyped,   Idle(10_000), Memory,                               AtMost(40.0)),
    alone("idle-c-usual", P1,          Idle(10_000), Memory,                               Open),
    alone("idle-typed-usual", Typed,   Idle(10_000), Memory,                               Open),
    alone("idle-process", Tcpserver,   Idle(500),    Memory,                               Open),
    alone("idle-full",   Fixed,        Idle(19_000), Answering,                            AtLeast(1.0)),
    row("native-cpu",    Native,       Conns(32),    Cpu,           Tcpserver,             AtMost(1.0)),
    row("native-rate",   Native,       Conns(32),    Rate,          Tcpserver,             AtLeast(1.1)),
    row("beside-cpu",    NativeBeside, Conns(32),    Cpu,           Native,                Within(0.1)),
    row("beside-rate",   NativeBeside, Conns(32),    Rate,          Native,                Within(0.1)),
    row("listener",      Listener,     Conns(32),    Rate,          Bridge,                AtLeast(1.2)),
    row("http-rate",     Http,         Conns(32),    Rate,          WasmtimeServe,         AtLeast(2.0)),
    row("http-cpu",      Http,         Conns(32),    Cpu,           WasmtimeServe,         AtMost(0.5)),
    row("thousand",      Thousand,     Conns(32),    Cpu,           P1,                    AtMost(1.1)),
    alone("start",       Hundred,      Start,        Figure::Start,                        AtMost(100.0)),
];

const fn alone(name: &'static str, subject: Peer, load: Load, figure: Figure, goal: Goal) -> Row {
    let beside = None;
    Row {
        name,
        subject,
        load,
        figure,
        beside,
        goal,
    }
}

const fn row(
    name: &'static str,
    subject: Peer,
    load: Load,
    figure: Figure,
    beside: Peer,
    goal: Goal,
) -> Row {
    let beside = Some(beside);
    Row {
        name,
        subject,
        load,
        figure,
        beside,
        goal,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_rows_have_one_name() {
        let names: BTreeSet<_> = TABLE.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn a_goal_is_met_up_to_its_bound() {
        let met = |goal: Goal| [0.5, 0.75, 1.0, 1.25, 1.5].map(|figure| goal.met(figure).unwrap());
        assert_eq!(met(AtMost(1.0)), [true, true, true, false, false]);
        assert_eq!(met(AtLeast(1.0)), [false, false, true, true, true]);
        assert_eq!(met(Within(0.25)), [false, true, true, true, false]);
        assert_eq!(
            (Open.met(1.0), AtMost(1.0).met(f64::NAN)),
            (None, Some(false))
        );
    }

    #[test]
    fn the_further_from_a_goal_the_greater_the_distance() {
        assert_eq!(AtMost(2.0).distance(3.0), Some(1.5));
        assert_eq!(AtLeast(3.0).distance(1.5), Some(2.0));
        assert_eq!(Within(0.25).distance(0.4), Some(2.0));
        assert_eq!(Open.distance(1.0), None);
    }
}
