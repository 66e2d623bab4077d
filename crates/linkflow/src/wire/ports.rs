//! The ports at which services call each other: chosen once, then kept, because they are part of what is deployed.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use linkflow_model::ServiceName;
use linkflow_model::config::Config;

use super::state::Home;

const FILE: &str = "ports.json";

/// Where each service that has a port is called by the others. Ports that the config does not say are taken from the
/// state folder; new ones are free ones.
///
/// # Errors
/// When the state folder cannot be read or written, or no port is free.
pub(crate) fn choose(
    home: &Home,
    config: &Config,
) -> io::Result<BTreeMap<ServiceName, SocketAddr>> {
    let _lock = home.lock()?;
    let at = config.edge.internal;
    let mut kept = read(home)?;
    let held = kept.len();
    let mut listeners = Vec::new();
    let mut chosen = BTreeMap::new();
    for (name, service) in config.services.iter().filter(|(_, s)| s.port.is_some()) {
        let port = match service.internal_port.or_else(|| kept.get(name).copied()) {
            Some(port) => port,
            None => free(at, &kept, &mut listeners)?,
        };
        if service.internal_port.is_none() {
            kept.insert(name.clone(), port);
        }
        chosen.insert(name.clone(), SocketAddr::new(at, port));
    }
    if kept.len() != held {
        home.replace(FILE, serde_json::to_string_pretty(&kept)?.as_bytes())?;
    }
    Ok(chosen)
}

fn read(home: &Home) -> io::Result<BTreeMap<ServiceName, u16>> {
    match std::fs::read(home.path(FILE)) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// A free port that no service has. Listeners are kept until all are chosen, so that none is given twice.
fn free(
    at: IpAddr,
    kept: &BTreeMap<ServiceName, u16>,
    listeners: &mut Vec<TcpListener>,
) -> io::Result<u16> {
    loop {
        let listener = TcpListener::bind(SocketAddr::new(at, 0))?;
        let port = listener.local_addr()?.port();
        listeners.push(listener);
        if !kept.values().any(|held| *held == port) {
            return Ok(port);
        }
    }
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
        let first = choose(&home, &config("")).unwrap();
        assert_eq!(first.len(), 2);
        assert_eq!(choose(&home, &config("")).unwrap(), first);
        let ports: Vec<u16> = first.values().map(SocketAddr::port).collect();
        assert_ne!(ports[0], ports[1]);
    }

    #[test]
    fn a_port_that_the_config_says_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let chosen = choose(&home, &config("internal_port = 4711")).unwrap();
        assert_eq!(chosen[&ServiceName::new("b").unwrap()].port(), 4711);
    }
}
