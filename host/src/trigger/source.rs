//! The text of a trigger file, and the finding of lines and columns in it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A part of a [`Source`], in bytes.
pub type Span = Range<usize>;

/// The text of one trigger file.
#[derive(Debug)]
pub struct Source {
    name: String,
    folder: PathBuf,
    text: String,
    /// Where each line starts, in bytes.
    lines: Vec<usize>,
}

impl Source {
    /// `name` is how problems call the file; relative paths in it start at `folder`.
    pub fn new(
        name: impl Into<String>,
        folder: impl Into<PathBuf>,
        text: impl Into<String>,
    ) -> Arc<Self> {
        let text = text.into();
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0)
            .chain(ends.map(|(end, _)| end + 1))
            .collect();
        Arc::new(Self {
            name: name.into(),
            folder: folder.into(),
            text,
            lines,
        })
    }

    /// How problems call the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The text itself.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What relative paths in the file start at.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub(super) fn place(&self, byte: usize) -> (usize, usize) {
        let byte = self.text.floor_char_boundary(byte);
        let line = self.lines.partition_point(|start| *start <= byte);
        (
            line,
            self.text[self.lines[line - 1]..byte].chars().count() + 1,
        )
    }

    /// A line without its end, numbered from 1.
    pub(super) fn line(&self, number: usize) -> &str {
        let end = self
            .lines
            .get(number)
            .map_or(self.text.len(), |next| next - 1);
        let line = &self.text[self.lines[number - 1]..end];
        line.strip_suffix('\r').unwrap_or(line)
    }
}
