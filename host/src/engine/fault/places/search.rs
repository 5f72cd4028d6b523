//! Looking for functions and lines in the debug information of a module. It is the guest's own word: it is read in one
//! pass, with no recursion, nothing is kept but what was looked for, and it is given up after a while.

use std::ops::Range;
use std::time::Instant;

use gimli::{
    Attribute, AttributeValue, DebugInfoOffset, Dwarf, IncompleteLineProgram, LineInstruction,
    LineProgramHeader, Reader as _, Section as _, Unit, UnitHeader,
};

use super::{Place, Slice, demangled};

/// Bytes of a table of files.
const FILES: usize = 256 << 10;

/// Functions that are compiled into one another.
const DEEPEST: usize = 64;

/// Steps from a function to where its name is.
const STEPS: usize = 16;

/// Bytes of a name or a path.
const LONGEST: usize = 1024;

type Program<'a> = IncompleteLineProgram<Slice<'a>>;

/// What is looked for in the debug information of one module, and what of it has been found.
pub(super) struct Search<'a> {
    dwarf: Dwarf<Slice<'a>>,
    /// Bytes from the beginning of the code.
    addresses: Vec<u64>,
    /// For each of them.
    chains: Vec<Chain>,
    until: Instant,
}

/// The functions at an address.
#[derive(Clone, Default)]
pub(super) struct Chain {
    /// Each is compiled into the one before.
    functions: Vec<Function>,
    line: Option<String>,
}

#[derive(Clone)]
struct Function {
    name: Option<String>,
    /// The line of the one before in which it is called.
    called: Option<String>,
}

impl Chain {
    /// The innermost first.
    pub fn places(self) -> Vec<Place> {
        let mut file = self.line;
        if self.functions.is_empty() && file.is_some() {
            let function = None;
            return vec![Place { function, file }];
        }
        let mut places = Vec::new();
        for Function { name, called } in self.functions.into_iter().rev() {
            let file = std::mem::replace(&mut file, called);
            let function = name;
            places.push(Place { function, file });
        }
        places
    }
}

/// What an entry of the debug information says of a function.
#[derive(Clone, Default)]
struct Entry<'a> {
    name: Option<AttributeValue<Slice<'a>>>,
    /// Where more is said of it.
    origin: Option<AttributeValue<Slice<'a>>>,
    low: Option<AttributeValue<Slice<'a>>>,
    high: Option<AttributeValue<Slice<'a>>>,
    ranges: Option<AttributeValue<Slice<'a>>>,
    /// Of where it is called.
    file: u64,
    line: u64,
}

impl<'a> Entry<'a> {
    fn note(&mut self, attribute: &Attribute<Slice<'a>>) {
        let value = attribute.value();
        let number = || match value {
            AttributeValue::FileIndex(index) => index,
            _ => value.udata_value().unwrap_or_default(),
        };
        match attribute.name() {
            // As the linker knows it, which says where it belongs.
            gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => self.name = Some(value),
            gimli::DW_AT_name => drop(self.name.get_or_insert(value)),
            gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => self.origin = Some(value),
            gimli::DW_AT_low_pc => self.low = Some(value),
            gimli::DW_AT_high_pc => self.high = Some(value),
            gimli::DW_AT_ranges => self.ranges = Some(value),
            gimli::DW_AT_call_file => self.file = number(),
            gimli::DW_AT_call_line => self.line = number(),
            _ => {}
        }
    }
}

impl<'a> Search<'a> {
    /// What there is at these addresses.
    pub fn of(dwarf: Dwarf<Slice<'a>>, addresses: Vec<u64>, until: Instant) -> Vec<Chain> {
        let mut search = Self {
            dwarf,
            chains: vec![Chain::default(); addresses.len()],
            addresses,
            until,
        };
        let mut headers = search.dwarf.units();
        while let Ok(Some(header)) = headers.next()
            && search.in_time().is_some()
        {
            // What cannot be read is passed over.
            let _ = search.unit(header);
        }
        search.chains
    }

