//! One compiled guest as it lies on disk: a header that says what it was made from and for, and a
//! digest of what follows. Whatever does not agree with its header, to the last byte, is no entry.

use std::fmt::{self, Display, Formatter};

use crate::wasm::Digest;

/// What an entry begins with. A change of the form changes the last byte.
const MAGIC: [u8; 16] = *b"portcullis\0code\x01";

/// Magic, key, length and digest of the code.
pub(super) const HEADER: usize = 16 + 32 + 8 + 32;

/// The largest entry: about six times what a Python guest takes.
pub(super) const LARGEST: u64 = 512 << 20;

/// What decides whether compiled code is right: the guest, the engine with its settings and versions,
/// and this host's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of the guest with this digest, for engines of this kind.
    pub fn new(guest: &Digest, engine: &Digest) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(concat!(
            "portcullis ",
            env!("CARGO_PKG_VERSION"),
            " compiled guest"
        ));
        hasher.update(guest.as_bytes());
        hasher.update(engine.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The name of its entry.
    pub fn name(&self) -> String {
        super::sweep::name(self)
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The header of `code`.
pub(super) fn header(key: &Key, code: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..16].copy_from_slice(&MAGIC);
    header[16..48].copy_from_slice(&key.0);
    header[48..56].copy_from_slice(&(code.len() as u64).to_le_bytes());
    header[56..].copy_from_slice(blake3::hash(code).as_bytes());
    header
}

/// The code in `bytes`, when they are the entry with this key.
///
/// # Errors
/// What is wrong with them.
pub(super) fn code<'a>(bytes: &'a [u8], key: &Key) -> Result<&'a [u8], &'static str> {
    let (header, code) = bytes
        .split_first_chunk::<HEADER>()
        .ok_or("it is too short")?;
    if header[..16] != MAGIC {
        return Err("it is no compiled guest of this version");
    }
    if header[16..48] != key.0 {
        return Err("it is that of another guest or engine");
    }
    if header[48..56] != (code.len() as u64).to_le_bytes() {
        return Err("it is not whole");
    }
    // Digests are compared as such: in constant time, which does no harm here.
    if blake3::hash(code) != blake3::Hash::from_slice(&header[56..]).map_err(|_| "no digest")? {
        return Err("it is not what was written");
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> Key {
        Key::new(&blake3::hash(name.as_bytes()), &blake3::hash(b"engine"))
    }

    fn entry(key: &Key, content: &[u8]) -> Vec<u8> {
        [&header(key, content)[..], content].concat()
    }

    #[test]
    fn a_key_tells_guests_and_engines_apart() {
        let (a, b) = (blake3::hash(b"a"), blake3::hash(b"b"));
        assert_ne!(Key::new(&a, &b), Key::new(&b, &a));
        assert_ne!(Key::new(&a, &a), Key::new(&a, &b));
        assert_eq!(Key::new(&a, &b).to_string().len(), 64);
    }

    #[test]
    fn the_entry_of_another_guest_is_none_of_this() {
        let other = entry(&key("other"), b"code");
        assert_eq!(code(&other, &key("other")), Ok(&b"code"[..]));
        code(&other, &key("this")).unwrap_err();
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(content: Vec<u8>) {
            let entry = entry(&key("this"), &content);
            prop_assert_eq!(code(&entry, &key("this")), Ok(&content[..]));
        }

        #[test]
        fn a_byte_that_is_changed_anywhere_is_noticed(
            content: Vec<u8>, at: prop::sample::Index, flip in 1..=255u8,
        ) {
            let mut entry = entry(&key("this"), &content);
            let at = at.index(entry.len());
            entry[at] ^= flip;
            prop_assert!(code(&entry, &key("this")).is_err());
        }

        #[test]
        fn an_end_that_is_missing_or_too_much_is_noticed(
            content: Vec<u8>, at: prop::sample::Index, more in prop::collection::vec(any::<u8>(), 1..9),
        ) {
            let entry = entry(&key("this"), &content);
            prop_assert!(code(&entry[..at.index(entry.len())], &key("this")).is_err());
            prop_assert!(code(&[entry, more].concat(), &key("this")).is_err());
        }

        #[test]
        fn no_bytes_at_all_are_taken_for_an_entry(bytes: Vec<u8>, header in any::<bool>()) {
            let start = if header { &MAGIC[..] } else { &[] };
            prop_assert!(code(&[start, &bytes].concat(), &key("this")).is_err());
        }
    }
}
