//! Names: one question to one server, or to the machine's own, with the answer as it was given.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::Bad;
use super::clock::{Phase, Stopwatch};
use crate::target::{DnsRecord, DnsTarget};

/// Where the machine's resolvers are named.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The largest answer over UDP that we ask for.
const UDP_MOST: u16 = 1_232;

pub(super) async fn look(target: &DnsTarget, watch: &Stopwatch) -> Result<(), Bad> {
    let server = match target.server {
        Some(server) => server,
        None => own_resolver().await?,
    };
    watch.at(server);
    let question = question(&target.name, target.record)?;
    let answer = watch.during(Phase::First, ask(server, &question)).await?;
    judge(target, &answer)
}

async fn own_resolver() -> Result<SocketAddr, Bad> {
    let text = tokio::fs::read_to_string(RESOLV_CONF).await;
    let text = text.map_err(|error| Bad::wrong(format!("{RESOLV_CONF}: {error}")))?;
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let first = servers.filter_map(|server| server.trim().parse::<IpAddr>().ok()).next();
    let first = first.ok_or_else(|| Bad::wrong(format!("{RESOLV_CONF} names no server")))?;
    Ok(SocketAddr::new(first, 53))
}

/// Asks over UDP, and over TCP when the answer was cut short.
async fn ask(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>, Bad> {
    let lost = |error: std::io::Error| Bad::silent(format!("no answer from {server}: {error}"));
    let own: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await.map_err(lost)?;
    socket.connect(server).await.map_err(lost)?;
    socket.send(question).await.map_err(lost)?;
    let mut answer = vec![0; usize::from(UDP_MOST)];
    loop {
        let length = socket.recv(&mut answer).await.map_err(lost)?;
        // Whatever is no answer to this question is left alone.
        if length >= 12 && answer[..2] == question[..2] && answer[2] & 0x80 != 0 {
            answer.truncate(length);
            break;
        }
    }
    if answer[2] & 0x02 == 0 {
        return Ok(answer);
    }
    let mut stream = TcpStream::connect(server).await.map_err(lost)?;
    let length = u16::try_from(question.len()).unwrap_or_default();
    stream.write_all(&length.to_be_bytes()).await.map_err(lost)?;
    stream.write_all(question).await.map_err(lost)?;
    let length = stream.read_u16().await.map_err(lost)?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(lost)?;
    Ok(answer)
}

fn number(record: DnsRecord) -> u16 {
    match record {
        DnsRecord::A => 1,
        DnsRecord::Ns => 2,
        DnsRecord::Cname => 5,
        DnsRecord::Mx => 15,
        DnsRecord::Txt => 16,
        DnsRecord::Aaaa => 28,
    }
}

/// A question with recursion desired, and with EDNS so that long answers come over UDP.
fn question(name: &str, record: DnsRecord) -> Result<Vec<u8>, Bad> {
    // The port that the answer must come to is random; the number beside it need not be.
    let mut packet = vec![0x4c, 0x46, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..64).contains(n));
        let length = length.ok_or_else(|| Bad::wrong(format!("`{name}` is no name")))?;
        packet.push(length);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&number(record).to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(&[0, 0, 41]);
    packet.extend_from_slice(&UDP_MOST.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
    Ok(packet)
}

fn judge(target: &DnsTarget, packet: &[u8]) -> Result<(), Bad> {
    let cut = || Bad::wrong("its answer is cut short");
    let code = packet.get(3).ok_or_else(cut)? & 0x0f;
    match code {
        0 => {}
        1 => return Err(Bad::wrong("the server does not understand the question (FORMERR)")),
        2 => return Err(Bad::silent("the server could not find out (SERVFAIL)")),
        3 => return Err(Bad::wrong(format!("there is no {} (NXDOMAIN)", target.name))),
        5 => return Err(Bad::wrong("the server refuses to answer (REFUSED)")),
        other => return Err(Bad::wrong(format!("the server answers with code {other}"))),
    }
    let found = answers(packet, target.record).ok_or_else(cut)?;
    if found.is_empty() {
        return Err(Bad::wrong(format!("{} has no such record", target.name)));
    }
    let tidy = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
    for wanted in &target.answers {
        if !found.iter().any(|answer| tidy(answer) == tidy(wanted)) {
            return Err(Bad::wrong(format!("it leads to {}, not to {wanted}", found.join(", "))));
        }
    }
    Ok(())
}

/// The records of this sort in the answer, as zone files have them. `None`: the packet is damaged.
fn answers(packet: &[u8], record: DnsRecord) -> Option<Vec<String>> {
    let short = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let (questions, count) = (short(4)?, short(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = name(packet, at)?.1 + 4;
    }
    let mut found = Vec::new();
    for _ in 0..count {
        at = name(packet, at)?.1;
        let (kind, length) = (short(at)?, usize::from(short(at + 8)?));
        let from = at + 10;
        let data = packet.get(from..from + length)?;
        if kind == number(record) {
            found.push(match record {
                DnsRecord::A => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).to_string(),
                DnsRecord::Aaaa => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string(),
                DnsRecord::Cname | DnsRecord::Ns => name(packet, from)?.0,
                DnsRecord::Mx => format!("{} {}", short(from)?, name(packet, from + 2)?.0),
                DnsRecord::Txt => text(data)?,
            });
        }
        at = from + length;
    }
    Some(found)
}

/// The parts of a text, put together.
fn text(mut data: &[u8]) -> Option<String> {
    let mut whole = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (part, after) = rest.split_at_checked(usize::from(*length))?;
        whole.extend_from_slice(part);
        data = after;
    }
    Some(String::from_utf8_lossy(&whole).into_owned())
}