    /// `None` when it has taken too long.
    fn in_time(&self) -> Option<()> {
        (Instant::now() < self.until).then_some(())
    }

    /// Which of the addresses are in a range.
    fn within(&self, range: Range<u64>) -> impl Iterator<Item = usize> {
        let addresses = self.addresses.iter().enumerate();
        let inside = addresses.filter(move |(_, address)| range.contains(address));
        inside.map(|(at, _)| at)
    }

    fn unit(&mut self, header: UnitHeader<Slice<'a>>) -> Option<()> {
        if !self.is_modest(&header)? {
            return None;
        }
        let unit = self.dwarf.unit(header).ok()?;
        let mut ranges = self.dwarf.unit_ranges(&unit).ok()?;
        loop {
            self.in_time()?;
            let range = ranges.next().ok()??;
            if self.within(range.begin..range.end).next().is_some() {
                break;
            }
        }
        self.functions(&unit);
        self.lines(&unit);
        Some(())
    }

    /// Whether the table of its files is of a size that compilers make. It is read whole, and each byte may take two hundred
    /// in memory.
    fn is_modest(&self, header: &UnitHeader<Slice<'a>>) -> Option<bool> {
        let abbreviations = self.dwarf.abbreviations(header).ok()?;
        let mut entries = header.entries_raw(&abbreviations, None).ok()?;
        let root = entries.read_abbreviation().ok()??;
        let mut modest = true;
        for attribute in root.attributes() {
            let attribute = entries.read_attribute(*attribute).ok()?;
            if let AttributeValue::DebugLineRef(offset) = attribute.value() {
                let mut lines = *self.dwarf.debug_line.reader();
                lines.skip(offset.0).ok()?;
                let (_, format) = lines.read_initial_length().ok()?;
                // Since the fifth version the sizes of addresses follow.
                let sizes = if lines.read_u16().ok()? >= 5 { 2 } else { 0 };
                lines.skip(sizes).ok()?;
                modest &= lines.read_length(format).ok()? <= FILES;
            }
        }
        Some(modest)
    }

