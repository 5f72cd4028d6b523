//! Where in a guest's source its functions are, by the debug information (DWARF) in its file. That is read
//! when it is asked for: kept in memory it would take more of that than the guest.

mod search;

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use gimli::{Dwarf, EndianSlice, LittleEndian};
use wasmparser::{Encoding, Parser, Payload};

use super::{Frame, demangled};
use crate::wasm::Digest;
use search::Search;

/// Bytes of the largest file that is read for this.
const LARGEST: u64 = 256 << 20;

/// Bytes of the debug information of a module, and of what its entries are like: that is read whole, and takes twenty times as
/// much in memory.
const DEBUG: usize = 64 << 20;
const ABBREVIATIONS: usize = 2 << 20;

/// How long it is looked through.
const PATIENCE: Duration = Duration::from_secs(2);

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
    let until = Instant::now() + PATIENCE;
    for module in modules(&bytes) {
        let inside = |offset: &usize| module.code.contains(offset);
        let offsets = frames.iter().map(|frame| frame.offset.filter(inside));
        let wanted: Vec<_> = offsets
            .enumerate()
            .filter_map(|(at, it)| Some((at, it?)))
            .collect();
        if wanted.is_empty() || !module.is_modest() {
            continue;
        }
        let addresses = wanted
            .iter()
            .map(|(_, offset)| (offset - module.code.start) as u64);
        let searched = Search::of(module.dwarf(), addresses.collect(), until);
        for ((at, _), chain) in wanted.iter().zip(searched) {
            found[*at] = chain.places();
        }
    }
    found
}

type Slice<'a> = EndianSlice<'a, LittleEndian>;

impl<'a> Module<'a> {
    fn is_modest(&self) -> bool {
        let size = |section: &&[u8]| section.len();
        let abbreviations = self.sections.get(".debug_abbrev").map_or(0, size);
        let all = self.sections.values().map(size).sum::<usize>();
        abbreviations <= ABBREVIATIONS && all <= DEBUG
    }

    fn dwarf(&self) -> Dwarf<Slice<'a>> {
        let section = |id: gimli::SectionId| {
            let section = self.sections.get(id.name()).copied().unwrap_or_default();
            Ok::<_, std::convert::Infallible>(EndianSlice::new(section, LittleEndian))
        };
        let Ok(dwarf) = Dwarf::load(section);
        dwarf
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
