//! Stories of the search by itself, with debug information that is written by hand, and with what becomes of it.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{Frame, Module};
use super::*;

/// Those of a function `main` of 128 bytes, into which `inner` is compiled.
fn sections() -> Vec<(&'static str, Vec<u8>)> {
    let abbreviations = [
        &[
            1, 0x11, 1, 0x10, 0x17, 0x11, 0x01, 0x12, 0x06, 0x03, 0x08, 0, 0,
        ][..],
        &[2, 0x2e, 1, 0x11, 0x01, 0x12, 0x06, 0x6e, 0x08, 0, 0],
        &[
            3, 0x1d, 0, 0x31, 0x13, 0x55, 0x17, 0x58, 0x0b, 0x59, 0x0b, 0, 0,
        ],
        &[4, 0x2e, 0, 0x03, 0x08, 0, 0, 0],
    ];
    let unit = [
        &[4, 0, 0, 0, 0, 0, 4][..],
        &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0],
        b"a.c\0",
        // 28 bytes after the beginning.
        &[4],
        b"inner\0",
        &[2, 0, 0, 0, 0, 128, 0, 0, 0],
        b"_RNvCs1234_7mycrate4main\0",
        &[3, 28, 0, 0, 0, 0, 0, 0, 0, 1, 7],
        &[0, 0],
    ];
    let header = [
        &[1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1][..],
        b"src\0\0a.c\0",
        &[1, 0, 0, 0],
    ]
    .concat();
    // From address 0: the fifth line, and the end of it 128 bytes further on.
    let program = [0, 5, 2, 0, 0, 0, 0, 3, 4, 1, 2, 0x80, 1, 1, 0, 1, 1];
    let length = |of: usize| u32::try_from(of).unwrap().to_le_bytes();
    let lines = [
        &length(header.len() + program.len() + 6)[..],
        &[4, 0],
        &length(header.len()),
        &header,
        &program,
    ];
    let unit = unit.concat();
    vec![
        (".debug_abbrev", abbreviations.concat()),
        (".debug_info", [&length(unit.len())[..], &unit].concat()),
        (".debug_line", lines.concat()),
        (
            ".debug_ranges",
            [[0, 0, 0, 0, 16, 0, 0, 0], [0; 8]].concat(),
        ),
    ]
}

fn found(sections: &[(&str, Vec<u8>)], addresses: &[u64]) -> Vec<Vec<Place>> {
    let sections = sections.iter().map(|(name, bytes)| (*name, &**bytes));
    let module = Module {
        code: 0..4096,
        sections: sections.collect::<HashMap<_, _>>(),
    };
    let until = Instant::now() + Duration::from_secs(1);
    let chains = Search::of(module.dwarf(), addresses.to_vec(), until);
    chains.into_iter().map(Chain::places).collect()
}

#[test]
fn what_is_compiled_into_another_comes_first_and_each_has_its_line() {
    let frame = Frame {
        name: "unknown".to_owned(),
        offset: None,
    };
    let shown = found(&sections(), &[5, 64, 4000])
        .into_iter()
        .map(|places| {
            let words = places.iter().map(|place| place.in_words(&frame));
            words.collect::<Vec<_>>()
        });
    let shown: Vec<_> = shown.collect();
    let main = "mycrate::main at src/a.c";
    assert_eq!(
        shown[0],
        ["inner at src/a.c:5".to_owned(), format!("{main}:7")]
    );
    assert_eq!(shown[1], [format!("{main}:5")]);
    assert!(shown[2].is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn whatever_the_information_says_the_search_comes_to_an_end(
        changes in prop::collection::vec((0..4_usize, any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut: Option<(prop::sample::Index, prop::sample::Index)>,
    ) {
        let mut sections = sections();
        for (section, at, byte) in changes {
            let bytes = &mut sections[section].1;
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some((section, at)) = cut {
            let bytes = &mut sections[section.index(4)].1;
            bytes.truncate(at.index(bytes.len()));
        }
        for places in found(&sections, &[0, 5, 64, 127, 4000]) {
            prop_assert!(places.len() <= DEEPEST);
        }
    }
}
