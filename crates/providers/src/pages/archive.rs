//! Files in one piece, as `tar -xz` takes them.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

/// The bytes of a block; every file fills whole ones.
const BLOCK: usize = 512;

/// Packs `files`, each a name of at most 100 bytes and its content, which everybody may read.
///
/// The format is `ustar` of POSIX.1-1988, gzipped: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>
///
/// # Errors
/// When a name is longer, or a file larger than 8 GiB.
pub(super) fn pack(files: &[(String, &[u8])]) -> io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    for (name, bytes) in files {
        out.write_all(&header(name, bytes.len())?)?;
        out.write_all(bytes)?;
        let rest = bytes.len().next_multiple_of(BLOCK) - bytes.len();
        out.write_all(&[0; BLOCK][..rest])?;
    }
    out.write_all(&[0; 2 * BLOCK])?;
    out.finish()
}

/// The block before a file.
fn header(name: &str, size: usize) -> io::Result<[u8; BLOCK]> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{name}: {what}"));
    if name.len() > 100 {
        return Err(wrong("its name is too long for an archive"));
    }
    if size >= 1 << 33 {
        return Err(wrong("it is too large for an archive"));
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name);
    // Mode, owner, group, size and time; the sum counts as spaces while it is taken; then the type and the format.
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        0");
    put(257, "ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_takes_it_out_again() {
        let dir = tempfile::tempdir().unwrap();
        let large = vec![b'x'; 3 * BLOCK];
        let files = [
            ("0".to_owned(), &b"\x00\xffa\n"[..]),
            ("1".to_owned(), &large),
            ("2".to_owned(), b""),
        ];
        let packed = pack(&files).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["-xzpof", "-", "-C"]).arg(dir.path()).stdin(Stdio::piped());
        let mut tar = tar.spawn().unwrap();
        tar.stdin.take().unwrap().write_all(&packed).unwrap();
        assert!(tar.wait().unwrap().success());
        for (name, bytes) in files {
            assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), bytes);
        }
    }

    #[test]
    fn what_no_archive_can_hold_is_refused() {
        let why = pack(&[("x".repeat(101), b"")]).unwrap_err().to_string();
        assert!(why.contains("too long"), "{why}");
    }
}
