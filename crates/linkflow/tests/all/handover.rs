//! One `linkflow up` takes the place of another, and no visitor is turned away.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::rehearsed::{Stage, routed};

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn up(stage: &Stage, at: SocketAddr, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkflow"));
    command.current_dir(stage.folder()).env_clear().stdin(Stdio::null());
    command.args(["up", "--listen", &at.to_string(), "--cloud", &stage.control]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until it says that it serves.
fn serves(process: &mut Child) {
    let mut out = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("serving `shop`") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended");
    }
    // What it says later is read, so that it never waits for a reader.
    std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
}

/// Asks once, over a connection of its own: how it was answered.
fn ask(at: SocketAddr) -> Result<String, std::io::Error> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET /api/v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn visitors_do_not_notice_that_another_process_takes_over() {
    let stage = Stage::of(&routed("\"*\""));
    stage.expect(&["apply"], 0);
    let at = free();
    let mut first = up(&stage, at, &[]);
    serves(&mut first);
    while !matches!(ask(at).as_deref(), Ok("HTTP/1.1 200 OK")) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(SeqCst) {
                        let answer = ask(at);
                        asked.fetch_add(1, SeqCst);
                        assert!(matches!(answer.as_deref(), Ok("HTTP/1.1 200 OK")), "{answer:?}");
                    }
                })
            })
            .collect();
        let mut before = first;
        for _ in 0..3 {
            let mut next = up(&stage, at, &["--take-over"]);
            serves(&mut next);
            assert!(before.wait().unwrap().success(), "it ends by itself");
            before = next;
        }
        let served = asked.load(SeqCst);
        while asked.load(SeqCst) < served + 20
            && !visitors.iter().any(std::thread::ScopedJoinHandle::is_finished)
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, SeqCst);
        let joined: Vec<_> =
            visitors.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        before.kill().unwrap();
        before.wait().unwrap();
        assert!(joined.iter().all(Result::is_ok), "every request was answered");
    });
}

#[test]
fn nobody_is_taken_over_from_where_nobody_serves() {
    let stage = Stage::of(&routed("\"*\""));
    let said = stage.expect(&["up", "--take-over"], 2);
    assert!(said.err.contains("no `linkflow up` serves with this state folder"), "{}", said.err);
    assert!(said.err.contains("without `--take-over`"), "{}", said.err);
}
