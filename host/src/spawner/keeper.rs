//! The spawner's own life: one thread that waits for the host's requests and for the end of its
//! children. Whatever waits is done before anything is reported, so that under load one packet carries what has
//! become of many.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use smallvec::{SmallVec, smallvec};

use super::Ids;
use super::birth::{Cradles, Job};
use super::child;
use super::children::end_all_children;
use super::jobs::Jobs;
use super::message::{
    Ended, MAX_PACKET, MAX_REPORTS, Order, REPORTS, Report, Request, Stage, VARIABLES, Verdict,
};
use super::network::Network;
use super::sandbox::Sandbox;
use super::settle::settle;
use crate::packet::{self, Descriptors};

/// Reports that may wait for the host to read before no more requests are taken from it.
const BACKLOG: usize = 1024;

/// What is told of a job that nobody has registered.
const NO_JOB: (Stage, i32) = (Stage::Job, nix::libc::ENOENT);

/// Requests that are taken before ended children are looked at again.
const REQUESTS: usize = 32;

struct Keeper<'a> {
    socket: OwnedFd,
    /// Where jobs are registered. It stays when that is over, so that nothing received has its number.
    orders: OwnedFd,
    sealed: bool,
    children: SignalFd,
    cradles: &'a mut Cradles,
    registered: HashMap<u64, Rc<Job>>,
    /// That of all strict jobs.
    network: Option<Rc<Network>>,
    jobs: Jobs,
    reports: VecDeque<Report>,
    /// For one request, kept because it is large.
    packet: Vec<u8>,
}

/// The life of the spawner. It ends with its host, and takes along all that still runs.
pub(super) fn main(socket: OwnedFd, orders: OwnedFd) -> ! {
    // Whatever happens, this must not return into the host's main, of which it is a copy.
    // Not dropped before the last child has ended: some use it.
    let mut cradles = Cradles::default();
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let ([socket, orders], children) = settle([socket, orders])?;
        Keeper {
            socket,
            orders,
            sealed: false,
            children,
            cradles: &mut cradles,
            registered: HashMap::new(),
            network: None,
            jobs: Jobs::default(),
            reports: VecDeque::new(),
            packet: vec![0; MAX_PACKET],
        }
        .live()
    }));
    end_all_children();
    std::process::exit(i32::from(!matches!(lived, Ok(Ok(())))))
}

/// Whether a process may begin now at a listener on which none runs.
fn begins(listener: BorrowedFd<'_>) -> bool {
    child::waits(listener) && child::block(listener).is_ok()
}

/// What a job is confined to. The network of all of them is made with the first.
fn sandbox(
    network: &mut Option<Rc<Network>>,
    strict: bool,
    rules: Option<OwnedFd>,
) -> Result<Option<Sandbox>, (Stage, i32)> {
    if !strict {
        return Ok(None);
    }
    let told = |(stage, error): (Stage, Errno)| (stage, error.raw_os_error());
    let rules = rules.ok_or((Stage::Landlock, nix::libc::EBADF))?;
    let network = if let Some(network) = network {
        Rc::clone(network)
    } else {
        let made = Network::new().map_err(|error| told((Stage::Namespace, error)))?;
        Rc::clone(network.insert(Rc::new(made)))
    };
    Sandbox::new(network, rules).map(Some).map_err(told)
}

/// Whether these are variables by which a process is told of its connection, and no others.
fn are_facts(variables: &[u8]) -> bool {
    let mut each = variables.split_inclusive(|byte| *byte == 0);
    each.all(|entry| {
        let name = entry.split(|byte| *byte == b'=').next();
        entry.ends_with(&[0]) && name.is_some_and(|name| VARIABLES.contains(&name))
    })
}

