//! The program in the images of these tests: a service that needs nothing but itself. It is compiled by the tests, and
//! linked so that an image of nothing else runs it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(code: i32) -> !;
}

const SIGTERM: i32 = 15;

/// The first process of a container gets no signal that it has not asked for.
extern "C" fn end(_: i32) {
    unsafe { _exit(0) }
}

fn var(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn main() {
    unsafe { signal(SIGTERM, end) };
    let words: Vec<String> = std::env::args().skip(1).collect();
    println!("{} of {} begins {words:?}", var("LINKFLOW_SERVICE"), var("LINKFLOW_RELEASE"));
    if let [word, code] = words.as_slice()
        && word == "end"
    {
        eprintln!("ends with {code}");
        std::process::exit(code.parse().unwrap());
    }
    if var("APP") == "crash" {
        eprintln!("broken on purpose");
        std::process::exit(1);
    }
    let port = var("PORT");
    if port.is_empty() {
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let bind = var("LINKFLOW_BIND");
    // A little late, so that whoever does not wait until it answers is found out.
    std::thread::sleep(Duration::from_millis(300));
    let listener = TcpListener::bind(format!("{bind}:{port}")).unwrap();
    println!("listens on {bind}:{port}");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || answer(stream));
    }
}

/// `/env/NAME` tells a variable, `/slow` takes 700 ms, all else tells the release.
fn answer(mut stream: TcpStream) {
    let mut head = [0; 2048];
    let Ok(length) = stream.read(&mut head) else { return };
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
    if path == "/slow" {
        std::thread::sleep(Duration::from_millis(700));
    }
    let body = match path.strip_prefix("/env/") {
        Some(name) => var(name),
        None => var("LINKFLOW_RELEASE"),
    };
    let head =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).ok();
}
