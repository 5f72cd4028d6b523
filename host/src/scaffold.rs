//! A guest's project to begin with: what `portcullis new` writes. Each is a copy of a folder of
//! `guests/templates`, which is a project itself, of a guest named `guest-name`.

mod template;

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::ValueEnum;

/// Longest name of a guest, in bytes: it is the name of its trigger, too.
const NAME_MAX: usize = 64;

/// What cargo cannot name a program, and the crate that one in Rust depends on.
const TAKEN: &[&str] = &[
    "build",
    "deps",
    "examples",
    "incremental",
    "portcullis-guest",
    "portcullis_guest",
];

/// What a guest is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// Rust: every world
    Rust,
    /// C, by Zig's compiler: stdio, module
    C,
    /// Python, by componentize-py: handler, stdio, http
    Python,
    /// JavaScript, by componentize-js: handler, stdio, http
    Js,
    /// Go: stdio, module
    Go,
    /// Zig: stdio, module
    Zig,
}

/// How a guest meets its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum World {
    /// The typed world portcullis:bridge: the host calls it with the connection
    Handler,
    /// Standard input and output are the connection
    Stdio,
    /// The host speaks HTTP, and calls it with each request (wasi:http)
    Http,
    /// It accepts its connection from a listener: socket style, a module of WASI preview 1
    Module,
}

impl Lang {
    /// The world of a guest of which none is said.
    fn usual(self) -> World {
        match self {
            Self::Rust | Self::Python | Self::Js => World::Handler,
            Self::C | Self::Go | Self::Zig => World::Stdio,
        }
    }

    /// The worlds that its toolchain makes guests of.
    pub fn worlds(self) -> impl Iterator<Item = World> {
        let all = World::value_variants().iter().copied();
        all.filter(move |world| template::files(self, *world).is_ok())
    }
}

/// A project that is not written yet.
#[derive(Debug)]
pub struct Scaffold {
    name: String,
    lang: Lang,
    world: World,
    /// Paths and contents, in which the guest is named `guest-name`.
    files: &'static [(&'static str, &'static str)],
}

impl Scaffold {
    /// A project for a guest of this name; of the language's usual world, unless one is said.
    ///
    /// # Errors
    /// When it cannot have that name, or the language's toolchain makes no guests of that world.
    pub fn new(name: &str, lang: Lang, world: Option<World>) -> anyhow::Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
        ensure!(
            begins && name.chars().all(plain) && name.len() <= NAME_MAX,
            "`{}` cannot be the name of a guest: a name is 1 to {NAME_MAX} letters of a to z, \
             digits, `-` and `_`, and begins with a letter",
            name.escape_debug()
        );
        ensure!(
            lang != Lang::Rust || !TAKEN.contains(&name),
            "`{name}` cannot be the name of a guest in Rust: cargo needs it for something else"
        );
        let world = world.unwrap_or(lang.usual());
        let files = template::files(lang, world).map_err(|reason| {
            let worlds: Vec<_> = lang.worlds().map(|world| world.to_string()).collect();
            anyhow!(
                "there is no guest of the world {world} in {lang}, since {reason}; with --lang \
                 {lang}, --world is one of {}",
                worlds.join(", ")
            )
        })?;
        Ok(Self {
            name: name.to_owned(),
            lang,
            world,
            files,
        })
    }

    /// Checks that its folder in `parent` is free: not there, or empty.
    ///
    /// # Errors
    /// When something is in the way.
    pub fn fits(&self, parent: &Path) -> anyhow::Result<()> {
        let name = &self.name;
        match fs::read_dir(parent.join(name)).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(false) => bail!(
                "the folder `{name}` is there already and is not empty; choose another name, or \
                 move it away"
            ),
            Err(error) => Err(error).with_context(|| format!("cannot make the folder `{name}`")),
        }
    }

    /// Writes it into a folder of its name in `parent`, in one step: all of it or nothing.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, parent: &Path) -> anyhow::Result<()> {
        let name = &self.name;
        let new = parent.join(format!(".{name}.{}.new", std::process::id()));
        let written = self
            .write_files(&new)
            .and_then(|()| fs::rename(&new, parent.join(name)));
        if written.is_err() {
            // What was written of it; that it cannot be removed is less than why it was not written.
            let _ = fs::remove_dir_all(&new);
        }
        written.with_context(|| format!("cannot write the project `{name}`"))
    }

    fn write_files(&self, root: &Path) -> io::Result<()> {
        fs::create_dir(root)?;
        for (path, text) in self.files {
            let path = root.join(path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            // As every tool writes files and programs; the umask takes from it.
            let mode = if text.starts_with("#!") { 0o777 } else { 0o666 };
            let mut file = OpenOptions::new();
            let mut file = file.write(true).create_new(true).mode(mode).open(path)?;
            file.write_all(self.named(text).as_bytes())?;
        }
        Ok(())
    }

    /// A text of the template with the guest's own name: as it is, and as crates are named.
    fn named(&self, text: &str) -> String {
        text.replace("guest-name", &self.name)
            .replace("guest_name", &self.name.replace('-', "_"))
    }
}

/// What was written, and what to do next.
impl fmt::Display for Scaffold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, lang, world, ..
        } = self;
        writeln!(f, "{name}: a guest in {lang}, of the world {world}; next:")?;
        writeln!(f, "  {name}/build")?;
        writeln!(f, "  portcullis run {name}/triggers.toml")
    }
}

/// As the command line has it.
impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        word(self, f)
    }
}

/// As the command line has it.
impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        word(self, f)
    }
}

fn word(value: &impl ValueEnum, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let value = value.to_possible_value();
    f.write_str(value.as_ref().map_or("", |value| value.get_name()))
}
