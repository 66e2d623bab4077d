//! An sshd of a test's own: Debian's, on a free port, with keys made for it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Whoever logs in is nobody, who may write where everybody may.
const AS_NOBODY: &str = "ForceCommand setpriv --reuid 65534 --regid 65534 --clear-groups sh -c \"$SSH_ORIGINAL_COMMAND\"\n";

/// An sshd. Everything of it ends when this is dropped, and also when the test is killed.
pub(crate) struct Sshd {
    keeper: Mutex<Keeper>,
    /// What is its own: its key at `host`, and a disk at `disk`.
    pub(crate) folder: PathBuf,
    /// Where it listens, on this machine.
    pub(crate) port: u16,
}

/// A shell that keeps what a test needs, and ends it when it is dropped, and also when the test is killed: its script ends with
/// its stdin.
pub(crate) struct Keeper {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Sshd {
    /// One that root logs into, or nobody where `nobody` says so, beside a disk of `size`; `None` after a word on why there can
    /// be none here.
    pub(crate) fn start(nobody: bool, size: &str) -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        if !is_root || !Path::new("/usr/sbin/sshd").exists() {
            println!("skipped: it takes root, and sshd");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("lfssh{}x{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        configure(&folder, port, if nobody { AS_NOBODY } else { "" });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/tests/pages/sshd.sh");
        let keeper = Keeper::start(&script, &[folder.to_str().unwrap(), size]).unwrap();
        Some(Self { keeper: Mutex::new(keeper), folder, port })
    }

    /// Has the keeper do `start`, `stop` or `cut`.
    pub(crate) fn tell(&self, word: &str) {
        self.keeper.lock().unwrap().tell(word).unwrap();
    }

    /// The private key that may log in.
    pub(crate) fn key(&self) -> String {
        std::fs::read_to_string(self.folder.join("client")).unwrap()
    }

    /// The fingerprint of its own key.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(&self.folder.join("host"))
    }
}

impl Keeper {
    /// Starts `script`, which says `ok` once everything is there.
    pub(crate) fn start(script: &Path, arguments: &[&str]) -> Result<Self, String> {
        let child = Command::new("sh")
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut keeper = Self { child, stdin, stdout };
        keeper.answer()?;
        Ok(keeper)
    }

    /// Has it do one of its functions.
    pub(crate) fn tell(&mut self, word: &str) -> Result<(), String> {
        writeln!(self.stdin.as_mut().unwrap(), "{word}").map_err(|error| error.to_string())?;
        self.answer()
    }

    fn answer(&mut self) -> Result<(), String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).map_err(|error| error.to_string())?;
        if line.trim() == "ok" { Ok(()) } else { Err(line) }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stdin = None;
        self.child.wait().ok();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Makes the keys of an sshd at `port`, and of whoever may log in, and writes what it reads; `more` at its end.
pub(crate) fn configure(folder: &Path, port: u16, more: &str) {
    key(&folder.join("host"));
    key(&folder.join("client"));
    let at = folder.display();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/client.pub\nPidFile none\n\
         StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n\
         MaxStartups 100\n{more}"
    );
    std::fs::write(folder.join("sshd_config"), config).unwrap();
}

/// The fingerprint of the key at `file`.
pub(crate) fn fingerprint(file: &Path) -> String {
    let said = Command::new("ssh-keygen").arg("-lf").arg(file).output().unwrap();
    String::from_utf8(said.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
}

/// Makes a key, at `file`.
pub(crate) fn key(file: &Path) {
    let words = ["-q", "-t", "ed25519", "-N", "", "-f"];
    assert!(Command::new("ssh-keygen").args(words).arg(file).status().unwrap().success());
}
