//! Redis: `AUTH` where the address has a password, then `PING`.

use linkflow_model::Secret;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use super::Bad;
use super::clock::{Phase, Stopwatch};
use super::dial::Dialer;
use crate::target::{Authority, Trust};

/// The longest line that is read.
const LINE_MOST: u64 = 4 << 10;

/// An address such as `rediss://user:password@host:6379/0`, taken apart.
struct Address {
    tls: bool,
    user: String,
    password: String,
    at: Authority,
}

pub(super) async fn look(dialer: &Dialer, url: &Secret, watch: &Stopwatch) -> Result<(), Bad> {
    let address = parse(url.expose())?;
    if address.tls {
        let stream = dialer.tls(&address.at, None, &[], Trust::Machine, watch).await?;
        talk(stream, &address, watch).await
    } else {
        talk(dialer.tcp(&address.at, watch).await?, &address, watch).await
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: &Address,
    watch: &Stopwatch,
) -> Result<(), Bad> {
    let mut stream = BufReader::new(stream);
    let work = async {
        if !address.password.is_empty() {
            let mut words = vec!["AUTH"];
            words.extend(Some(address.user.as_str()).filter(|user| !user.is_empty()));
            words.push(&address.password);
            say(&mut stream, &words).await?;
            match line(&mut stream).await?.as_str() {
                "+OK" => {}
                error => return Err(refused(error)),
            }
        }
        say(&mut stream, &["PING"]).await?;
        match line(&mut stream).await?.as_str() {
            "+PONG" => Ok(()),
            error if error.starts_with('-') => Err(refused(error)),
            _ => Err(Bad::wrong("it does not answer as Redis does")),
        }
    };
    watch.during(Phase::First, work).await
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), words: &[&str]) -> Result<(), Bad> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(text.as_bytes()).await.map_err(cut)?;
    stream.flush().await.map_err(cut)
}

async fn line(stream: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Result<String, Bad> {
    let mut read = Vec::new();
    let mut stream = tokio::io::AsyncReadExt::take(stream, LINE_MOST);
    stream.read_until(b'\n', &mut read).await.map_err(cut)?;
    if read.is_empty() {
        return Err(Bad::silent("it closed the connection without an answer"));
    }
    Ok(String::from_utf8_lossy(&read).trim_end().to_owned())
}

fn cut(error: std::io::Error) -> Bad {
    Bad::silent(format!("its answer broke off: {error}"))
}

/// Errors repeat no password: `-WRONGPASS invalid username-password pair`, `-NOAUTH Authentication required.`
fn refused(error: &str) -> Bad {
    let said = error.trim_start_matches('-');
    match said.split(' ').next().unwrap_or_default() {
        "WRONGPASS" => Bad::wrong("it does not take the user and password"),
        "NOAUTH" => Bad::wrong("it wants a password, and its address has none"),
        "LOADING" => Bad::wrong("it is still loading its data"),
        _ => Bad::wrong(format!("it says: {}", said.chars().take(120).collect::<String>())),
    }
}

fn parse(url: &str) -> Result<Address, Bad> {
    let wrong = || Bad::wrong("its address is not like `redis://user:password@host:6379`");
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let tls = match scheme {
        "redis" => false,
        "rediss" => true,
        _ => return Err(wrong()),
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or(("", login));
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (place, 6_379),
    };
    if host.is_empty() {
        return Err(wrong());
    }
    let at = Authority { host: host.to_owned(), port };
    Ok(Address { tls, user: plain(user), password: plain(password), at })
}

/// `text` with its `%20` and the like as the characters that they stand for.
fn plain(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let seen = |url: &str| {
            let a = parse(url).unwrap();
            format!("{} {}|{}|{}:{}", a.tls, a.user, a.password, a.at.host, a.at.port)
        };
        assert_eq!(
            seen("redis://cache.example"),
            "false |||cache.example:6379".replacen("|||", "||", 1)
        );
        assert_eq!(seen("rediss://u:p%40ss@c.example:6380/0"), "true u|p@ss|c.example:6380");
        assert_eq!(seen("redis://:secret@[::1]:7000"), "false |secret|[::1]:7000");
        for wrong in ["cache.example", "http://x", "redis://", "redis://h:port"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
