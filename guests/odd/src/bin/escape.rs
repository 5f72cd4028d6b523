//! Tries to get out of `/data`, a directory that it may change, in stdio style, and sends a line on each: `WHAT: denied: WHY` or
//! `WHAT: GOT …`. Beside it lies a file `outside`; in it the tester has laid the links `absolute`, `up` and `proc`, and `folder`. With the
//! argument `flip` it makes `/data/race/at` a folder and a link to `..`, over and over; with `race` it reads `/data/race/at/outside` as
//! often, and sends what it has read, each text once. Built as a module and as a component.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{CString, c_char, c_int};
use std::fmt::{Debug, Display};
use std::fs;
use std::io;

const TIMES: u32 = 3000;

unsafe extern "C" {
    fn symlink(to: *const c_char, at: *const c_char) -> c_int;
}

fn main() -> io::Result<()> {
    match env::args().nth(1).as_deref() {
        Some("flip") => flip(),
        Some("race") => race(),
        _ => attempt(),
    }
}

fn attempt() -> io::Result<()> {
    for path in [
        "/data/../outside",
        "/data/folder/../../outside",
        "/data/./folder/.././../outside",
        "/outside",
        "../outside",
        "/data/absolute",
        "/data/up",
        "/data/proc/self/environ",
        "/data/proc/self/root/etc/passwd",
        "/data/proc/self/fd/0",
    ] {
        report(&format!("read {path}"), fs::read_to_string(path));
        report(
            &format!("write {path}"),
            fs::OpenOptions::new().append(true).open(path),
        );
        report(&format!("list {path}"), fs::read_dir(path).map(drop));
    }
    for (number, to) in ["../outside", "/etc/passwd", "..", "/", "/proc/self/environ"]
        .iter()
        .enumerate()
    {
        let at = format!("/data/made-{number}");
        // To make it is no way out; to follow it would be.
        let made = link(to, &at);
        let read = made.and_then(|()| fs::read_to_string(&at));
        report(&format!("follow a link to {to}"), read);
        report(
            &format!("go through a link to {to}"),
            fs::read_to_string(format!("{at}/outside")),
        );
        report(
            &format!("create behind a link to {to}"),
            fs::write(format!("{at}/new"), ""),
        );
    }
    fs::write("/data/own", "")?;
    report("link in", fs::hard_link("/data/../outside", "/data/hard"));
    report(
        "link in by a link",
        fs::hard_link("/data/up", "/data/hard").and_then(|()| fs::read_to_string("/data/hard")),
    );
    report("link out", fs::hard_link("/data/own", "/data/../hard"));
    report("move out", fs::rename("/data/own", "/data/../moved"));
    report("move in", fs::rename("/data/../outside", "/data/moved"));
    report("remove outside", fs::remove_file("/data/../outside"));
    report("make outside", fs::create_dir("/data/../made"));
    report("create outside", fs::write("/data/../created", ""));
    println!("own: {}", fs::read_to_string("/data/own").is_ok());
    Ok(())
}

fn flip() -> io::Result<()> {
    for _ in 0..TIMES {
        // Either name is one of the two at any time.
        let _ = fs::rename("/data/race/at", "/data/race/folder");
        let _ = fs::rename("/data/race/link", "/data/race/at");
        let _ = fs::rename("/data/race/at", "/data/race/link");
        let _ = fs::rename("/data/race/folder", "/data/race/at");
    }
    println!("flipped");
    Ok(())
}

fn race() -> io::Result<()> {
    let mut read = BTreeSet::new();
    for _ in 0..TIMES {
        if let Ok(text) = fs::read_to_string("/data/race/at/outside") {
            read.insert(text);
        }
    }
    println!("{read:?}");
    Ok(())
}

fn link(to: &str, at: &str) -> io::Result<()> {
    let (to, at) = (CString::new(to)?, CString::new(at)?);
    // SAFETY: both are strings that end with a 0.
    match unsafe { symlink(to.as_ptr(), at.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn report<T: Debug, E: Display>(attempt: &str, result: Result<T, E>) {
    match result {
        Ok(got) => println!("{attempt}: GOT {got:?}"),
        Err(error) => println!("{attempt}: denied: {error}"),
    }
}
