//! Listening sockets that go from one `up` to the next, so that no visitor meets a closed door while the program is
//! replaced.
//!
//! Whoever serves offers its sockets at `up.sock` in the state folder. The next one asks for them, serves at the same
//! sockets, and says so; only then the first one stops accepting, and finishes what it has under way. Should the next one
//! die before that, nothing has changed.

use std::fs;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linkflow_engine::{Stop, Tasks};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use super::socket::{SocketFile, reached};

/// As many sockets as one message can carry (`SCM_MAX_FD` of unix(7)).
const MOST: usize = 253;
/// How long either may take for one line.
const LINE: Duration = Duration::from_secs(60);
/// The socket in the state folder.
const SOCKET: &str = "up.sock";
/// The same, before it is in its place.
const FRESH: &str = "up.sock.new";
/// What the next one says once it serves.
const SERVING: &str = "serving\n";

/// The one before, which goes on until [`Handed::serving`].
pub(crate) struct Handed(UnixStream);

/// Asks whoever serves for the state folder `state` for its sockets. `None`: nobody does.
///
/// # Errors
/// When it does not give them.
pub(crate) fn ask(state: &Path) -> io::Result<Option<(Handed, Vec<TcpListener>)>> {
    let (path, _held) = reached(state, SOCKET)?;
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(LINE))?;
    let (announced, sockets) = receive(&stream)?;
    if announced != sockets.len() {
        let why = format!("{announced} sockets were announced, {} came", sockets.len());
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    Ok(Some((Handed(stream), sockets.into_iter().map(TcpListener::from).collect())))
}

impl Handed {
    /// Tells the one before that its sockets are served now, and waits until it has heard.
    ///
    /// # Errors
    /// When it is not there any more.
    fn serving(mut self) -> io::Result<()> {
        self.0.write_all(SERVING.as_bytes())?;
        self.0.read_exact(&mut [0])
    }
}

/// How many sockets were announced, and those that came.
fn receive(stream: &UnixStream) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut text = [0_u8; 32];
    let mut room = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let got =
        recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(held) = message {
            sockets.extend(held);
        }
    }
    let announced = std::str::from_utf8(&text[..got.bytes]).ok();
    let announced = announced.and_then(|text| text.trim_end().parse().ok());
    let announced = announced.ok_or_else(|| {
        io::Error::new(ErrorKind::InvalidData, "whoever is there does not offer sockets")
    })?;
    Ok((announced, sockets))
}

