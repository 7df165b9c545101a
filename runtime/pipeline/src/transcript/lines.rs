//! Reads lines of a file from any offset, in bounded memory.
//!
//! It reads with `pread`, never `mmap`: if another process truncates a mapped file, the kernel
//! kills this one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use memchr::memchr;

/// Bytes per read.
const READ_BYTES: usize = 256 << 10;

/// One line, without its line break.
#[derive(Debug)]
pub(super) struct RawLine {
    /// The line, or its beginning if it is longer than the maximum.
    pub(super) bytes: Vec<u8>,
    /// The length of the whole line.
    pub(super) len: u64,
    /// Whether the line ends with a line break.
    pub(super) is_complete: bool,
}

impl RawLine {
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.len
    }
}

/// Reads the lines of a file in their order.
pub(super) struct LineReader<'f> {
    file: &'f File,
    /// The offset of the first byte that is not in `buffer` yet.
    read_to: u64,
    /// No byte from here on is read, even if the file has grown.
    end: u64,
    buffer: Vec<u8>,
    position: usize,
}

impl<'f> LineReader<'f> {
    pub(super) fn new(file: &'f File, offset: u64, end: u64) -> Self {
        Self {
            file,
            read_to: offset,
            end,
            buffer: Vec::new(),
            position: 0,
        }
    }

    /// The offset of the next line.
    pub(super) fn offset(&self) -> u64 {
        self.read_to - (self.buffer.len() - self.position) as u64
    }

    /// Continues at another offset, which must be the beginning of a line.
    pub(super) fn seek(&mut self, offset: u64) {
        self.read_to = offset;
        self.buffer.clear();
        self.position = 0;
    }

    /// The next line, of which at most `max` bytes are held. `None` at the end. A file that was
    /// truncated ends earlier.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn next(&mut self, max: usize) -> io::Result<Option<RawLine>> {
        let mut line = RawLine {
            bytes: Vec::new(),
            len: 0,
            is_complete: false,
        };
        loop {
            let rest = self.buffer.get(self.position..).unwrap_or_default();
            let newline = memchr(b'\n', rest);
            let part = rest
                .get(..newline.unwrap_or(rest.len()))
                .unwrap_or_default();
            let missing = max.saturating_sub(line.bytes.len()).min(part.len());
            line.bytes
                .extend_from_slice(part.get(..missing).unwrap_or_default());
            line.len += part.len() as u64;
            self.position += part.len();
            if newline.is_some() {
                self.position += 1;
                line.is_complete = true;
                return Ok(Some(line));
            }
            if !self.fill()? {
                return Ok((line.len > 0).then_some(line));
            }
        }
    }

    /// Skips lines.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<()> {
        for _ in 0..count {
            if self.next(0)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Reads the next bytes. Returns whether there were any.
    fn fill(&mut self) -> io::Result<bool> {
        let wanted = usize::try_from(self.end.saturating_sub(self.read_to)).unwrap_or(READ_BYTES);
        self.buffer.resize(wanted.min(READ_BYTES), 0);
        self.position = 0;
        let read = read_at(self.file, &mut self.buffer, self.read_to)?;
        self.buffer.truncate(read);
        self.read_to += read as u64;
        Ok(read > 0)
    }
}

/// Reads at an offset, and repeats interrupted reads. Returns fewer bytes only at the end.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_are_read_from_any_offset_and_long_ones_are_cut() {
        let mut file = tempfile::tempfile().unwrap();
        let long = "x".repeat(READ_BYTES + 10);
        write!(file, "one\n\n{long}\nlast").unwrap();
        let mut reader = LineReader::new(&file, 0, u64::MAX);
        let mut read = Vec::new();
        while let Some(line) = reader.next(5).unwrap() {
            read.push((
                line.bytes.len(),
                line.len,
                line.is_complete,
                reader.offset(),
            ));
        }
        let end = READ_BYTES as u64 + 10;
        let expected = [
            (3, 3, true, 4),
            (0, 0, true, 5),
            (5, end, true, end + 6),
            (4, 4, false, end + 10),
        ];
        assert_eq!(read, expected);
        reader.seek(4);
        reader.skip(2).unwrap();
        assert_eq!(reader.next(9).unwrap().unwrap().bytes, b"last");
        // The end is a limit even if the file is longer.
        let mut short = LineReader::new(&file, 0, 2);
        let line = short.next(9).unwrap().unwrap();
        assert_eq!((line.bytes, line.is_complete), (b"on".to_vec(), false));
    }
}