impl Keeper<'_> {
    /// Until the host is gone.
    fn live(mut self) -> Result<(), Errno> {
        loop {
            let [socket, children, orders] = self.wait()?;
            if !children.is_empty() {
                // One signal stands for any number of children; it is told again while there is another.
                let _ = self.children.read_signal();
                let reports = &mut self.reports;
                self.jobs.reap(&mut |report| reports.push_back(report));
            }
            // Before the requests, which may be for what is registered here.
            if !orders.is_empty() {
                self.sealed = !self.take_order();
            }
            if socket.contains(PollFlags::IN) {
                if !self.receive()? {
                    return Ok(());
                }
            } else if socket.intersects(PollFlags::HUP | PollFlags::ERR) {
                return Ok(());
            }
            self.report()?;
        }
    }

    /// Waits until there is something to do: at the socket, about children, or at the registry.
    fn wait(&self) -> Result<[PollFlags; 3], Errno> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.reports.len() < BACKLOG);
        wanted.set(PollFlags::OUT, !self.reports.is_empty());
        let children = PollFd::from_borrowed_fd(self.children.as_fd(), PollFlags::IN);
        let mut watched: SmallVec<[_; 3]> = smallvec![PollFd::new(&self.socket, wanted), children];
        if !self.sealed {
            watched.push(PollFd::new(&self.orders, PollFlags::IN));
        }
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {
                let told = |at: usize| watched.get(at).map_or(PollFlags::empty(), PollFd::revents);
                Ok([told(0), told(1), told(2)])
            }
            Err(error) => Err(error),
        }
    }

    /// Carries out what the registry says. `false`: nothing will be registered any more.
    fn take_order(&mut self) -> bool {
        let (length, rules) = match packet::receive(self.orders.as_fd(), &mut self.packet) {
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Ok((0, _)) | Err(_) => return false,
            Ok((length, descriptors)) => (length, descriptors.into_iter().next()),
        };
        let order = postcard::take_from_bytes(&self.packet[..length]);
        let verdict: Verdict = match order {
            Ok((Order::Register { job, strict }, recipe)) => match postcard::from_bytes(recipe) {
                Ok((program, setup)) => sandbox(&mut self.network, strict, rules).map(|sandbox| {
                    let recipe = Job::new(program, setup, sandbox);
                    self.registered.insert(job, Rc::new(recipe));
                }),
                Err(_) => Err(NO_JOB),
            },
            Ok((Order::Seal, who)) => match postcard::from_bytes(who) {
                Ok(ids) => self.seal(ids),
                Err(_) => Err(NO_JOB),
            },
            Err(_) => Err(NO_JOB),
        };
        // The host waits for this, so there is room.
        let told = postcard::to_allocvec(&verdict).map_err(|_| Errno::INVAL);
        told.and_then(|told| packet::send(self.orders.as_fd(), &[IoSlice::new(&told)], &[]))
            .is_ok()
    }

    /// All is registered.
    fn seal(&mut self, ids: Option<Ids>) -> Verdict {
        let Some(ids) = ids else {
            return Ok(());
        };
        if !self.registered.values().all(|job| job.is_within(&ids)) {
            return Ok(());
        }
        ids.assume()
            .map_err(|error| (Stage::Seal, error.raw_os_error()))?;
        for job in self.registered.values_mut() {
            *job = Rc::new(job.without_ids());
        }
        Ok(())
    }

    /// The requests that wait. `false`: the host is gone.
    fn receive(&mut self) -> Result<bool, Errno> {
        for _ in 0..REQUESTS {
            match packet::receive(self.socket.as_fd(), &mut self.packet) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(false),
                Ok((length, descriptors)) => self.obey(length, descriptors),
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn obey(&mut self, length: usize, descriptors: Descriptors) {
        let reports = &mut self.reports;
        match postcard::take_from_bytes(&self.packet[..length]) {
            Ok((Request::Spawn { ticket, job, after }, variables)) => {
                let job = self.registered.get(&job);
                let Some(job) = job.filter(|_| are_facts(variables)) else {
                    let (stage, errno) = NO_JOB;
                    return reports.push_back(Report::Failed {
                        ticket,
                        stage,
                        errno,
                    });
                };
                let before = after.and_then(|after| self.jobs.watch(after));
                let late = after.filter(|_| before.is_none());
                let listener = descriptors.last().map(AsFd::as_fd);
                if let Some(after) = late
                    && !(self.jobs.ended_well(after) && listener.is_some_and(begins))
                {
                    let ended = Ended::Spared;
                    return reports.push_back(Report::Ended { ticket, ended });
                }
                let before = before.as_ref();
                let before = before.map(|(process, fate)| (process.as_fd(), fate));
                let born = self.cradles.start(job, variables, &descriptors, before);
                match born {
                    Ok((pid, fate)) => {
                        self.jobs.add(ticket, pid, fate, job.is_strict());
                        match (after, before) {
                            (Some(after), Some(_)) => {
                                self.jobs
                                    .link(after, pid, descriptors.into_iter().next_back());
                            }
                            _ => reports.push_back(Report::Started { ticket, pid }),
                        }
                    }
                    Err((stage, errno)) => reports.push_back(Report::Failed {
                        ticket,
                        stage,
                        errno,
                    }),
                }
            }
            Ok((Request::Signal { ticket, signal }, _)) => {
                let report = &mut |report| reports.push_back(report);
                self.jobs.signal(ticket, signal, report);
            }
            Ok((Request::Spare { ticket }, _)) => {
                let report = &mut |report| reports.push_back(report);
                self.jobs.spare(ticket, report);
            }
            Ok((Request::Forget { job }, _)) => drop(self.registered.remove(&job)),
            // Both ends are one binary: what cannot be read is a request that nobody waits for.
            Err(_) => {}
        }
    }

    /// As many reports as the host has room for.
    fn report(&mut self) -> Result<(), Errno> {
        while !self.reports.is_empty() {
            let mut packet = Vec::with_capacity(MAX_REPORTS);
            let count = self.reports.len().min(REPORTS);
            for report in self.reports.range(..count) {
                packet = postcard::to_extend(report, packet).map_err(|_| Errno::INVAL)?;
            }
            match packet::send(self.socket.as_fd(), &[IoSlice::new(&packet)], &[]) {
                Ok(()) => drop(self.reports.drain(..count)),
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
