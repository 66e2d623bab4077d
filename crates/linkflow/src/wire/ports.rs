//! The ports at which services call each other: chosen once, then kept, because they are part of what is deployed.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::Range;

use linkflow_model::ServiceName;
use linkflow_model::config::Config;

use super::state::Home;

const FILE: &str = "ports.json";

/// Where ports are chosen: below those that systems give to outgoing connections (32,768 and up on Linux, 49,152 and up
/// elsewhere), since one of those may be anyone's by the time that it is listened at; above those of programs here.
const RANGE: Range<u16> = 22_000..32_000;

/// Where each service that has a port is called by the others.
pub(crate) struct Chosen {
    /// An address for each of them.
    pub(crate) ports: BTreeMap<ServiceName, SocketAddr>,
    /// The sockets of those that are new: as long as they are kept, nobody else gets these ports.
    pub(crate) sockets: Vec<TcpListener>,
}

/// Ports that the config does not say are taken from the state folder; new ones are free ones.
///
/// # Errors
/// When the state folder cannot be read or written, or no port is free.
pub(crate) fn choose(home: &Home, config: &Config) -> io::Result<Chosen> {
    let _lock = home.lock()?;
    let at = config.edge.internal;
    let mut kept = read(home)?;
    let held = kept.len();
    let mut sockets = Vec::new();
    let mut ports = BTreeMap::new();
    for (name, service) in config.services.iter().filter(|(_, s)| s.port.is_some()) {
        let port = match service.internal_port.or_else(|| kept.get(name).copied()) {
            Some(port) => port,
            None => free(at, &kept, &mut sockets)?,
        };
        if service.internal_port.is_none() {
            kept.insert(name.clone(), port);
        }
        ports.insert(name.clone(), SocketAddr::new(at, port));
    }
    if kept.len() != held {
        home.replace(FILE, serde_json::to_string_pretty(&kept)?.as_bytes())?;
    }
    Ok(Chosen { ports, sockets })
}

fn read(home: &Home) -> io::Result<BTreeMap<ServiceName, u16>> {
    match std::fs::read(home.path(FILE)) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// A free port that no service has, from a place in the range that differs each time: two that choose at once seldom
/// meet. Its socket is kept, so that none is given twice.
fn free(
    at: IpAddr,
    kept: &BTreeMap<ServiceName, u16>,
    sockets: &mut Vec<TcpListener>,
) -> io::Result<u16> {
    let ahead = RandomState::new().build_hasher().finish() as usize % RANGE.len();
    for port in RANGE.cycle().skip(ahead).take(RANGE.len()) {
        if kept.values().any(|held| *held == port) {
            continue;
        }
        match TcpListener::bind(SocketAddr::new(at, port)) {
            Ok(socket) => {
                sockets.push(socket);
                return Ok(port);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(internal_port: &str) -> Config {
        let text = format!(
            "[stack]\nname = \"shop\"\n[services.a]\nimage = \"a\"\nport = 80\n[services.b]\nimage = \"b\"\nport = 81\n{internal_port}\n\
             [services.c]\nimage = \"c\"\nkind = \"worker\"\n"
        );
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text)]);
        Config::parse(&files, "linkflow.toml", None).config.unwrap()
    }

    #[test]
    fn ports_are_the_same_each_time_and_differ_from_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let first = choose(&home, &config("")).unwrap().ports;
        assert_eq!(first.len(), 2);
        assert_eq!(choose(&home, &config("")).unwrap().ports, first);
        let ports: Vec<u16> = first.values().map(SocketAddr::port).collect();
        assert_ne!(ports[0], ports[1]);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }

    #[test]
    fn nobody_else_gets_a_port_that_was_just_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let chosen = choose(&home, &config("")).unwrap();
        for at in chosen.ports.values() {
            let refused = TcpListener::bind(at).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        }
        assert!(choose(&home, &config("")).unwrap().sockets.is_empty());
    }

    #[test]
    fn a_port_that_the_config_says_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let chosen = choose(&home, &config("internal_port = 4711")).unwrap().ports;
        assert_eq!(chosen[&ServiceName::new("b").unwrap()].port(), 4711);
    }
}
