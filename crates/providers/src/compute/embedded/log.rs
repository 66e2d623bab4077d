//! What processes wrote: one file per service that they append to, and one older one, both of limited size.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::home::private;

/// How much is read at once from a file's end, in bytes.
const CHUNK: u64 = 64 << 10;

/// The log of one service.
pub(super) struct Log {
    /// The file that is written to.
    pub path: PathBuf,
    /// How long it may grow, in bytes, before it becomes the older one. It is looked at every now and then, so a fast
    /// writer gets further.
    pub cap: u64,
}

impl Log {
    /// The file, for a process to write to. Several may: each write goes to the end.
    pub(super) fn open(&self) -> io::Result<File> {
        private().append(true).create(true).open(&self.path)
    }

    /// Adds a line of our own.
    pub(super) fn note(&self, text: &str) -> io::Result<()> {
        self.open()?.write_all(format!("linkflow: {text}\n").as_bytes())
    }

    /// Moves what is written to the older file when it is too long.
    ///
    /// The processes keep the file open, so it is copied and cut rather than renamed. A line that is written in
    /// between the two is lost.
    pub(super) fn rotate(&self) -> io::Result<()> {
        let Ok(mut file) = private().read(true).write(true).open(&self.path) else { return Ok(()) };
        let length = file.metadata()?.len();
        if length <= self.cap {
            return Ok(());
        }
        let aside = self.path.with_extension("log.new");
        let mut kept = private().write(true).create(true).truncate(true).open(&aside)?;
        file.seek(SeekFrom::Start(length - self.cap))?;
        io::copy(&mut file, &mut kept)?;
        file.set_len(0)?;
        fs::rename(aside, self.older())
    }

    /// The last `count` lines, oldest first.
    pub(super) fn last(&self, count: usize) -> io::Result<Vec<String>> {
        let mut lines = last_lines(&self.path, count)?;
        let mut all = last_lines(&self.older(), count - lines.len())?;
        all.append(&mut lines);
        Ok(all.into())
    }

    /// Removes both files.
    pub(super) fn remove(&self) -> io::Result<()> {
        for path in [self.path.clone(), self.older()] {
            super::home::gone(fs::remove_file(path))?;
        }
        Ok(())
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("log.1")
    }
}

fn last_lines(path: &Path, count: usize) -> io::Result<VecDeque<String>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        opened => opened?,
    };
    let mut from = file.metadata()?.len();
    let mut bytes = Vec::new();
    // One line end more than lines, as the line before the first one wanted may be cut.
    while from > 0 && bytes.iter().filter(|byte| **byte == b'\n').count() <= count {
        let size = from.min(CHUNK);
        from -= size;
        let mut chunk = vec![0; usize::try_from(size).unwrap_or(0)];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut chunk)?;
        chunk.append(&mut bytes);
        bytes = chunk;
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: VecDeque<String> = text.lines().map(str::to_owned).collect();
    lines.drain(..lines.len().saturating_sub(count));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(folder: &tempfile::TempDir, cap: u64) -> Log {
        Log { path: folder.path().join("api.log"), cap }
    }

    #[test]
    fn the_last_lines_come_oldest_first_and_reach_into_the_older_file() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder, 10);
        assert_eq!(log.last(5).unwrap(), Vec::<String>::new());
        let mut file = log.open().unwrap();
        file.write_all(b"one\ntwo\nthree\n").unwrap();
        log.rotate().unwrap();
        file.write_all(b"four\nfive").unwrap();
        assert_eq!(log.last(1).unwrap(), ["five"]);
        assert_eq!(log.last(3).unwrap(), ["three", "four", "five"]);
        assert_eq!(log.last(0).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn neither_file_outgrows_its_cap_by_rotating() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder, 1000);
        let mut writer = log.open().unwrap();
        for number in 0..400 {
            writer.write_all(format!("line {number}\n").as_bytes()).unwrap();
            log.rotate().unwrap();
        }
        let size = |path| fs::metadata(path).unwrap().len();
        assert!(size(log.path.clone()) <= 1000 && size(log.older()) <= 1000);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(log.last(2).unwrap(), ["line 398", "line 399"]);
    }

    #[test]
    fn lines_longer_than_a_chunk_come_whole() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder, 1 << 30);
        let long = "é".repeat(100_000);
        log.open().unwrap().write_all(format!("first\n{long}\nlast\n").as_bytes()).unwrap();
        assert_eq!(log.last(2).unwrap(), [long.as_str(), "last"]);
    }
}
