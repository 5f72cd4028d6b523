//! The jobs that run, and how they end. The spawner is the parent of every job, and by
//! `PR_SET_CHILD_SUBREAPER` of what jobs leave behind, so all are reaped here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, WaitOptions, WaitStatus, wait, waitpid};

use super::child;
use super::children::{children, ended};
use super::fate::{Fate, Turn};
use super::message::{Ended, Report};

/// How many jobs that have ended are remembered.
const RECENT: usize = 64;

/// A job that was started and whose leader has not been reaped.
struct Job {
    ticket: u64,
    fate: Fate,
    ending: Option<Ending>,
    /// Whether all of its group go with it.
    strict: bool,
    /// The listener of one that waits for its turn.
    listener: Option<OwnedFd>,
    /// The leader of the one that comes after it.
    next: Option<i32>,
}

/// What the host has asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// A signal that may be handled: all of the group have until the host asks for KILL.
    Gently,
    /// KILL.
    AtOnce,
}

/// All jobs.
#[derive(Default)]
pub(super) struct Jobs {
    /// By the id of the leader, which is also the group's.
    leaders: HashMap<i32, Job>,
    tickets: HashMap<u64, i32>,
    /// How many of them are being ended.
    ending: usize,
    /// How many of them are strict.
    strict: usize,
    /// Leaders that have ended before the rest of their group, in its grace: zombies, and as long as
    /// they are, the group's id means this group.
    kept: HashSet<i32>,
    /// Jobs that have ended well just now: the request for one that comes after may be on its way.
    recent: VecDeque<u64>,
}

impl Jobs {
    /// One more.
    pub fn add(&mut self, ticket: u64, pid: i32, fate: Fate, strict: bool) {
        let job = Job {
            ticket,
            fate,
            ending: None,
            strict,
            listener: None,
            next: None,
        };
        self.strict += usize::from(strict);
        self.leaders.insert(pid, job);
        self.tickets.insert(ticket, pid);
    }