fn send(stream: impl AsFd, sockets: &[OwnedFd]) -> io::Result<()> {
    let held: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    let mut room = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    if held.len() > MOST || !control.push(SendAncillaryMessage::ScmRights(&held)) {
        return Err(io::Error::other(format!("{} sockets are too many at once", held.len())));
    }
    let text = format!("{}\n", held.len());
    sendmsg(stream, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Who served before a process that serves, and what the next one is to have.
pub(crate) struct Succession {
    /// The state folder.
    pub(crate) state: PathBuf,
    /// From the one before.
    pub(crate) handed: Option<Handed>,
    /// For the next one.
    pub(crate) sockets: Vec<OwnedFd>,
}

impl Succession {
    /// Lets the one before end, if there is one, and offers the sockets to the next one, in a task of `tasks`. What is
    /// given back tells that it serves.
    ///
    /// # Errors
    /// When nothing can be offered.
    pub(crate) async fn begin(self, tasks: &Tasks) -> io::Result<Arc<Notify>> {
        let offer = Offer::open(&self.state, self.sockets)?;
        let taken = Arc::new(Notify::new());
        tasks.start("handover", |stop| offer.taken(stop, Arc::clone(&taken)));
        if let Some(handed) = self.handed {
            let told = tokio::task::spawn_blocking(|| handed.serving()).await;
            if let Err(error) = told.map_err(io::Error::other).flatten() {
                warn!(%error, "the one before has ended by itself");
            }
        }
        Ok(taken)
    }
}

/// Sockets on offer.
struct Offer {
    listener: UnixListener,
    file: SocketFile,
    sockets: Arc<Vec<OwnedFd>>,
}

impl Offer {
    /// Offers `sockets` to the next one that serves for the state folder `state`, in place of whoever offers there now.
    ///
    /// # Errors
    /// When nothing can be listened on there.
    fn open(state: &Path, sockets: Vec<OwnedFd>) -> io::Result<Self> {
        match fs::remove_file(state.join(FRESH)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (fresh, _held) = reached(state, FRESH)?;
        let listener = UnixListener::bind(fresh)?;
        fs::rename(state.join(FRESH), state.join(SOCKET))?;
        listener.set_nonblocking(true)?;
        let file = SocketFile::at(state.join(SOCKET))?;
        Ok(Self { listener, file, sockets: Arc::new(sockets) })
    }

    /// Waits until another one serves in place of this one, or `stop`.
    async fn taken(self, stop: Stop, taken: Arc<Notify>) {
        let Ok(listener) = tokio::net::UnixListener::from_std(self.listener) else { return };
        // Whoever asks and says nothing keeps neither another one from asking nor this process from ending.
        let mut asked = JoinSet::new();
        while let Some(Ok((stream, _))) = stop.or(listener.accept()).await {
            let (sockets, taken) = (Arc::clone(&self.sockets), Arc::clone(&taken));
            asked.spawn(async move {
                match hand(stream, &sockets).await {
                    Ok(true) => taken.notify_one(),
                    Ok(false) => info!("another process asked for the sockets, and did not serve"),
                    Err(error) => warn!(%error, "the sockets were not handed over"),
                }
            });
        }
        drop(self.file);
    }
}

/// Hands the sockets over. Says whether they are served by the other one now.
async fn hand(mut stream: tokio::net::UnixStream, sockets: &[OwnedFd]) -> io::Result<bool> {
    send(&stream, sockets)?;
    let mut said = Vec::new();
    let most = u64::try_from(SERVING.len()).unwrap_or(u64::MAX);
    timeout(LINE, (&mut stream).take(most).read_to_end(&mut said)).await??;
    let serves = said == SERVING.as_bytes();
    if serves {
        stream.write_all(b"\n").await?;
    }
    Ok(serves)
}

#[cfg(test)]
mod tests {
    use linkflow_engine::Tasks;

    use super::*;

    fn listening() -> (TcpListener, Vec<OwnedFd>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let held = listener.try_clone().unwrap().into();
        (listener, vec![held])
    }

    /// The sockets on offer in `folder`, and what tells that they were taken.
    fn offered(folder: &Path, sockets: Vec<OwnedFd>) -> (Tasks, Arc<Notify>) {
        let (tasks, taken) = (Tasks::default(), Arc::new(Notify::new()));
        let offer = Offer::open(folder, sockets).unwrap();
        tasks.start("offer", |stop| offer.taken(stop, Arc::clone(&taken)));
        (tasks, taken)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_next_one_accepts_what_came_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (own, sockets) = listening();
        let address = own.local_addr().unwrap();
        let (tasks, taken) = offered(folder.path(), sockets);
        let state = folder.path().to_owned();
        let asked = tokio::task::spawn_blocking(move || ask(&state)).await.unwrap();
        let (handed, sockets) = asked.unwrap().unwrap();
        assert_eq!(sockets[0].local_addr().unwrap(), address);
        // It waits in the socket's queue while the one before closes its own.
        let mut client = std::net::TcpStream::connect(address).unwrap();
        drop(own);
        let next = sockets[0].try_clone().unwrap();
        tokio::task::spawn_blocking(|| handed.serving()).await.unwrap().unwrap();
        timeout(LINE, taken.notified()).await.unwrap();
        tasks.shut_down(Duration::from_secs(5)).await;
        client.write_all(b"x").unwrap();
        let (mut accepted, _) = next.accept().unwrap();
        accepted.read_exact(&mut [0]).unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_one_before_goes_on_when_the_next_one_dies_first() {
        let folder = tempfile::tempdir().unwrap();
        let (_own, sockets) = listening();
        let (tasks, taken) = offered(folder.path(), sockets);
        for _ in 0..3 {
            let state = folder.path().to_owned();
            let asked = tokio::task::spawn_blocking(move || ask(&state)).await.unwrap();
            drop(asked.unwrap().unwrap());
        }
        tasks.shut_down(Duration::from_secs(5)).await;
        assert!(timeout(Duration::ZERO, taken.notified()).await.is_err(), "nobody serves");
    }

    #[test]
    fn where_nobody_serves_nobody_answers() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ask(folder.path()).unwrap().is_none());
        let offer = || Offer::open(folder.path(), listening().1).unwrap();
        let (before, next) = (offer(), offer());
        drop(before);
        assert!(folder.path().join(SOCKET).exists(), "it is the next one's");
        drop(next);
        assert!(ask(folder.path()).unwrap().is_none(), "it has ended");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn whoever_speaks_otherwise_is_told_from_one_that_serves() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let other = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"hello\n"));
        let error = ask(folder.path()).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "whoever is there does not offer sockets");
        other.join().unwrap().unwrap();
    }
}
