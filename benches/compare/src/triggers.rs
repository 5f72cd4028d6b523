//! The trigger files of the hosts that are measured, as a user would write them.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use anyhow::Context as _;

use crate::peer::Peer;
use crate::places::Places;
use crate::server::SERVED;

/// The socket beside the one that is loaded.
pub const BESIDE: &str = "beside";

/// Writes what a host is to serve, and tells how many sockets that makes. Nothing for what is no host.
pub fn write(peer: Peer, places: &Places) -> anyhow::Result<Option<(String, usize)>> {
    let wasm = |file: &str| anyhow::Ok(format!("wasm = '{}'\n", places.guest(file)?));
    let echo = || {
        anyhow::Ok(format!(
            "exec = ['{}']\naccept = true\n",
            places.job("echo")?
        ))
    };
    let others = |count| (1..count).map(|number| format!("other-{number}"));
    let served = || SERVED.to_owned();
    let (c, rust, typed) = ("c-echo.wasm", "echo.wasm", "echo-typed.component.wasm");
    let mut triggers = Vec::new();
    match peer {
        Peer::P1 | Peer::Fixed => triggers.push((served(), wasm(c)?)),
        Peer::RustStd => triggers.push((served(), wasm(rust)?)),
        Peer::Typed | Peer::FixedTyped => triggers.push((served(), wasm(typed)?)),
        Peer::Http => triggers.push((served(), wasm("http-echo.component.wasm")?)),
        Peer::Native => triggers.push((served(), echo()?)),
        Peer::NativeBeside => triggers.extend([(served(), echo()?), (BESIDE.to_owned(), wasm(c)?)]),
        Peer::Listener => {
            triggers.push((served(), format!("exec = ['{}']\n", places.job("message")?)));
        }
        Peer::Thousand => {
            let handler = wasm(c)?;
            triggers.extend(
                others(1000)
                    .chain([served()])
                    .map(|name| (name, handler.clone())),
            );
        }
        Peer::Hundred => {
            for (name, kind) in others(100)
                .chain([served()])
                .zip([c, rust, typed].iter().cycle())
            {
                let guest = own_guest(&name, kind, places)?;
                triggers.push((name, format!("wasm = '{guest}'\n")));
            }
        }
        _ => return Ok(None),
    }
    let connections = match peer {
        Peer::Fixed => 19_000,
        Peer::NativeBeside => 10_500,
        _ => 10_000,
    };
    let mut text = format!(
        "[host]\ncache = '{}'\n",
        places.work.join("cache").display()
    );
    if matches!(peer, Peer::Fixed | Peer::NativeBeside) {
        writeln!(text, "limits = {{ connections = {connections} }}")?;
    }
    for (name, handler) in &triggers {
        write!(
            text,
            "\n[trigger.{name}]\nlisten = '127.0.0.1:0'\n{handler}"
        )?;
        if !matches!(peer, Peer::Listener | Peer::Hundred | Peer::Thousand) {
            writeln!(text, "limits.connections = {connections}")?;
        }
    }
    let fixed = match peer {
        Peer::Fixed => Some(c),
        Peer::FixedTyped => Some(typed),
        _ => None,
    };
    if let Some(guest) = fixed {
        let memory = memory(places, guest)?;
        writeln!(text, "limits.memory = '{memory}'\nlimits.stack = '64KiB'")?;
    }
    Ok(Some((
        places.write(&format!("{peer:?}.toml"), text)?,
        triggers.len(),
    )))
}

/// What a guest begins with.
fn memory(places: &Places, guest: &str) -> anyhow::Result<String> {
    let mut inspect = Command::new(&places.host);
    let told = inspect.arg("inspect").arg(places.guest(guest)?).output()?;
    let told = String::from_utf8(told.stdout)?;
    let line = told
        .lines()
        .find_map(|line| line.trim().strip_prefix("memory"));
    let size = line.and_then(|line| line.trim().strip_suffix("to begin with"));
    let size = size.with_context(|| format!("{guest}: what does it begin with? {told}"))?;
    Ok(size.replace(' ', ""))
}

/// A copy of a guest with content of its own: one custom section more.
fn own_guest(name: &str, kind: &str, places: &Places) -> anyhow::Result<String> {
    let mut content = fs::read(places.guest(kind)?)?;
    let length = u8::try_from(name.len())?;
    content.extend([0, length + 1, length]);
    content.extend(name.bytes());
    places.write(&format!("{name}.wasm"), content)
}