    /// What tells of the end of a job that another may come after, and its fate: one that runs, and that nobody ends.
    pub fn watch(&self, ticket: u64) -> Option<(OwnedFd, Fate)> {
        let pid = self.tickets.get(&ticket)?;
        let job = self.leaders.get(pid)?;
        let open = job.ending.is_none() && job.next.is_none();
        let pid = rustix::process::Pid::from_raw(*pid).filter(|_| open)?;
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty());
        Some((process.ok()?, job.fate.clone()))
    }

    /// Whether a job ended well just now, so that a job that comes after it can begin.
    pub fn ended_well(&self, ticket: u64) -> bool {
        self.recent.contains(&ticket)
    }

    /// Has the job `pid` come after `ticket`, if a connection waits at `listener` then.
    pub fn link(&mut self, ticket: u64, pid: i32, listener: Option<OwnedFd>) {
        if let Some(job) = self.leaders.get_mut(&pid) {
            job.listener = listener;
        }
        let before = self.tickets.get(&ticket);
        if let Some(job) = before.and_then(|before| self.leaders.get_mut(before)) {
            job.next = Some(pid);
        }
    }

    /// Spares the job of a ticket, if its turn has not come.
    pub fn spare(&mut self, ticket: u64, report: &mut impl FnMut(Report)) {
        if let Some(&pid) = self.tickets.get(&ticket) {
            self.decide(pid, false, report);
        }
    }

    /// The job before `pid` has ended, `well` or not.
    fn decide(&mut self, pid: i32, well: bool, report: &mut impl FnMut(Report)) {
        let Some(job) = self.leaders.get_mut(&pid) else {
            return;
        };
        let Some(listener) = job.listener.take() else {
            return;
        };
        match job.fate.decide(well && child::waits(listener.as_fd())) {
            Turn::Come => report(Report::Started {
                ticket: job.ticket,
                pid,
            }),
            // It may still wait for the other's end.
            Turn::Awaited | Turn::Spared => drop(kill(Pid::from_raw(pid), Signal::SIGKILL)),
        }
    }

    /// Sends a signal to the group of a job, and ends it.
    pub fn signal(&mut self, ticket: u64, signal: i32, report: &mut impl FnMut(Report)) {
        let Some(&pid) = self.tickets.get(&ticket) else {
            return;
        };
        let ending = match signal {
            libc::SIGKILL => Ending::AtOnce,
            _ => Ending::Gently,
        };
        if let Some(job) = self.leaders.get_mut(&pid) {
            self.ending += usize::from(job.ending.replace(ending).is_none());
            if let Some(next) = job.next.take() {
                self.decide(next, false, report);
            }
        }
        if let Ok(signal) = Signal::try_from(signal) {
            let leader = Pid::from_raw(pid);
            // One that was born just now leads no group yet, and is alone.
            if killpg(leader, signal).is_err() {
                let _ = kill(leader, signal);
            }
        }
        if ending == Ending::AtOnce && self.kept.remove(&pid) {
            self.take(pid, report);
        }
    }

    /// Every child that has ended.
    pub fn reap(&mut self, report: &mut impl FnMut(Report)) {
        // When no group goes with its leader, no zombie has to stay one.
        while self.ending == 0 && self.strict == 0 {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    self.over(pid.as_raw_nonzero().get(), Some(status), report);
                }
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return,
            }
        }
        while self.kept.is_empty() {
            let Some(pid) = ended(libc::P_ALL, 0) else {
                return;
            };
            self.note(pid, report);
        }
        // The system would name the same kept zombie again and again, so with one each child is asked.
        loop {
            let mut alive = HashSet::new();
            let mut more = false;
            for pid in children() {
                if self.kept.contains(&pid) {
                    continue;
                }
                if ended(libc::P_PID, pid).is_some() {
                    self.note(pid, report);
                    more = true;
                } else if let Ok(group) = getpgid(Some(Pid::from_raw(pid))) {
                    alive.insert(group.as_raw());
                }
            }
            // Children of one that has just ended are inherited, and were not in the list. When none
            // has, each member of a group is in it or descends from one that is.
            if !more {
                for pid in self
                    .kept
                    .extract_if(|pid| !alive.contains(pid))
                    .collect::<Vec<_>>()
                {
                    self.take(pid, report);
                }
                return;
            }
        }
    }

    /// A child has ended and is a zombie. The leader of a group in its grace is kept.
    fn note(&mut self, pid: i32, report: &mut impl FnMut(Report)) {
        let ending = self.leaders.get(&pid).and_then(|job| job.ending);
        if ending == Some(Ending::Gently) {
            self.kept.insert(pid);
        } else {
            self.take(pid, report);
        }
    }

    /// Reaps a zombie. A job that was being ended, or is strict, takes along what is left of its group.
    fn take(&mut self, pid: i32, report: &mut impl FnMut(Report)) {
        if let Some(job) = self.leaders.get(&pid) {
            self.ending -= usize::from(job.ending.is_some());
            if job.ending.is_some() || job.strict {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        // Not by nix, which has no name for a real-time signal and makes an error of it.
        let status = waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::NOHANG);
        self.over(pid, status.ok().flatten().map(|(_, status)| status), report);
    }

    /// A child is reaped; when it led a job, that is reported.
    fn over(&mut self, pid: i32, status: Option<WaitStatus>, report: &mut impl FnMut(Report)) {
        let Some(job) = self.leaders.remove(&pid) else {
            return;
        };
        let Job { ticket, next, .. } = job;
        self.tickets.remove(&ticket);
        self.strict -= usize::from(job.strict);
        let turn = job.fate.turn();
        if job.listener.is_some() && turn == Turn::Come {
            // Both have ended, and of the one before it is yet to be heard.
            report(Report::Started { ticket, pid });
        }
        let status = match status.and_then(WaitStatus::exit_status) {
            Some(status) => Ended::Exited(status),
            // 0: taken from under us, which nobody does.
            None => Ended::Signalled(status.and_then(WaitStatus::terminating_signal).unwrap_or(0)),
        };
        report(match (job.fate.failure(), turn) {
            (Some((stage, errno)), _) => Report::Failed {
                ticket,
                stage,
                errno,
            },
            (None, Turn::Come) => Report::Ended {
                ticket,
                ended: status,
            },
            (None, Turn::Awaited | Turn::Spared) => Report::Ended {
                ticket,
                ended: Ended::Spared,
            },
        });
        let well = turn == Turn::Come && status == Ended::Exited(0);
        match next {
            Some(next) => self.decide(next, well, report),
            None if well => {
                self.recent.truncate(RECENT - 1);
                self.recent.push_front(ticket);
            }
            None => {}
        }
    }
}
