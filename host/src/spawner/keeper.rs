//! The spawner's own life: one thread that waits for the host's requests and for the end of its
//! children. It is the parent of every job, and by `PR_SET_CHILD_SUBREAPER` of what jobs leave behind.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::libc;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpgid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg,
    sendmsg,
};
use rustix::process::{WaitOptions, WaitStatus};

use super::child;
use super::message::{DESCRIPTORS, Ended, MAX_PACKET, OwnedRequest, Report, Request, Stage};

/// Reports that may wait for the host to read before no more requests are taken from it.
const BACKLOG: usize = 1024;

/// A job that was started and whose leader has not been reaped.
struct Job {
    ticket: u64,
    ending: Option<Ending>,
}

/// What the host has asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// A signal that may be handled: all of the group have until the host asks for KILL.
    Gently,
    /// KILL.
    AtOnce,
}

struct Keeper {
    socket: OwnedFd,
    /// By the id of the leader, which is also the group's.
    jobs: HashMap<i32, Job>,
    tickets: HashMap<u64, i32>,
    /// Leaders that have ended before the rest of their group, in its grace: zombies, and as long as
    /// they are, the group's id means this group.
    kept: HashSet<i32>,
    reports: VecDeque<Report>,
    /// For one request, kept because it is large.
    packet: Vec<u8>,
}

/// The life of the spawner. It ends with its host, and takes along all that still runs.
pub(super) fn main(socket: OwnedFd) -> ! {
    // Whatever happens, this must not return into the host's main, of which it is a copy.
    let lived = catch_unwind(AssertUnwindSafe(|| settle(socket).and_then(Keeper::serve)));
    end_all_children();
    std::process::exit(i32::from(!matches!(lived, Ok(Ok(())))))
}

/// Leaves the host's descriptors, folder and signals behind.
fn settle(socket: OwnedFd) -> Result<(Keeper, SignalFd), Errno> {
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR,
        rustix::fs::Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    // Closed by its owner before all that has no owner is closed.
    drop(null);
    let socket = only_this(socket)?;
    let _ = rustix::process::chdir("/");
    let _ = rustix::thread::set_name(c"portcullis-spwn");
    let _ = rustix::process::set_child_subreaper(rustix::process::getpid().into());
    // A terminal's INT or HUP goes to the whole group, and the host decides what it means. Default
    // and blocked rather than ignored: a job inherits ignored signals, and only has to unblock these.
    default_signals();
    let blocked = SigSet::all().thread_block();
    blocked.map_err(|error| Errno::from_raw_os_error(error as i32))?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let children = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|error| Errno::from_raw_os_error(error as i32))?;
    let keeper = Keeper {
        socket,
        jobs: HashMap::new(),
        tickets: HashMap::new(),
        kept: HashSet::new(),
        reports: VecDeque::new(),
        packet: vec![0; MAX_PACKET],
    };
    Ok((keeper, children))
}

/// Every signal to its default. By system call: libc hides two signals of its own, which a host may have
/// inherited as ignored like any other, and has no name for the real-time ones.
fn default_signals() {
    // Larger than the kernel's sigaction anywhere; all zero is the default disposition, no flags, an empty mask.
    let default = [0_u64; 16];
    for signal in 1..=64 {
        #[allow(unsafe_code, reason = "a signal's disposition is process-wide state")]
        // SAFETY: the kernel reads a sigaction from `default`, whose disposition runs no code of ours. KILL
        // and STOP are refused, as they should be.
        unsafe {
            let nothing = std::ptr::null_mut::<u64>();
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                nothing,
                8_usize,
            );
        }
    }
}

/// Moves the socket to descriptor 3 and closes all above: those of the host, or inherited by it, are
/// not the spawner's to hold. So whatever it receives is above 3, as `child::start` needs it.
fn only_this(socket: OwnedFd) -> Result<OwnedFd, Errno> {
    let socket = socket.into_raw_fd();
    #[allow(
        unsafe_code,
        reason = "the spawner takes over the descriptor table of the fork"
    )]
    // SAFETY: the values that owned 3 and what is above are the host's, on a stack that this process
    // never returns to, and `socket`, released just now. From here on 3 has one owner.
    let only = unsafe {
        if socket != 3 {
            libc::dup3(socket, 3, libc::O_CLOEXEC);
        }
        libc::syscall(libc::SYS_close_range, 4, libc::c_uint::MAX, 0);
        OwnedFd::from_raw_fd(3)
    };
    rustix::io::fcntl_getfd(&only)?;
    Ok(only)
}

