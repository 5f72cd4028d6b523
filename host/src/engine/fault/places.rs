//! Where in a guest's source its functions are, by the debug information (DWARF) in its file. That is read
//! when it is asked for: kept in memory it would take more of that than the guest.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian};
use wasmparser::{Encoding, Parser, Payload};

use super::{Frame, demangled};
use crate::wasm::Digest;

/// Bytes of the largest file that is read for this.
const LARGEST: u64 = 256 << 20;

/// A function, which may be compiled into another, and a line of its source.
#[derive(Clone, Debug)]
pub(super) struct Place {
    function: Option<String>,
    /// With its line.
    file: Option<String>,
}

impl Place {
    pub fn in_words(&self, frame: &Frame) -> String {
        let function = self.function.as_ref().unwrap_or(&frame.name);
        match &self.file {
            Some(file) => format!("{function} at {file}"),
            None => function.clone(),
        }
    }
}

/// A core module in a file, with the sections that its debug information is in.
#[derive(Default)]
struct Module<'a> {
    code: Range<usize>,
    sections: HashMap<&'a str, &'a [u8]>,
}

/// The places of these frames, as far as there are any. None when the file has become another.
pub(super) fn of(guest: &Path, digest: &Digest, frames: &[Frame]) -> Vec<Vec<Place>> {
    let small = fs::metadata(guest).is_ok_and(|found| found.is_file() && found.len() <= LARGEST);
    let bytes = small.then(|| fs::read(guest).ok()).flatten();
    let Some(bytes) = bytes.filter(|bytes| blake3::hash(bytes) == *digest) else {
        return Vec::new();
    };
    let mut found = vec![Vec::new(); frames.len()];
    for module in modules(&bytes) {
        let inside = |frame: &Frame| frame.offset.is_some_and(|at| module.code.contains(&at));
        if !frames.iter().any(inside) {
            continue;
        }
        let Some(context) = module.context() else {
            continue;
        };
        for (frame, found) in frames.iter().zip(&mut found) {
            if let Some(at) = frame.offset.filter(|_| inside(frame)) {
                *found = places(&context, (at - module.code.start) as u64);
            }
        }
    }
    found
}

type Slice<'a> = EndianSlice<'a, LittleEndian>;

impl<'a> Module<'a> {
    fn context(&self) -> Option<Context<Slice<'a>>> {
        let section = |name: &str| self.sections.get(name).copied().unwrap_or_default();
        let dwarf = Dwarf::load(|id| {
            Ok::<_, addr2line::gimli::Error>(EndianSlice::new(section(id.name()), LittleEndian))
        });
        Context::from_dwarf(dwarf.ok()?).ok()
    }
}

/// The core modules of a file, those inside a component included.
fn modules(bytes: &[u8]) -> Vec<Module<'_>> {
    let (mut done, mut open) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(bytes).map_while(Result::ok) {
        match payload {
            Payload::Version { encoding, .. } => {
                open.push((encoding == Encoding::Module).then(Module::default));
            }
            Payload::End(_) => done.extend(open.pop().flatten()),
            Payload::CodeSectionStart { range, .. } => {
                if let Some(Some(module)) = open.last_mut() {
                    module.code = range;
                }
            }
            Payload::CustomSection(section) if section.name().starts_with(".debug_") => {
                if let Some(Some(module)) = open.last_mut() {
                    module.sections.insert(section.name(), section.data());
                }
            }
            _ => {}
        }
    }
    done
}

/// The function at an address, and those that it is compiled into.
fn places(context: &Context<Slice<'_>>, address: u64) -> Vec<Place> {
    let mut places = Vec::new();
    let Ok(mut frames) = context.find_frames(address).skip_all_loads() else {
        return places;
    };
    while let Ok(Some(frame)) = frames.next() {
        let name = frame
            .function
            .as_ref()
            .map(addr2line::FunctionName::raw_name);
        let function = name
            .and_then(Result::ok)
            .map(|name: Cow<'_, str>| demangled(&name));
        let file = frame.location.and_then(|it| {
            let line = it.line.map(|line| format!(":{line}")).unwrap_or_default();
            Some(format!("{}{line}", it.file?))
        });
        places.push(Place { function, file });
    }
    places
}
