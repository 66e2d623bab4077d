//! A folder: of a web server, of a mounted disk, or one that something else carries on.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use linkflow_model::role::{Files, Pages, Put};
use linkflow_model::{Fault, FaultKind, ProviderName};

/// Says which files of the folder were put there, a path on each line.
const LIST: &str = ".linkflow-page";

/// What people come to: it is written last.
const FIRST: &str = "index.html";

/// A folder.
pub struct Folder {
    path: PathBuf,
    name: String,
    provider: ProviderName,
}

/// Opens the folder `path`, which is made when it is first written to.
pub fn open(path: PathBuf, provider: &ProviderName) -> Folder {
    Folder { name: path.display().to_string(), path, provider: provider.clone() }
}

#[async_trait]
impl Pages for Folder {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, files: &Files) -> Result<Put, Fault> {
        let (path, files) = (self.path.clone(), files.clone());
        let done = tokio::task::spawn_blocking(move || put(&path, &files)).await;
        let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|error| Fault {
            kind: match error.kind() {
                ErrorKind::AlreadyExists => FaultKind::Conflict,
                ErrorKind::PermissionDenied => FaultKind::Denied,
                _ => FaultKind::Unreachable,
            },
            provider: self.provider.clone(),
            attempt: format!("put the status page into {}", self.name),
            said: error.to_string(),
        })
    }
}

fn put(folder: &Path, files: &Files) -> io::Result<Put> {
    fs::create_dir_all(folder)?;
    let list = folder.join(LIST);
    let held = match fs::read_to_string(&list) {
        Ok(text) => text.lines().map(str::to_owned).collect::<BTreeSet<String>>(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if folder.join(FIRST).exists() {
                let what = "it has an index.html that LinkFlow did not put there";
                return Err(io::Error::new(ErrorKind::AlreadyExists, what));
            }
            BTreeSet::new()
        }
        Err(error) => return Err(error),
    };
    let wanted: BTreeSet<String> = files.keys().cloned().collect();
    // Noted before anything is written: a put that is cut off leaves no file that nobody knows.
    if !wanted.is_subset(&held) {
        note(&list, &held.union(&wanted).cloned().collect())?;
    }
    let mut done = Put::default();
    let last = |path: &&String| path.ends_with(FIRST);
    let (late, early): (Vec<&String>, Vec<&String>) = files.keys().partition(last);
    for path in early.into_iter().chain(late) {
        let (at, bytes) = (folder.join(path), &files[path]);
        if fs::read(&at).is_ok_and(|there| there == *bytes) {
            continue;
        }
        if let Some(above) = at.parent() {
            fs::create_dir_all(above)?;
        }
        replace(&at, bytes)?;
        done.written += 1;
    }
    for path in held.difference(&wanted).filter(|path| stays_within(path)) {
        match fs::remove_file(folder.join(path)) {
            Ok(()) => done.removed += 1,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if held != wanted {
        note(&list, &wanted)?;
    }
    Ok(done)
}

/// Whether `path` leads to nothing outside: the list lies where others may write.
fn stays_within(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn note(list: &Path, paths: &BTreeSet<String>) -> io::Result<()> {
    let lines: String = paths.iter().map(|path| format!("{path}\n")).collect();
    replace(list, lines.as_bytes())
}

/// Replaces the file as a whole: whoever reads it has the old one or the new one. It is not forced to the disk: what a power
/// cut takes differs from what is wanted, and is written again.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    fs::write(&fresh, bytes)?;
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> Files {
        all.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn only_what_changed_is_written_and_what_is_gone_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("page");
        let first = files(&[("index.html", "a"), ("component/api.html", "b")]);
        assert_eq!(put(&folder, &first).unwrap(), Put { written: 2, removed: 0 });
        assert_eq!(put(&folder, &first).unwrap(), Put::default());
        fs::write(folder.join("CNAME"), "status.example").unwrap();
        let second = files(&[("index.html", "c")]);
        assert_eq!(put(&folder, &second).unwrap(), Put { written: 1, removed: 1 });
        assert_eq!(fs::read_to_string(folder.join("index.html")).unwrap(), "c");
        assert!(!folder.join("component/api.html").exists());
        assert!(folder.join("CNAME").exists(), "what others put there stays");
    }

    #[test]
    fn a_folder_that_shows_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("index.html"), "a shop").unwrap();
        let error = put(dir.path(), &files(&[("index.html", "a")])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(dir.path().join("index.html")).unwrap(), "a shop");
    }

    #[test]
    fn what_was_changed_there_is_put_right() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = files(&[("index.html", "a")]);
        put(dir.path(), &wanted).unwrap();
        fs::write(dir.path().join("index.html"), "defaced").unwrap();
        assert_eq!(put(dir.path(), &wanted).unwrap().written, 1);
        assert_eq!(fs::read_to_string(dir.path().join("index.html")).unwrap(), "a");
    }

    #[test]
    fn a_list_that_was_tampered_with_takes_nothing_away_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, other) = (dir.path().join("page"), dir.path().join("other"));
        put(&folder, &files(&[("index.html", "a")])).unwrap();
        fs::write(&other, "dear").unwrap();
        let lines = format!("../other\n{}\nindex.html\n", other.display());
        fs::write(folder.join(LIST), lines).unwrap();
        put(&folder, &files(&[("index.html", "b")])).unwrap();
        assert!(other.exists());
    }
}
