//! Processor time, user and system, of a server: of its threads, its descendants, and of all children
//! that were waited for.

use std::time::Duration;
use std::{fs, io};

use crate::process;

/// `USER_HZ` is 100 wherever Rust's standard library runs.
const TICK: Duration = Duration::from_millis(10);

/// Reads a server's processor time between its loads.
pub struct Meter {
    pid: u32,
    resting: usize,
}

impl Meter {
    /// For a server at rest.
    pub fn new(pid: u32) -> Self {
        Self {
            pid,
            resting: process::tree(pid).len(),
        }
    }

    /// What was used so far, once the handlers of the last load are gone.
    pub async fn read(&self) -> io::Result<Duration> {
        process::settle(self.pid, self.resting).await;
        used(self.pid)
    }
}

/// What the tree of `pid` has used so far. Live threads are told to the nanosecond; threads and children
/// that are gone to 10 ms, over all of them together. Children that a server has the kernel reap are
/// not seen.
pub fn used(pid: u32) -> io::Result<Duration> {
    let own = of_process(pid)?;
    // Who is gone by now was waited for, and comes with the next reading.
    let below = process::tree(pid)
        .into_iter()
        .skip(1)
        .filter_map(|pid| of_process(pid).ok());
    Ok(own + below.sum::<Duration>())
}

fn of_process(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let [user, system, children_user, children_system] =
        ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
    // The ticks hold the threads that have ended, the schedule the parts of a tick.
    let own = (TICK * (user + system)).max(of_threads(pid));
    Ok(own + TICK * (children_user + children_system))
}

/// utime, stime, cutime and cstime. A program's name may hold blanks and parentheses.
fn ticks(stat: &str) -> Option<[u32; 4]> {
    let (_, fields) = stat.rsplit_once(')')?;
    let times: Vec<u32> = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(4)
        .map_while(|n| n.parse().ok())
        .collect();
    times.try_into().ok()
}

fn of_threads(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let nanos = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let schedule = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            schedule
                .split_ascii_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        });
    Duration::from_nanos(nanos.sum())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn ticks_are_counted_from_the_end_of_the_name() {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 700 800 20 0 1 0 9";
        assert_eq!(ticks(stat), Some([50, 60, 700, 800]));
        assert_eq!(ticks("7 (short) S 1"), None);
    }

    /// A shell works itself, has a child work that it reaps and one that goes on living, and says by `times` what
    /// the kernel has told it.
    #[test]
    fn a_tree_is_read_with_its_living_and_its_reaped_children() {
        let script = "work() { i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done; }; work; (work); \
            exec 3<&0; { work; times; read -r _; } <&3 & times; wait";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Two lines of `times` from each, one for itself and one for its children.
        let lines = BufReader::new(shell.stdout.take().unwrap()).lines().take(4);
        let said: f64 = lines.map(|line| seconds(&line.unwrap())).sum();
        let read = used(shell.id()).unwrap().as_secs_f64();
        shell.stdin.take().unwrap().write_all(b"\n").unwrap();
        shell.wait().unwrap();
        assert!(said > 0.05, "the work was too little to be told: {said} s");
        assert!(
            (read - said).abs() < 0.05 + said / 10.0,
            "read {read} s, the shells say {said} s"
        );
    }

    /// `0m0.123s 0m0.045s`
    fn seconds(times: &str) -> f64 {
        let second = |time: &str| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
            minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
        };
        times.split_ascii_whitespace().map(second).sum()
    }

    #[test]
    fn a_server_that_has_ended_is_no_server_that_costs_nothing() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(used(child.id()).is_err());
    }
}
