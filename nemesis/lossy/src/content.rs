//! The bytes of one file: those on disk, and over them those that are not yet.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes at some places of a file, none of them twice.
#[derive(Debug, Default)]
pub(crate) struct Extents(BTreeMap<u64, Vec<u8>>);

impl Extents {
    /// Puts `bytes` at `offset`, over what was there.
    pub(crate) fn insert(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let before = self.0.range(..=offset).next_back();
        let (start, mut joined) = match before.map(|(start, old)| (*start, old.len() as u64)) {
            Some((start, length)) if start + length >= offset => {
                (start, self.0.remove(&start).expect("found in the line above"))
            }
            _ => (offset, Vec::new()),
        };
        let at = index(offset - start);
        if at + bytes.len() <= joined.len() {
            joined[at..at + bytes.len()].copy_from_slice(bytes);
        } else {
            joined.truncate(at);
            joined.extend_from_slice(bytes);
        }
        // What follows is partly or wholly under it.
        loop {
            let end = start + joined.len() as u64;
            let Some((&next, _)) = self.0.range(start..end).next() else { break };
            let follower = self.0.remove(&next).expect("found in the line above");
            if let Some(rest) = follower.get(index(end - next)..) {
                joined.extend_from_slice(rest);
            }
        }
        self.0.insert(start, joined);
    }

    /// Drops everything from `size` on.
    fn cut_off(&mut self, size: u64) {
        drop(self.0.split_off(&size));
        if let Some((start, last)) = self.0.iter_mut().next_back() {
            last.truncate(index(size - start));
        }
    }

    /// Copies what is there into `buffer`, which begins at `offset` of the file.
    fn copy_to(&self, offset: u64, buffer: &mut [u8]) {
        let end = offset + buffer.len() as u64;
        let before = self.0.range(..offset).next_back();
        for (&start, bytes) in before.into_iter().chain(self.0.range(offset..end)) {
            let (from, to) = (start.max(offset), (start + bytes.len() as u64).min(end));
            if from < to {
                let source = &bytes[index(from - start)..index(to - start)];
                buffer[index(from - offset)..index(to - offset)].copy_from_slice(source);
            }
        }
    }

    fn write_to(&self, file: &File) -> io::Result<()> {
        self.0.iter().try_for_each(|(offset, bytes)| file.write_all_at(bytes, *offset))
    }

    fn bytes(&self) -> u64 {
        self.0.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Behind the last byte.
    fn end(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(start, bytes)| start + bytes.len() as u64)
    }
}

fn index(distance: u64) -> usize {
    usize::try_from(distance).expect("it is within bytes that are in memory")
}

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// Where durable bytes are; not there yet while the file's creation is not.
    pub(crate) file: Option<Arc<File>>,
    /// So many of those count still: the rest was cut off since.
    visible: u64,
    size: u64,
    /// Its size on disk once the journal is committed.
    journaled_size: u64,
    /// The shortest that it was made since the journal was committed last.
    shortest: Option<u64>,
    /// Bytes that become durable with the journal.
    journaled: Extents,
    /// Bytes that become durable when the file is synced.
    unsynced: Extents,
    /// Bytes were written up to here before: to write there again needs no block.
    allocated: u64,
    /// It was cut to nothing since it was closed last: it is being replaced.
    replaced: bool,
}

impl Content {
    /// Of a file that is on disk.
    pub(crate) fn durable(file: Arc<File>, size: u64) -> Content {
        Content {
            file: Some(file),
            visible: size,
            size,
            journaled_size: size,
            allocated: size,
            ..Content::default()
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Up to `length` bytes from `offset` on: fewer at the end only.
    pub(crate) fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let length = (length as u64).min(self.size.saturating_sub(offset));
        let mut buffer = vec![0; index(length)];
        if let Some(file) = &self.file {
            let durable = index(length.min(self.visible.saturating_sub(offset)));
            match file.read_exact_at(&mut buffer[..durable], offset) {
                Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error),
                _ => {}
            }
        }
        self.journaled.copy_to(offset, &mut buffer);
        self.unsynced.copy_to(offset, &mut buffer);
        Ok(buffer)
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.unsynced.insert(offset, bytes);
        self.size = self.size.max(offset + bytes.len() as u64);
    }

    /// Cuts it off, or makes it longer with zeros. The journal knows.
    pub(crate) fn set_size(&mut self, size: u64) {
        self.replaced |= size == 0 && self.size > 0;
        self.visible = self.visible.min(size);
        self.journaled.cut_off(size);
        self.unsynced.cut_off(size);
        self.size = size;
        self.journaled_size = size;
        self.shortest = Some(self.shortest.map_or(size, |shortest| shortest.min(size)));
        self.allocated = self.allocated.min(size);
    }

    /// What was written goes with the journal from now on.
    pub(crate) fn attach_to_journal(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.unsynced.0) {
            self.journaled.insert(offset, &bytes);
        }
        self.journaled_size = self.size;
    }

    /// It is closed; whether it was being replaced.
    pub(crate) fn close(&mut self) -> bool {
        std::mem::take(&mut self.replaced)
    }

    /// Whether writing it to disk needs new blocks, and with them the journal.
    pub(crate) fn needs_blocks(&self) -> bool {
        self.unsynced.end() > self.allocated
    }

    /// The journal is being committed. Its creation is done.
    pub(crate) fn commit(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if let Some(shortest) = self.shortest {
            if shortest < file.metadata()?.len() {
                file.set_len(shortest)?;
            }
            file.set_len(self.journaled_size)?;
        }
        self.journaled.write_to(file)?;
        self.shortest = None;
        self.allocated = self.allocated.max(self.journaled.end());
        self.journaled = Extents::default();
        self.visible = self.journaled_size;
        Ok(())
    }

    /// What was written becomes durable. Nothing of it is in the journal any more that has to be first.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        self.unsynced.write_to(file)?;
        self.allocated = self.allocated.max(self.unsynced.end());
        self.unsynced = Extents::default();
        if self.shortest.is_none() && self.journaled.0.is_empty() {
            self.visible = self.size;
            self.journaled_size = self.size;
        }
        Ok(())
    }

    /// How many bytes are not durable; `None` if all is.
    pub(crate) fn pending(&self) -> Option<u64> {
        let bytes = self.journaled.bytes() + self.unsynced.bytes();
        (bytes > 0 || self.shortest.is_some()).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn extents_hold_what_was_put_there_last(
            puts in prop::collection::vec((0_u64..60, 0_usize..20, any::<u8>(), any::<bool>()), 0..40),
        ) {
            let (mut extents, mut model) = (Extents::default(), vec![None; 100]);
            for (offset, length, byte, cut) in puts {
                if cut {
                    extents.cut_off(offset);
                    model[index(offset)..].fill(None);
                } else {
                    extents.insert(offset, &vec![byte; length]);
                    model[index(offset)..][..length].fill(Some(byte));
                }
                let there = model.iter().filter(|byte| byte.is_some()).count();
                prop_assert_eq!(extents.bytes(), there as u64);
                for (begin, end) in [(0, 100), (17, 43), (50, 51)] {
                    let mut buffer = vec![0; end - begin];
                    extents.copy_to(begin as u64, &mut buffer);
                    let wanted: Vec<u8> = model[begin..end].iter().map(|byte| byte.unwrap_or(0)).collect();
                    prop_assert_eq!(buffer, wanted);
                }
            }
        }
    }
}
