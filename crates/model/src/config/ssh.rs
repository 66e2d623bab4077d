//! A folder on a machine, reached by SSH.

use super::address::Machine;
use super::codes::{self, Code};
use super::node::Node;
use super::print::Printed;
use super::read::{Field, Reader};
use super::shape::{Book, Shape};
use super::values::{Written, written};

/// A folder behind SSH: `ssh://USER@HOST:PORT/FOLDER`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SshFolder {
    /// Who logs in.
    pub user: String,
    /// The machine, a host name or an IP address.
    pub host: String,
    /// The port of SSH.
    pub port: u16,
    /// The folder; one that does not begin with a slash begins in the user's home.
    pub folder: String,
}

/// The port of SSH when none is said.
const PORT: u16 = 22;

impl SshFolder {
    /// From what comes after `ssh://`; what is wrong otherwise.
    fn of(rest: &str) -> Result<Self, &'static str> {
        let (authority, path) = rest.split_once('/').ok_or("it names no folder")?;
        let (user, at) = authority.split_once('@').ok_or("it does not say who logs in")?;
        if user.contains(':') {
            return Err("a password must not stand in the file; `key` is what logs in");
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+=,@".contains(c);
        if user.is_empty() || user.starts_with('-') || !user.chars().all(is_plain) {
            return Err("a user has letters, digits and `._-+=,@`");
        }
        let (host, port) = match at.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().ok().filter(|&port| port != 0);
                (host, port.ok_or("the port is a number from 1 to 65535")?)
            }
            _ => (at, PORT),
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let Machine(host) = Machine::parse(host).map_err(|_| "it names no machine")?;
        let (root, path) = match path.strip_prefix("~/") {
            Some(path) => ("", path),
            None => ("/", path),
        };
        let path = path.trim_end_matches('/');
        let is_part =
            |part: &str| !matches!(part, "" | "." | ".." | "~") && part.chars().all(is_plain);
        if !path.split('/').all(is_part) {
            return Err("each part of the folder has letters, digits and `._-+=,@`");
        }
        Ok(Self { user: user.to_owned(), host, port, folder: format!("{root}{path}") })
    }
}

impl std::fmt::Display for SshFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Written::write(self))
    }
}

impl Written for SshFolder {
    const WHAT: &'static str = "a folder behind SSH, like `ssh://deploy@203.0.113.7:22/srv/status` or `ssh://deploy@host.example/~/status`";
    const PATTERN: Option<&'static str> = Some("^ssh://");
    const CODE: Code = codes::BAD_ADDRESS;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let help = || format!("write {}", Self::WHAT);
        let Some(rest) = text.strip_prefix("ssh://") else {
            return Err((format!("`{text}` is no folder behind SSH"), help()));
        };
        // The text is not repeated: somebody may have put a password into it.
        Self::of(rest).map_err(|why| (format!("this is no folder behind SSH: {why}"), help()))
    }

    fn write(&self) -> String {
        let Self { user, host, port, folder } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let port = if *port == PORT { String::new() } else { format!(":{port}") };
        let home = if folder.starts_with('/') { "" } else { "/~/" };
        format!("ssh://{user}@{host}{port}{home}{folder}")
    }

    fn blank() -> Self {
        let (user, host) = ("blank".to_owned(), "blank.invalid".to_owned());
        Self { user, host, port: PORT, folder: "/blank".to_owned() }
    }
}

written!(SshFolder);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, host: &str, port: u16, folder: &str) {
        let read = SshFolder::parse(text).unwrap();
        assert_eq!((read.host.as_str(), read.port, read.folder.as_str()), (host, port, folder));
        assert_eq!(
            SshFolder::parse(&read.to_string()).unwrap(),
            read,
            "it is written as it is read"
        );
    }

    #[test]
    fn a_folder_is_the_roots_or_the_users() {
        check("ssh://a@web.example/srv/status", "web.example", 22, "/srv/status");
        check("ssh://a@192.0.2.1:2222/srv/status/", "192.0.2.1", 2222, "/srv/status");
        check("ssh://a@[2001:db8::1]:2222/srv", "2001:db8::1", 2222, "/srv");
        check("ssh://a@[2001:db8::1]/srv", "2001:db8::1", 22, "/srv");
        check("ssh://a@web.example/~/www/status", "web.example", 22, "www/status");
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        for (text, why) in [
            ("https://web.example/srv", "no folder behind SSH"),
            ("ssh://web.example/srv", "who logs in"),
            ("ssh://a:geheim@web.example/srv", "a password must not stand"),
            ("ssh://a@web.example", "names no folder"),
            ("ssh://a@web.example/", "each part"),
            ("ssh://a@web.example/~/", "each part"),
            ("ssh://a@web.example/srv/../etc", "each part"),
            ("ssh://a@web.example/srv/it's", "each part"),
            ("ssh://a@web.example/srv/$(id)", "each part"),
            ("ssh://-oProxyCommand=x@web.example/srv", "a user has"),
            ("ssh://a@-x/srv", "names no machine"),
            ("ssh://a@web.example:0/srv", "the port"),
            ("ssh://a@web.example:99999/srv", "the port"),
        ] {
            let (what, _) = SshFolder::parse(text).unwrap_err();
            assert!(what.contains(why) && !what.contains("geheim"), "{text}: {what}");
        }
    }
}