/// The name at `at`, and what comes after it. A name that points back is followed, each time further back.
fn name(packet: &[u8], at: usize) -> Option<(String, usize)> {
    let (mut labels, mut here, mut end) = (Vec::new(), at, None);
    loop {
        let length = usize::from(*packet.get(here)?);
        match length >> 6 {
            0 if length == 0 => {
                return Some((labels.join("."), end.unwrap_or(here + 1)));
            }
            0 => {
                let label = packet.get(here + 1..here + 1 + length)?;
                labels.push(String::from_utf8_lossy(label).into_owned());
                here += 1 + length;
            }
            3 => {
                let to = (length & 0x3f) << 8 | usize::from(*packet.get(here + 1)?);
                end = end.or(Some(here + 2));
                if to >= here || labels.len() > 128 {
                    return None;
                }
                here = to;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to a question for `shop.example`, with these records after it.
    fn packet(records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut packet = vec![0x4c, 0x46, 0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
        packet.extend_from_slice(b"\x04shop\x07example\x00\x00\x01\x00\x01");
        for (kind, data) in records {
            packet.extend_from_slice(&[0xc0, 12]);
            packet.extend_from_slice(&kind.to_be_bytes());
            packet.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            packet.extend_from_slice(&(data.len() as u16).to_be_bytes());
            packet.extend_from_slice(data);
        }
        packet
    }

    #[test]
    fn records_are_read_as_zone_files_have_them() {
        let packet = packet(&[
            (5, b"\x03www\xc0\x0c"),
            (1, &[192, 0, 2, 7]),
            (15, b"\x00\x0a\x04mail\xc0\x0c"),
            (16, b"\x05hello\x06 world"),
        ]);
        let rows = [
            (DnsRecord::Cname, "www.shop.example"),
            (DnsRecord::A, "192.0.2.7"),
            (DnsRecord::Mx, "10 mail.shop.example"),
            (DnsRecord::Txt, "hello world"),
        ];
        for (record, expected) in rows {
            assert_eq!(answers(&packet, record).unwrap(), [expected]);
        }
        assert_eq!(answers(&packet, DnsRecord::Aaaa).unwrap(), [""; 0]);
    }

    #[test]
    fn what_points_forward_or_is_cut_ends_nowhere() {
        let mut looping = packet(&[(5, b"\xc0\x2a")]);
        assert_eq!(answers(&looping, DnsRecord::Cname), None);
        looping.truncate(20);
        assert_eq!(answers(&looping, DnsRecord::A), None);
    }
}
