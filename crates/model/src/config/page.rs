//! How the status page looks, what it says, and where copies of it are kept.

use super::address::Url;
use super::codes::{self, Code};
use super::macros::{choice, section};
use super::node::Node;
use super::print::Printed;
use super::read::{Field, Reader};
use super::shape::{Book, Shape};
use super::ssh::SshFolder;
use super::template::SecretRef;
use super::values::{Written, written};
use crate::Impact;

section! {
    /// A link at the top of the status page.
    pub struct PageLink as "page_link" {
        /// What it says.
        name: String,
        /// Where it leads.
        url: Url,
    }
}

section! {
    /// A place that keeps a copy of the status page. It takes exactly one of `folder`, `bucket` and `ssh`.
    pub struct PagePlace as "page_place" {
        /// A folder, beside this file or anywhere: of a web server, of a mounted disk, or one that something else carries on.
        folder: Option<String>,
        /// A bucket of an S3-compatible store, which shows it to the web.
        bucket: Option<String>,
        /// The store's address, like `https://ACCOUNT.r2.cloudflarestorage.com`. With `bucket`.
        endpoint: Option<Url>,
        /// The store's region. With `bucket`.
        region: String = "auto".to_owned(),
        /// A folder on a machine behind SSH, which a web server there shows: `ssh://USER@HOST:PORT/FOLDER`, or `/~/FOLDER` in
        /// the user's home.
        ssh: Option<SshFolder>,
        /// The fingerprint that the machine's own key must have, `SHA256:…`. With `ssh`.
        host_key: Option<String>,
        /// A git repository whose host shows a branch of it to the web, as GitHub, GitLab, Codeberg and Cloudflare Pages do.
        git: Option<Url>,
        /// The branch, which is there for the page alone. With `git`.
        branch: String = "gh-pages".to_owned(),
        /// How many times an hour the branch is pushed at most: hosts count how often they build it. With `git`.
        per_hour: u32 = 8,
        /// What writes there: with `bucket` the id of the key, with `ssh` the private key, without a passphrase, with `git` a token.
        key: Option<SecretRef>,
        /// The secret of the bucket's key. With `bucket`.
        secret: Option<SecretRef>,
    }
}

section! {
    /// How people subscribe to the status page. Forms are posted to a server, which the page alone is not.
    pub struct PageSubscribe as "page_subscribe" {
        /// Where the forms are posted: a host that leads to this LinkFlow, and is not that of the page. Of it, only `/subscribe` and `/unsubscribe` are shown to the world.
        at: Url,
        /// How many letters a day subscribers are sent at most; what is beyond waits for the next day, in UTC. Half of it is for those who are subscribed already.
        mails_per_day: u32 = 300,
        /// How many text messages a day subscribers are sent at most, by the first provider of the kind `twilio`, as each is paid for; 0: nobody subscribes with a phone. Half of it is for those who are subscribed already.
        sms_per_day: u32 = 0,
        /// How numbers begin that may subscribe, like `+49`; any may when none is named. Strangers can have messages sent to numbers that cost much.
        sms_to: Vec<String>,
        /// Whether programs may subscribe as well, with an address that they are called at.
        webhooks: bool = true,
        /// Whether such an address may be one of a private network, and without TLS. Whoever subscribes has LinkFlow ask there.
        private_webhooks: bool = false,
    }
}

section! {
    /// The words that an incident begins with.
    pub struct IncidentTemplate as "incident_template" {
        /// One line for the public.
        title: String,
        /// What is said first, in Markdown.
        text: String,
        /// How much it takes.
        impact: Impact = Impact::Minor,
        /// What is affected, as components watch it: `service.api`.
        subjects: Vec<String>,
    }
}

choice! {
    for Impact {
        /// Nothing that a visitor would notice.
        None = "none",
        /// Something is slow or partly away.
        Minor = "minor",
        /// Something is away.
        Major = "major",
        /// The product is away.
        Critical = "critical",
    }
}

choice! {
    /// A language that the status page is written in.
    pub enum Language {
        /// English.
        English = "en",
        /// German.
        German = "de",
        /// French.
        French = "fr",
        /// Spanish.
        Spanish = "es",
    }
}

/// A time zone of the IANA database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(pub String);

impl Zone {
    /// The zone with its rules.
    pub fn rules(&self) -> jiff::tz::TimeZone {
        // It was found when it was read.
        jiff::tz::TimeZone::get(&self.0).unwrap_or(jiff::tz::TimeZone::UTC)
    }
}

impl Written for Zone {
    const WHAT: &'static str = "a time zone, like `UTC` or `Europe/Berlin`";
    const PATTERN: Option<&'static str> = None;
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        match jiff::tz::TimeZone::get(text) {
            Ok(zone) => Ok(Self(zone.iana_name().unwrap_or("UTC").to_owned())),
            Err(_) => {
                Err((format!("there is no time zone `{text}`"), format!("write {}", Self::WHAT)))
            }
        }
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn blank() -> Self {
        Self("UTC".to_owned())
    }
}

/// A colour: red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Colour(pub [u8; 3]);

impl Written for Colour {
    const WHAT: &'static str = "a colour, like `#0b57b8`";
    const PATTERN: Option<&'static str> = Some("^#[0-9A-Fa-f]{6}$");
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let wrong = || (format!("`{text}` is not a colour"), format!("write {}", Self::WHAT));
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6).ok_or_else(wrong)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let number = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
        let [_, red, green, blue] = number.to_be_bytes();
        Ok(Self([red, green, blue]))
    }

    fn write(&self) -> String {
        let [red, green, blue] = self.0;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }

    fn blank() -> Self {
        Self([0, 0, 0])
    }
}

impl std::fmt::Display for Colour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Written::write(self))
    }
}

written!(Zone, Colour);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_those_of_the_database() {
        assert_eq!(Zone::parse("europe/berlin").unwrap().0, "Europe/Berlin");
        assert_eq!(Zone::parse("UTC").unwrap().0, "UTC");
        assert!(Zone::parse("Europe/Berlyn").is_err());
    }

    #[test]
    fn colours_have_six_digits() {
        assert_eq!(Colour::parse("#0B57b8").unwrap().to_string(), "#0b57b8");
        for wrong in ["0b57b8", "#0b5", "#+b57b8", "red"] {
            assert!(Colour::parse(wrong).is_err(), "{wrong}");
        }
    }
}
