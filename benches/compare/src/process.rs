//! A process and its descendants, as /proc shows them.

use std::fs;
use std::time::{Duration, Instant};

/// How long handlers may take to be gone after their connections are.
const EXITING: Duration = Duration::from_secs(2);

/// `pid` and all its descendants that are not reaped yet.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        // Children hang off the thread that started them.
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        next += 1;
    }
    found
}

/// Whether a process is there and no zombie.
pub fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits until a tree is as small as it was: what handlers cost that are still ending belongs to their
/// connections. Nobody tells when somebody else's children end, hence the looking.
pub async fn settle(pid: u32, processes: usize) {
    let begun = Instant::now();
    while tree(pid).len() > processes && begun.elapsed() < EXITING {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
