//! The spawner's own life: one thread that waits for the host's requests and for the end of its
//! children. Whatever waits is done before anything is reported, so that under load one packet carries what has
//! become of many.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::birth::Cradles;
use super::child;
use super::children::end_all_children;
use super::jobs::Jobs;
use super::message::{Ended, MAX_PACKET, MAX_REPORTS, REPORTS, Report, Request};
use super::settle::settle;
use super::{Program, Setup};
use crate::packet::{self, Descriptors};

/// Reports that may wait for the host to read before no more requests are taken from it.
const BACKLOG: usize = 1024;

/// Requests that are taken before ended children are looked at again.
const REQUESTS: usize = 32;

struct Keeper<'a> {
    socket: OwnedFd,
    children: SignalFd,
    cradles: &'a mut Cradles,
    jobs: Jobs,
    reports: VecDeque<Report>,
    /// For one request, kept because it is large.
    packet: Vec<u8>,
}

/// The life of the spawner. It ends with its host, and takes along all that still runs.
pub(super) fn main(socket: OwnedFd) -> ! {
    // Whatever happens, this must not return into the host's main, of which it is a copy.
    // Not dropped before the last child has ended: some use it.
    let mut cradles = Cradles::default();
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let (socket, children) = settle(socket)?;
        Keeper {
            socket,
            children,
            cradles: &mut cradles,
            jobs: Jobs::default(),
            reports: VecDeque::new(),
            packet: vec![0; MAX_PACKET],
        }
        .serve()
    }));
    end_all_children();
    std::process::exit(i32::from(!matches!(lived, Ok(Ok(())))))
}

/// Whether a process may begin now at a listener on which none runs.
fn begins(listener: BorrowedFd<'_>) -> bool {
    child::waits(listener) && child::block(listener).is_ok()
}

impl Keeper<'_> {
    fn serve(mut self) -> Result<(), Errno> {
        loop {
            let (socket, children) = self.wait()?;
            if !children.is_empty() {
                // One signal stands for any number of children; it is told again while there is another.
                let _ = self.children.read_signal();
                let reports = &mut self.reports;
                self.jobs.reap(&mut |report| reports.push_back(report));
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

    /// Waits until there is something to do, at the socket or about children.
    fn wait(&self) -> Result<(PollFlags, PollFlags), Errno> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.reports.len() < BACKLOG);
        wanted.set(PollFlags::OUT, !self.reports.is_empty());
        let mut watched = [
            PollFd::new(&self.socket, wanted),
            PollFd::from_borrowed_fd(self.children.as_fd(), PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Ok(_) => Ok((watched[0].revents(), watched[1].revents())),
            Err(Errno::INTR) => Ok((PollFlags::empty(), PollFlags::empty())),
            Err(error) => Err(error),
        }
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
            Ok((Request::Spawn { ticket, after }, rest)) => {
                // Both ends are one binary: what cannot be read is a request that nobody waits for.
                let Ok((recipe, variables)) = postcard::take_from_bytes::<(Program, Setup)>(rest)
                else {
                    return;
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
                let born = self.cradles.start(recipe, variables, &descriptors, before);
                match born {
                    Ok((pid, fate)) => {
                        self.jobs.add(ticket, pid, fate);
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