    fn functions(&mut self, unit: &Unit<Slice<'a>>) -> Option<()> {
        let mut entries = unit.entries_raw(None).ok()?;
        while !entries.is_empty() {
            self.in_time()?;
            let Some(abbreviation) = entries.read_abbreviation().ok()? else {
                continue;
            };
            let inlined = abbreviation.tag() == gimli::DW_TAG_inlined_subroutine;
            if !inlined && abbreviation.tag() != gimli::DW_TAG_subprogram {
                entries.skip_attributes(abbreviation.attributes()).ok()?;
                continue;
            }
            let mut entry = Entry::default();
            for attribute in abbreviation.attributes() {
                entry.note(&entries.read_attribute(*attribute).ok()?);
            }
            for at in self.covered(unit, &entry)? {
                let depth = self.chains[at].functions.len();
                // One that is compiled into another comes after that.
                if (depth > 0) == inlined && depth < DEEPEST {
                    let program = unit.line_program.as_ref();
                    let called = |program: &Program<'a>| {
                        self.place(unit, program.header(), entry.file, entry.line)
                    };
                    let function = Function {
                        name: self.name(unit, &entry),
                        called: program.filter(|_| inlined).and_then(called),
                    };
                    self.chains[at].functions.push(function);
                }
            }
        }
        Some(())
    }

    /// Which of the addresses are in a function.
    fn covered(&self, unit: &Unit<Slice<'a>>, entry: &Entry<'a>) -> Option<Vec<usize>> {
        let mut covered = Vec::new();
        if let Some(ranges) = &entry.ranges {
            let mut ranges = self.dwarf.attr_ranges(unit, *ranges).ok()??;
            while let Some(range) = ranges.next().ok()? {
                self.in_time()?;
                covered.extend(self.within(range.begin..range.end));
            }
            covered.sort_unstable();
            covered.dedup();
        } else if let (Some(low), Some(high)) = (&entry.low, &entry.high) {
            let address = |value: &AttributeValue<_>| self.dwarf.attr_address(unit, *value);
            let low = address(low).ok()??;
            // An address, or how long it is.
            let length = || low.saturating_add(high.udata_value().unwrap_or_default());
            let high = address(high).ok()?.unwrap_or_else(length);
            covered.extend(self.within(low..high));
        }
        Some(covered)
    }

    fn name(&self, unit: &Unit<Slice<'a>>, entry: &Entry<'a>) -> Option<String> {
        let mut entry = entry.clone();
        let mut other = None;
        for _ in 0..STEPS {
            let there = other.as_ref().unwrap_or(unit);
            if let Some(name) = entry.name {
                return Some(demangled(&self.text(there, name)?));
            }
            let offset = match entry.origin? {
                AttributeValue::UnitRef(offset) => offset,
                AttributeValue::DebugInfoRef(offset) => {
                    let found = self.unit_of(offset)?;
                    let offset = offset.to_unit_offset(&found.header)?;
                    other = Some(found);
                    offset
                }
                _ => return None,
            };
            let there = other.as_ref().unwrap_or(unit).entry(offset).ok()?;
            entry = Entry::default();
            there.attrs().iter().for_each(|it| entry.note(it));
        }
        None
    }

    /// The unit that something of the debug information is in.
    fn unit_of(&self, offset: DebugInfoOffset) -> Option<Unit<Slice<'a>>> {
        let mut headers = self.dwarf.units();
        while let Some(header) = headers.next().ok()? {
            self.in_time()?;
            if offset.to_unit_offset(&header).is_some() {
                let modest = self.is_modest(&header)?;
                return modest.then(|| self.dwarf.unit(header).ok()).flatten();
            }
        }
        None
    }

    fn lines(&mut self, unit: &Unit<Slice<'a>>) -> Option<()> {
        let program = unit.line_program.clone()?;
        let mut instructions = program.header().instructions();
        while let Some(instruction) = instructions.next_instruction(program.header()).ok()? {
            self.in_time()?;
            // One more for that table, which no compiler makes.
            if matches!(instruction, LineInstruction::DefineFile(_)) {
                return None;
            }
        }
        let mut rows = program.rows();
        let mut before = None;
        while let Some((header, row)) = rows.next_row().ok()? {
            self.in_time()?;
            if let Some((start, file, line)) = before {
                let here: Vec<_> = self.within(start..row.address()).collect();
                for at in here {
                    self.chains[at].line = self.place(unit, header, file, line);
                }
            }
            let line = row.line().map_or(0, std::num::NonZeroU64::get);
            before = (!row.end_sequence()).then(|| (row.address(), row.file_index(), line));
        }
        Some(())
    }

    /// A file and its line.
    fn place(
        &self,
        unit: &Unit<Slice<'a>>,
        header: &LineProgramHeader<Slice<'a>>,
        file: u64,
        line: u64,
    ) -> Option<String> {
        let file = header.file(file)?;
        let mut path = self.text(unit, file.path_name())?;
        let folder = file.directory(header).and_then(|it| self.text(unit, it));
        for folder in folder.into_iter().chain(unit.comp_dir.map(short)) {
            if !path.starts_with('/') && !folder.is_empty() {
                path = format!("{folder}/{path}");
            }
        }
        let line = if line > 0 {
            format!(":{line}")
        } else {
            String::new()
        };
        Some(path + &line)
    }

    fn text(&self, unit: &Unit<Slice<'a>>, value: AttributeValue<Slice<'a>>) -> Option<String> {
        self.dwarf.attr_string(unit, value).ok().map(short)
    }
}

fn short(text: Slice<'_>) -> String {
    let bytes = text.slice();
    String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]).into_owned()
}

#[cfg(test)]
mod tests;
