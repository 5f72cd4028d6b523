//! The command line, and nothing but its shape.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::log::Format;
use crate::scaffold::{Lang, World};

/// inetd for WebAssembly: one fresh sandboxed guest for every connection
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 100)]
pub struct Cli {
    /// How log lines are written to stderr
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub log_format: Format,

    /// What is logged: error, warn, info or debug
    #[arg(long, global = true, default_value_t = LevelFilter::INFO, value_name = "LEVEL")]
    pub log_level: LevelFilter,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a trigger file, or every *.toml in a folder, until SIGTERM or SIGINT
    Run(Run),
    /// Have the host that runs a trigger file read it again, and say what came of it
    Reload(TriggerFile),
    /// Say what a trigger file means, what would serve and what it may touch, and stop there
    Check(Check),
    /// Run a guest once, with this terminal as its connection
    Try(Try),
    /// Say what a guest is and what it wants, with a trigger to begin with
    Inspect(Inspect),
    /// Compile guests ahead, so that `run` finds them compiled
    Compile(Compile),
    /// Begin a guest: write a project that one command builds, with its trigger
    New(New),
}

/// What to serve.
#[derive(Args, Debug)]
pub struct Run {
    /// A trigger file, or a folder of them
    pub path: PathBuf,
    /// Take the place of the host that runs it now, if one does, without refusing a connection
    #[arg(long)]
    pub upgrade: bool,
}

/// What is to be told of which triggers.
#[derive(Args, Debug)]
pub struct Check {
    /// Say what each handler could still reach if somebody took it over, and how bad that is; load nothing
    #[arg(long)]
    pub security: bool,
    /// Where the triggers are
    #[command(flatten)]
    pub file: TriggerFile,
}

/// Where the triggers are.
#[derive(Args, Debug)]
pub struct TriggerFile {
    /// A trigger file, or a folder of them
    pub path: PathBuf,
}

/// One run of one guest.
#[derive(Args, Debug)]
pub struct Try {
    /// A module or component
    pub guest: PathBuf,
    /// A variable for the guest
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// A folder for the guest to read, e.g. /data=./data
    #[arg(long, value_name = "GUEST=HOST", value_parser = variable)]
    pub dir: Vec<(String, String)>,
    /// Arguments for the guest
    #[arg(last = true)]
    pub args: Vec<String>,
}

/// Which guest.
#[derive(Args, Debug)]
pub struct Inspect {
    /// A module or component
    pub guest: PathBuf,
}

/// Which guests.
#[derive(Args, Debug)]
pub struct Compile {
    /// A module or component, or a trigger file or a folder of them, for all of their guests
    #[arg(required = true, value_name = "GUEST|TRIGGERS")]
    pub paths: Vec<PathBuf>,
}

/// Which project.
#[derive(Args, Debug)]
pub struct New {
    /// Name of the guest, and of the folder it is written into
    pub name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = Lang::Rust)]
    pub lang: Lang,
    /// How it meets its connection [default: handler; stdio for what makes modules: c, go, zig]
    #[arg(long, value_enum)]
    pub world: Option<World>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("two words joined by `=` are wanted".to_owned()),
    }
}
