//! Memory of a process tree: the proportional set size, and the page tables that it leaves out. What else
//! the kernel keeps (stacks and structures of tasks, socket buffers) is in neither.

use std::fs;

use crate::process;

/// KiB that the tree of `pid` holds.
pub fn held(pid: u32) -> f64 {
    let of = |pid: u32| {
        let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        kib(&read("smaps_rollup"), "Pss:") + kib(&read("status"), "VmPTE:")
    };
    process::tree(pid).into_iter().map(of).sum()
}

/// The number on the line that begins with `key`; nothing for a process that has just ended.
fn kib(text: &str, key: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_whole_key() {
        let rollup = "00400000-7fff [rollup]\nRss:  900 kB\nPss:                 120 kB\nPss_Dirty:  20 kB\n";
        assert!((kib(rollup, "Pss:") - 120.0).abs() < f64::EPSILON);
        assert!(kib(rollup, "VmPTE:").abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_touched_is_held() {
        let before = held(std::process::id());
        let touched = std::hint::black_box(vec![1_u8; 64 << 20]);
        let more = held(std::process::id()) - before;
        assert!(more > 60_000.0, "{more} KiB for {} bytes", touched.len());
    }
}
