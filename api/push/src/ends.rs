//! A fast check that a large file still begins with the bytes that were sent: both ends of these bytes
//! are compared instead of all of them, so that a push does not cost more for a longer session.
//!
//! The check misses a change between the ends of a file that also grew. Agents only append to their
//! sessions. Once a day, all bytes are compared.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::hash::{HashState, Hex};
use crate::walk::LocalStat;

/// The number of bytes at each end.
const END_BYTES: usize = 64 << 10;
/// Smaller beginnings are compared completely, because that takes only milliseconds.
const READ_MIN: u64 = 1 << 20;

/// The ends of the beginning of a file, and the state of a hash after all bytes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEnds {
    inode: u64,
    /// The hash of both ends.
    sha256: Hex,
    read_state: HashState,
}

impl FileEnds {
    /// The ends of the first bytes of a file, of which this is the hash. `None` if they are few, or if
    /// the file has changed since it was opened: the ends might not be those of the bytes that were
    /// hashed.
    pub fn of(file: &File, opened: LocalStat, read: u64, read_state: &HashState) -> Option<Self> {
        let sha256 = hash(file, read)?;
        let now = LocalStat::of(&file.metadata().ok()?);
        (now == opened).then(|| Self {
            inode: now.inode,
            sha256,
            read_state: read_state.clone(),
        })
    }

    /// The state of the hash after the first bytes, if the ends of these bytes are unchanged.
    pub fn state(&self, file: &File, read: u64) -> Option<&HashState> {
        let inode = LocalStat::of(&file.metadata().ok()?).inode;
        (inode == self.inode && hash(file, read)? == self.sha256).then_some(&self.read_state)
    }
}

/// The hash of both ends of the first bytes.
fn hash(file: &File, read: u64) -> Option<Hex> {
    let last = read
        .checked_sub(END_BYTES as u64)
        .filter(|_| read >= READ_MIN)?;
    let mut state = Sha256::new();
    let mut buffer = vec![0; END_BYTES];
    for at in [0, last] {
        file.read_exact_at(&mut buffer, at).ok()?;
        state.update(&buffer);
    }
    Some(Hex::of(&state))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn stat(file: &File) -> LocalStat {
        LocalStat::of(&file.metadata().unwrap())
    }

    #[test]
    fn the_ends_of_a_file_show_that_it_was_replaced_but_not_that_it_grew() {
        let read = READ_MIN + 17;
        let state = HashState(Sha256::new_with_prefix("all bytes"));
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'x'; usize::try_from(read).unwrap()])
            .unwrap();
        let opened = stat(&file);
        let ends = FileEnds::of(&file, opened, read, &state).unwrap();
        assert_eq!(ends.state(&file, read), Some(&state));
        file.write_all(b"more").unwrap();
        assert_eq!(ends.state(&file, read), Some(&state));
        assert_eq!(
            FileEnds::of(&file, opened, read, &state),
            None,
            "it changed"
        );
        for at in [0, END_BYTES as u64 - 1, read - END_BYTES as u64, read - 1] {
            file.write_all_at(b"y", at).unwrap();
            assert_eq!(ends.state(&file, read), None, "{at}");
            file.write_all_at(b"x", at).unwrap();
            assert_eq!(ends.state(&file, read), Some(&state), "{at}");
        }
        let mut copy = tempfile::tempfile().unwrap();
        copy.write_all(&vec![b'x'; usize::try_from(read).unwrap()])
            .unwrap();
        assert_eq!(ends.state(&copy, read), None, "another file");
        file.set_len(read - 1).unwrap();
        assert_eq!(ends.state(&file, read), None, "truncated");
        let small = FileEnds::of(&copy, stat(&copy), READ_MIN - 1, &state);
        assert_eq!(small, None, "small files are compared completely");
    }
}
