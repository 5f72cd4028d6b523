//! Which languages make guests of which worlds, and the files of each template. The constants are made by
//! `host/build.rs`, one for each folder of `guests/templates`; a folder that this table does not name, or a name
//! that has no folder, does not compile.

use super::{Lang, World};

include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// Paths and contents of a template.
///
/// # Errors
/// Why the toolchain of that language makes no guests of that world.
pub fn files(
    lang: Lang,
    world: World,
) -> Result<&'static [(&'static str, &'static str)], &'static str> {
    match (lang, world) {
        (Lang::Rust, World::Handler) => Ok(RUST_HANDLER),
        (Lang::Rust, World::Stdio) => Ok(RUST_STDIO),
        (Lang::Rust, World::Http) => Ok(RUST_HTTP),
        (Lang::Rust, World::Module) => Ok(RUST_MODULE),
        (Lang::C, World::Stdio) => Ok(C_STDIO),
        (Lang::C, World::Module) => Ok(C_MODULE),
        (Lang::Python, World::Handler) => Ok(PYTHON_HANDLER),
        (Lang::Python, World::Stdio) => Ok(PYTHON_STDIO),
        (Lang::Python, World::Http) => Ok(PYTHON_HTTP),
        (Lang::Js, World::Handler) => Ok(JS_HANDLER),
        (Lang::Js, World::Stdio) => Ok(JS_STDIO),
        (Lang::Js, World::Http) => Ok(JS_HTTP),
        (Lang::Go, World::Stdio) => Ok(GO_STDIO),
        (Lang::Go, World::Module) => Ok(GO_MODULE),
        (Lang::Zig, World::Stdio) => Ok(ZIG_STDIO),
        (Lang::Zig, World::Module) => Ok(ZIG_MODULE),
        (Lang::C | Lang::Go | Lang::Zig, World::Handler | World::Http) => {
            Err("its compiler makes modules, and that world is one of components")
        }
        (Lang::Python | Lang::Js, World::Module) => {
            Err("its toolchain makes components, and those cannot accept from a listener")
        }
    }
}
