//! ICMP echo, where the system lets us.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{UdpSocket, lookup_host};

use super::Bad;
use super::clock::{Phase, Stopwatch};

/// What an echo carries: enough to tell our own.
const MARK: &[u8; 8] = b"linkflow";

pub(super) async fn look(host: &str, watch: &Stopwatch) -> Result<(), Bad> {
    let bare = host.trim_matches(['[', ']']);
    let ip = match bare.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) => {
            let found = watch.during(Phase::Dns, lookup_host((bare, 0))).await;
            let mut found = found.map_err(|e| Bad::silent(format!("no address: {e}")))?;
            let first = found.next();
            first.ok_or_else(|| Bad::wrong(format!("{host} has no address")))?.ip()
        }
    };
    let to = SocketAddr::new(ip, 0);
    watch.at(to);
    let socket = open(ip).map_err(|error| Bad::wrong(unallowed(&error)))?;
    let echoed = watch.during(Phase::First, echo(&socket, to)).await;
    echoed.map_err(|error| Bad::silent(format!("no way leads there: {error}")))
}

/// A socket for echoes: one that any user of `ping_group_range` may open, or one that needs `CAP_NET_RAW`.
fn open(ip: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match ip {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))
        .or_else(|_| Socket::new(domain, Type::RAW, Some(protocol)))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

fn unallowed(error: &io::Error) -> String {
    format!(
        "this system does not let us ping ({error}): allow it with \
         `sysctl net.ipv4.ping_group_range=\"0 2147483647\"` or CAP_NET_RAW, or watch a port with `tcp`"
    )
}

async fn echo(socket: &UdpSocket, to: SocketAddr) -> io::Result<()> {
    socket.connect(to).await?;
    socket.send(&request(to.is_ipv6())).await?;
    let mut answer = [0; 256];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_reply(&answer[..length], to.is_ipv6()) {
            return Ok(());
        }
    }
}

/// An echo request. The kernel fills in the checksum of `ICMPv6`.
fn request(is_v6: bool) -> Vec<u8> {
    let kind = if is_v6 { 128 } else { 8 };
    let mut packet = vec![kind, 0, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(MARK);
    if !is_v6 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// The checksum of the Internet (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let pairs = packet.chunks(2);
    let words = pairs
        .map(|two| u32::from(two[0]) << 8 | u32::from(two.get(1).copied().unwrap_or_default()));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// Whether this answers our request. Before what a raw socket of IPv4 gives stands the header of IP.
fn is_reply(packet: &[u8], is_v6: bool) -> bool {
    let packet = match packet.first() {
        Some(first) if !is_v6 && first >> 4 == 4 => {
            packet.get(usize::from(first & 0xf) * 4..).unwrap_or_default()
        }
        _ => packet,
    };
    let kind = if is_v6 { 129 } else { 0 };
    packet.first() == Some(&kind) && packet.get(8..16) == Some(MARK.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_adds_up_to_nothing_and_only_its_answer_is_one() {
        let request = request(false);
        assert_eq!(checksum(&request), 0);
        assert!(!is_reply(&request, false));
        let mut reply = request.clone();
        reply[0] = 0;
        assert!(is_reply(&reply, false));
        let mut raw = vec![0x45; 20];
        raw.extend_from_slice(&reply);
        assert!(is_reply(&raw, false));
        reply[9] ^= 1;
        assert!(!is_reply(&reply, false));
    }
}
