//! Strings as preview 1 hands them over, arguments and variables alike: a list of pointers into one
//! block of NUL-terminated bytes.

use std::sync::Arc;

use wasmtime_wasi::p1::types::{Errno, Error, Size};
use wiggle::{GuestMemory, GuestPtr};

/// A list of strings. What all instances of a trigger share is shared, not copied.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    shared: Arc<[String]>,
    own: Vec<String>,
}

impl Strings {
    /// `shared` only.
    pub fn new(shared: impl IntoIterator<Item = String>) -> Self {
        Self {
            shared: shared.into_iter().collect(),
            own: Vec::new(),
        }
    }

    /// Variables as `KEY=value`.
    pub fn of_variables(variables: &[(String, String)]) -> Self {
        Self::new(
            variables
                .iter()
                .map(|(key, value)| format!("{key}={value}")),
        )
    }

    /// The same with some more, which are this instance's own.
    #[must_use]
    pub fn with(&self, own: &[(String, String)]) -> Self {
        let own = own
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        Self {
            shared: self.shared.clone(),
            own,
        }
    }

    fn iter(&self) -> impl Iterator<Item = &String> {
        self.shared.iter().chain(&self.own)
    }

    /// How many strings there are, and how many bytes their block takes.
    pub(super) fn sizes(&self) -> Result<(Size, Size), Error> {
        let bytes: usize = self.iter().map(|s| s.len() + 1).sum();
        let count = u32::try_from(self.iter().count()).map_err(|_| Errno::Overflow)?;
        Ok((count, u32::try_from(bytes).map_err(|_| Errno::Overflow)?))
    }

    /// Writes the pointers to `list` and the block to `block`.
    pub(super) fn write(
        &self,
        memory: &mut GuestMemory<'_>,
        mut list: GuestPtr<GuestPtr<u8>>,
        mut block: GuestPtr<u8>,
    ) -> Result<(), Error> {
        for string in self.iter() {
            memory.write(list, block)?;
            list = list.add(1)?;
            let length = u32::try_from(string.len()).map_err(|_| Errno::Overflow)?;
            memory.copy_from_slice(string.as_bytes(), block.as_array(length))?;
            block = block.add(length)?;
            memory.write(block, 0)?;
            block = block.add(1)?;
        }
        Ok(())
    }
}