impl Keeper {
    fn serve((mut self_, children): (Self, SignalFd)) -> Result<(), Errno> {
        loop {
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::IN, self_.reports.len() < BACKLOG);
            wanted.set(PollFlags::OUT, !self_.reports.is_empty());
            let (socket, ends) = {
                let mut watched = [
                    PollFd::new(&self_.socket, wanted),
                    PollFd::from_borrowed_fd(children.as_fd(), PollFlags::IN),
                ];
                match poll(&mut watched, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error),
                }
                (watched[0].revents(), watched[1].revents())
            };
            if !ends.is_empty() {
                while children.read_signal().is_ok_and(|signal| signal.is_some()) {}
                self_.reap();
            }
            if socket.contains(PollFlags::IN) {
                match self_.receive() {
                    Ok(true) | Err(Errno::AGAIN | Errno::INTR) => {}
                    Ok(false) | Err(Errno::CONNRESET) => return Ok(()),
                    Err(error) => return Err(error),
                }
            } else if socket.intersects(PollFlags::HUP | PollFlags::ERR) {
                return Ok(());
            }
            self_.report()?;
        }
    }

    /// One request. `false`: the host is gone.
    fn receive(&mut self) -> Result<bool, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut self.packet)];
        let received = recvmsg(
            &self.socket,
            &mut parts,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        if received.bytes == 0 {
            return Ok(false);
        }
        let descriptors: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        match postcard::from_bytes::<OwnedRequest>(&self.packet[..received.bytes]) {
            Ok(Request::Spawn {
                ticket,
                program,
                setup,
            }) => {
                let started = <[OwnedFd; DESCRIPTORS]>::try_from(descriptors)
                    // The kernel drops what does not fit in this process's descriptor table.
                    .map_err(|_| (Stage::Descriptors, libc::EMFILE))
                    .and_then(|descriptors| child::start(&program, &setup, &descriptors));
                self.reports.push_back(match started {
                    Ok(pid) => {
                        self.jobs.insert(
                            pid,
                            Job {
                                ticket,
                                ending: None,
                            },
                        );
                        self.tickets.insert(ticket, pid);
                        Report::Started { ticket, pid }
                    }
                    Err((stage, errno)) => Report::Failed {
                        ticket,
                        stage,
                        errno,
                    },
                });
            }
            Ok(Request::Signal { ticket, signal }) => self.signal(ticket, signal),
            // Both ends are one binary: not a request that can be answered, nor a reason to end all jobs.
            Err(_) => {}
        }
        Ok(true)
    }

    fn signal(&mut self, ticket: u64, signal: i32) {
        let Some(&pid) = self.tickets.get(&ticket) else {
            return;
        };
        let ending = match signal {
            libc::SIGKILL => Ending::AtOnce,
            _ => Ending::Gently,
        };
        if let Some(job) = self.jobs.get_mut(&pid) {
            job.ending = Some(ending);
        }
        if let Ok(signal) = Signal::try_from(signal) {
            let _ = killpg(Pid::from_raw(pid), signal);
        }
        if ending == Ending::AtOnce && self.kept.remove(&pid) {
            self.take(pid);
        }
    }

    /// Every child that has ended.
    fn reap(&mut self) {
        while self.kept.is_empty() {
            let Some(pid) = ended(libc::P_ALL, 0) else {
                return;
            };
            self.note(pid);
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
                    self.note(pid);
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
                    self.take(pid);
                }
                return;
            }
        }
    }

    /// A child has ended and is a zombie. The leader of a group in its grace is kept.
    fn note(&mut self, pid: i32) {
        let ending = self.jobs.get(&pid).and_then(|job| job.ending);
        if ending == Some(Ending::Gently) {
            self.kept.insert(pid);
        } else {
            self.take(pid);
        }
    }

    /// Reaps a zombie, and reports it when it led a job: one that was being ended takes along what is
    /// left of its group.
    fn take(&mut self, pid: i32) {
        if self.jobs.get(&pid).is_some_and(|job| job.ending.is_some()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // Not by nix, which has no name for a real-time signal and makes an error of it.
        let status =
            rustix::process::waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::NOHANG);
        let Some(job) = self.jobs.remove(&pid) else {
            return;
        };
        self.tickets.remove(&job.ticket);
        let status = status.ok().flatten().map(|(_, status)| status);
        let ended = match status.and_then(WaitStatus::exit_status) {
            Some(status) => Ended::Exited(status),
            // 0: taken from under us, which nobody does.
            None => Ended::Signalled(status.and_then(WaitStatus::terminating_signal).unwrap_or(0)),
        };
        self.reports.push_back(Report::Exited {
            ticket: job.ticket,
            ended,
        });
    }

    /// As many reports as the host has room for.
    fn report(&mut self) -> Result<(), Errno> {
        while let Some(report) = self.reports.front() {
            let packet = postcard::to_allocvec(report).map_err(|_| Errno::INVAL)?;
            let parts = [IoSlice::new(&packet)];
            let nothing = &mut SendAncillaryBuffer::default();
            match sendmsg(&self.socket, &parts, nothing, SendFlags::NOSIGNAL) {
                Ok(_) => {
                    self.reports.pop_front();
                }
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A child that has ended, which stays a zombie: any (`P_ALL`), or that of an id (`P_PID`).
fn ended(which: libc::idtype_t, id: i32) -> Option<i32> {
    let id = libc::id_t::try_from(id).ok()?;
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    #[allow(
        unsafe_code,
        reason = "nix fails on a child that a real-time signal ended, and rustix does not say which it was"
    )]
    // SAFETY: all zero is a valid siginfo_t, which the kernel fills or leaves. Its pid is valid for an
    // end of a child, and 0 when there is none.
    let pid = unsafe {
        let mut told: libc::siginfo_t = std::mem::zeroed();
        match libc::waitid(which, id, &raw mut told, options) {
            0 => told.si_pid(),
            _ => 0,
        }
    };
    (pid != 0).then_some(pid)
}

/// The ids of all children, zombies too.
fn children() -> Vec<i32> {
    let list = format!("/proc/self/task/{}/children", std::process::id());
    let list = std::fs::read_to_string(list).unwrap_or_default();
    list.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// KILL to all that runs below this process: the jobs by their groups, then whatever had left its
/// group and was inherited when its parent died.
fn end_all_children() {
    loop {
        for child in children() {
            // A job leads a group of its own id. For what is not a leader the call fails.
            let _ = killpg(Pid::from_raw(child), Signal::SIGKILL);
            let _ = nix::sys::signal::kill(Pid::from_raw(child), Signal::SIGKILL);
        }
        // Blocks until one of them is gone; its own children are then ours.
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
