//! The whole way, with the servers that need no host: measured, told and drawn.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

#[test]
fn rows_are_measured_told_and_drawn() {
    let compare = env!("CARGO_BIN_EXE_compare");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quick");
    fs::create_dir_all(&folder).unwrap();
    let done = Command::new(compare)
        .args([
            "rows",
            "--quick",
            "--rounds",
            "1",
            "--only",
            "cpu-epoll",
            "bulk-1-epoll",
            "start",
            "--host",
            compare,
        ])
        .arg("--guests")
        .arg(&folder)
        .arg("--work")
        .arg(&folder)
        .arg("--out")
        .arg(&folder)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let page = fs::read_to_string(folder.join("compare.md")).unwrap();
    assert_eq!(page, String::from_utf8(done.stdout).unwrap());
    let row = |name: &str| {
        page.lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")))
            .unwrap()
    };
    assert!(
        row("cpu-epoll").contains("| × tokio-echo |") && row("cpu-epoll").contains(" against "),
        "{page}"
    );
    // No guest is here, and no figure is made up.
    assert!(
        row("start").contains("| failed | no | 100 triggers: ")
            && row("start").contains(" is missing"),
        "{page}"
    );
    assert!(
        fs::read_to_string(folder.join("compare.svg"))
            .unwrap()
            .contains("failed")
    );
}
