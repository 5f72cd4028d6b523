//! Looks at the directories that lie behind the socket. It scans the preopens as a libc does (`fd N: dir NAME`, `fd N: tag T` for what is
//! none, until `fd N: BADF`), then uses `/data` as a program does, a line each: `list: NAMES` sorted, `read hello.txt: RESULT`,
//! `write new.txt: RESULT`, and three ways out: `read ../hello.txt: RESULT`, `read escape: RESULT` (a symbolic link the tester laid) and
//! `read /etc/passwd: RESULT`. A RESULT is `ok`, with what was read behind it, or `denied: WHY`.

use std::fs;
use std::io::{self, Write};

use wasip1::{ERRNO_BADF, Errno, Fd, PREOPENTYPE_DIR, Prestat};

fn main() -> io::Result<()> {
    let listener = odd::listener();
    let (mut client, _) = listener.accept()?;

    for fd in 3.. {
        let found = prestat(fd);
        match found {
            Ok(found) if found.tag == PREOPENTYPE_DIR.raw() => {
                writeln!(client, "fd {fd}: dir {}", dir_name(fd, found)?)?;
            }
            Ok(found) => writeln!(client, "fd {fd}: tag {}", found.tag)?,
            Err(errno) => writeln!(client, "fd {fd}: {}", errno.name())?,
        }
        if found.is_err_and(|errno| errno == ERRNO_BADF) {
            break;
        }
    }

    writeln!(client, "list: {}", result(list("/data")))?;
    writeln!(client, "read hello.txt: {}", read("/data/hello.txt"))?;
    let written = fs::write("/data/new.txt", "written by a guest\n").map(|()| String::new());
    writeln!(client, "write new.txt: {}", result(written))?;
    writeln!(client, "read ../hello.txt: {}", read("/data/../hello.txt"))?;
    writeln!(client, "read escape: {}", read("/data/escape"))?;
    writeln!(client, "read /etc/passwd: {}", read("/etc/passwd"))
}

fn prestat(fd: Fd) -> Result<Prestat, Errno> {
    // SAFETY: the wrapper passes memory of its own.
    unsafe { wasip1::fd_prestat_get(fd) }
}

fn dir_name(fd: Fd, found: Prestat) -> io::Result<String> {
    // SAFETY: the tag said that this field of the union is the one that was written.
    let mut name = vec![0; unsafe { found.u.dir }.pr_name_len];
    // SAFETY: the buffer is as long as the host is told.
    unsafe { wasip1::fd_prestat_dir_name(fd, name.as_mut_ptr(), name.len()) }
        .map_err(|errno| io::Error::from_raw_os_error(errno.raw().into()))?;
    String::from_utf8(name).map_err(io::Error::other)
}

fn list(path: &str) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

fn read(path: &str) -> String {
    result(fs::read_to_string(path))
}

fn result(result: io::Result<String>) -> String {
    match result {
        Ok(text) => format!("ok {text}").trim_end().into(),
        Err(error) => format!("denied: {error}"),
    }
}
