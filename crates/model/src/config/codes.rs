//! Every problem of the config by its stable code, with what `linkflow explain` says of it.

use std::fmt;

use super::problem::Severity;

/// A problem's stable code: `LF0102`. Codes are never given to another problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(&'static str);

impl Code {
    /// The text of the code.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// `LF04xx` are warnings, all others errors.
    pub fn severity(self) -> Severity {
        if self.0.starts_with("LF04") { Severity::Warning } else { Severity::Error }
    }

    /// What `linkflow explain` says of it.
    pub fn explanation(self) -> Option<&'static Explanation> {
        explain(self.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

/// What there is to say about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: Code,
    /// One line.
    pub title: &'static str,
    /// Why it is a problem and how to put it right.
    pub text: &'static str,
    /// A config that has the problem, as small as may be. Empty where none can show it.
    pub example: &'static str,
}

/// The explanation of `code`, upper or lower case.
pub fn explain(code: &str) -> Option<&'static Explanation> {
    ALL.iter().find(|e| e.code.0.eq_ignore_ascii_case(code))
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $text:literal, $example:literal;)+) => {
        $(
            #[doc = concat!($($doc),+)]
            pub const $name: Code = Code($code);
        )+

        /// Every code, in order.
        pub const ALL: &[Explanation] = &[$(Explanation {
            code: $name,
            title: concat!($($doc),+).trim_ascii(),
            text: $text,
            example: $example,
        }),+];
    };
}

codes! {
    /// A file cannot be read.
    UNREADABLE = "LF0001",
    "The config, or a file that it includes, is not there or may not be read. A path in `include` counts from the file \
     that includes it.",
    "include = \"missing.toml\"\n";

    /// A file is not UTF-8 text.
    NOT_TEXT = "LF0002",
    "TOML is UTF-8 text. An editor may have saved the file in another encoding, or the path names something else, \
     such as an archive.",
    "";

    /// A file includes itself.
    INCLUDE_CYCLE = "LF0003",
    "A file that is being read is included again, at first hand or through others, or there are more than 32 files. \
     Take one of the `include` lines away.",
    "include = \"linkflow.toml\"\n";

    /// A key is set in two files.
    TWICE = "LF0004",
    "Files joined by `include` may share tables but not keys: which value counts would depend on the order. Keep one. \
     To change a value for one environment, write it under `[env.NAME]`.",
    "include = \"other.toml\"\n[stack]\nname = \"shop\"\n";

    /// There is no such environment.
    NO_ENVIRONMENT = "LF0005",
    "`--env NAME` lays `[env.NAME]` over the rest of the file: its keys win, tables are joined key by key, and the value \
     `\"\"` takes a key away. There must be such a table.",
    "[env.staging.stack]\ndomain = \"staging.example.com\"\n";

    /// The file is not TOML.
    SYNTAX = "LF0101",
    "The text breaks the rules of TOML, so nothing in it can be trusted; other checks wait until this is put right. Often \
     a quote or a bracket is missing, or a key stands twice in one table.",
    "[stack\nname = \"shop\"\n";

    /// A key or section is not known.
    UNKNOWN_KEY = "LF0102",
    "LinkFlow knows every key; one that it does not know would be without effect, so it is an error. `docs/config.md` and \
     `linkflow schema` list the keys of each section.",
    "[services.api]\nhelth = \"/health\"\n";

    /// A value is of the wrong type.
    WRONG_TYPE = "LF0103",
    "The key takes another type: a number without quotes, a text in quotes, a list in brackets, a table in braces.",
    "[services.api]\nport = \"8000\"\n";

    /// A key is missing.
    MISSING = "LF0104",
    "The section cannot do without this key and there is nothing sensible to assume.",
    "[stack]\n";

    /// A word is not one of those possible.
    UNKNOWN_WORD = "LF0105",
    "The key takes one of a few words.",
    "[services.api]\nkind = \"website\"\n";

    /// A name cannot be one.
    BAD_NAME = "LF0106",
    "Names of stacks, services, providers, databases and so on become parts of host names at providers. So they are 1 to \
     40 lower-case letters, digits and hyphens, starting with a letter.",
    "[services.My_API]\n";

    /// A number is out of range.
    OUT_OF_RANGE = "LF0107",
    "The number is too small or too large for what it says.",
    "[services.api]\nport = 80000\n";

    /// A duration has no unit.
    NO_UNIT = "LF0108",
    "A bare number could mean seconds or milliseconds. Every duration is a text with units: `500ms`, `10s`, `1h30m`, \
     `1d`, `1w`.",
    "[failover]\nconfirm = 5\n";

    /// A duration cannot be read.
    BAD_DURATION = "LF0109",
    "A duration is one or more numbers with units, without spaces: `ms`, `s`, `m`, `h`, `d` and `w`. Ten years are the most.",
    "[failover]\nconfirm = \"5 seconds\"\n";

    /// A size cannot be read.
    BAD_SIZE = "LF0110",
    "A size is a number with its unit. Memory of a service is in `MB` or `GB`, where 1024 MB are a GB, as compute providers \
     count. All other sizes know both: `MB`, `GB` are powers of 1000, `MiB`, `GiB` powers of 1024. CPUs are a plain number.",
    "[services.api]\nsize = { memory = \"256\" }\n";

    /// An image cannot be read.
    BAD_IMAGE = "LF0111",
    "An image is `registry/repository:tag` or `registry/repository@sha256:…`. The repository is in lower case.",
    "[services.api]\nimage = \"ghcr.io/Acme/API\"\n";

    /// A host or route cannot be read.
    BAD_HOST = "LF0112",
    "A host is a name such as `api.example.com`, without scheme and port; a route may add a path. `${stack.name}` and \
     `${stack.domain}` may stand in it; other references may not, because routes must be known beforehand.",
    "[services.api]\nroute = \"https://api.example.com\"\n";

    /// An address cannot be read.
    BAD_ADDRESS = "LF0113",
    "A web address begins with `http://` or `https://` and carries no password. An address to listen on is an IP address \
     and a port.",
    "[edge]\nlisten = \":8080\"\n";

    /// A mail address cannot be read.
    BAD_EMAIL = "LF0114",
    "A mail address is `ops@example.com` or `Operations <ops@example.com>`.",
    "[alerts.team]\nemail = [\"ops\"]\n";

    /// A value is empty.
    EMPTY = "LF0115",
    "An empty text or list says nothing here. In an overlay, `[env.NAME]`, the value `\"\"` takes a key away; elsewhere leave \
     the key out.",
    "[stack]\nname = \"\"\n";

    /// A variable cannot be called so.
    BAD_VARIABLE = "LF0116",
    "Variables of the environment have letters, digits and `_` in their names. `PORT` and the `LINKFLOW_…` names by which an \
     app knows where it runs are set by LinkFlow itself.",
    "[services.api]\nenv = { PORT = \"8000\" }\n";

    /// A secret stands in the file.
    NOT_SECRET = "LF0117",
    "The file is kept in version control, and secrets are not. `linkflow secrets set NAME` keeps the value; the file names \
     it: `${secret.NAME}`. `${env.NAME}` takes it from the environment that LinkFlow runs in.",
    "[providers.fly]\nkind = \"fly\"\ntoken = \"fo1_abc\"\n";

    /// A value cannot be read.
    BAD_VALUE = "LF0118",
    "The text is not of the form that this key takes; the help says which form that is.",
    "[budget]\nmonth = \"5\"\n";

    /// A reference cannot be read.
    BAD_REFERENCE = "LF0201",
    "A reference is `${secret.NAME}`, `${env.NAME}`, `${stack.name}`, `${stack.domain}`, `${service.NAME.address}`, \
     `${database.NAME.url}`, `${cache.NAME.url}` or `${bucket.NAME.name}`. A plain `${` is written `$${`.",
    "[services.api]\nenv = { A = \"${secret\" }\n";

    /// A reference is to an unknown kind of thing.
    UNKNOWN_REFERENCE = "LF0202",
    "References begin with `secret`, `env`, `stack`, `service`, `database`, `cache` or `bucket`, each in the singular.",
    "[services.api]\nenv = { A = \"${services.queue.address}\" }\n";

    /// A reference leads nowhere.
    NO_TARGET = "LF0203",
    "What the reference names is not declared in the config. With `--env`, the overlay may have taken it away.",
    "[services.api]\nenv = { A = \"${database.main.url}\" }\n";

    /// There is no such property.
    NO_PROPERTY = "LF0204",
    "A service has `address`, `url`, `host` and `port`; a database and a cache have `url`; a bucket has `name`, `endpoint`, \
     `access_key` and `secret_key`; the stack has `name` and `domain`.",
    "[services.api]\nenv = { A = \"${service.api.adress}\" }\n";

    /// Things wait for each other.
    CYCLE = "LF0205",
    "Each of these needs the next one first, and the last needs the first, so none can ever start. A service needs the \
     services whose `address` its environment has and those in `needs`. A service's `url`, `host` and `port` are known from the \
     config and need nothing. Secrets kept at a provider need that provider's token, which therefore cannot be such a secret.",
    "[services.a]\nimage = \"a\"\nport = 80\nneeds = [\"b\"]\n[services.b]\nimage = \"b\"\nport = 81\nneeds = [\"a\"]\n";

    /// What a reference asks for is not there.
    WRONG_TARGET = "LF0206",
    "The thing exists but has no such property: a worker without `port` has no `address`, a service without `route` has no \
     `url`, and Cloudflare KV is spoken to by its API, so a cache on it has none either.",
    "[services.a]\nimage = \"a\"\nport = 80\nenv = { B = \"${service.b.address}\" }\n[services.b]\nimage = \"b\"\nkind = \"worker\"\n";

    /// A provider is not declared.
    UNKNOWN_PROVIDER = "LF0301",
    "Every provider but `embedded` and `docker` needs its section, `[providers.NAME]`, with at least its `kind`.",
    "[services.api]\nruns_on = [\"fly\"]\n";

    /// A provider cannot do that.
    LACKS_ROLE = "LF0302",
    "Each kind of provider plays certain roles: a mail service runs no containers. `docs/config.md` has the table.",
    "[providers.resend]\nkind = \"resend\"\n[services.api]\nruns_on = [\"resend\"]\n";

    /// A route leads to two services.
    SAME_ROUTE = "LF0303",
    "The same host and path cannot lead to two services. Give one of them another host or a longer path. The dashboard and the \
     status page take their hosts whole.",
    "[services.a]\nimage = \"a\"\nport = 80\nroute = \"x.example.com\"\n[services.b]\nimage = \"b\"\nport = 81\nroute = \"x.example.com\"\n";

    /// A service has no port.
    NO_PORT = "LF0304",
    "A service of kind `web` or `grpc` is spoken to, so it needs the port that its container listens on. A service that \
     answers nobody is a `worker`.",
    "[services.api]\nimage = \"a\"\n";

    /// A key does not fit the rest.
    DOES_NOT_FIT = "LF0305",
    "A worker answers nobody, so it takes no `route` and no `health`. A gRPC service tells its health by the gRPC health \
     protocol, so it takes no `health` path. An exclusive service has one instance. Two keys that say the same thing \
     exclude each other.",
    "[services.a]\nimage = \"a\"\nkind = \"worker\"\nroute = \"a.example.com\"\n";

    /// Exactly one of some keys is due.
    CHOOSE_ONE = "LF0306",
    "The section takes one of these keys: a monitor looks at one thing, a heartbeat has one rhythm.",
    "[monitors.api]\nhttp = \"https://example.com\"\ntcp = \"example.com:443\"\n";

    /// Something is listed twice.
    LISTED_TWICE = "LF0307",
    "Once is enough; twice is likely a slip, and another one was meant. A copy on the provider of the original protects from \
     nothing.",
    "[services.a]\nimage = \"a\"\nport = 80\nruns_on = [\"embedded\", \"embedded\"]\n";

    /// Something is named that is not there.
    NO_SUCH_THING = "LF0308",
    "`of`, `watch`, `needs`, `service` and the like name other parts of the config: `api`, `database.main`, `bucket.uploads`, \
     `monitor.api`.",
    "[status_page]\ncomponents = [{ name = \"API\", watch = \"service.api\" }]\n";

    /// Timings contradict each other.
    TIMINGS = "LF0309",
    "A probe must end before the next begins: `probe_timeout` is at most `probe_every`. What providers say is looked at more \
     often than it goes stale: `look_every` is less than `stale_after`. A monitor's `timeout` is at most its `every`. No rhythm is 0.",
    "[failover]\nprobe_every = \"1s\"\nprobe_timeout = \"2s\"\n";

    /// TLS and certificates do not go together.
    NO_CERTIFICATE = "LF0310",
    "Where the edge listens with TLS, `edge.listen_tls`, it needs certificates: `[edge.acme]` gets them from a CA by itself, \
     `[edge.certificates.NAME]` reads them from files. Certificates without `listen_tls` are used by nobody.",
    "[edge]\nlisten_tls = \"0.0.0.0:8443\"\n";

    /// A certificate cannot be used.
    BAD_CERTIFICATE = "LF0311",
    "The files under `[edge.certificates.NAME]` hold, as PEM, the certificate and those that lead from it to a root, in this \
     order, and its private key, unencrypted. The certificate names its hosts (subjectAltName), and it counts now.",
    "";
    /// A name goes past the edge.
    PAST_THE_EDGE = "LF0312",
    "With `edge.worker`, requests over the worker's daily allowance go on to what the record of the name says. So a proxied record \
     of a name that visitors use has to lead to the edge, which moves visitors when something dies: to the host of \
     `edge.address`. A record that names a placement would tie visitors to it when they need the edge most.",
    "[stack]\nname = \"shop\"\ndomain = \"example.com\"\n[providers.cf]\nkind = \"cloudflare\"\n[services.a]\nimage = \"a\"\nport = 80\nroute = \"a.example.com\"\n[edge]\non = \"cf\"\nworker = true\naddress = \"https://edge.example.com\"\n[dns]\non = \"cf\"\nproxied = true\nrecords = [{ name = \"a\", type = \"CNAME\", value = \"shop-a.fly.dev\" }]\n";

    /// The worker fails closed.
    FAILS_CLOSED = "LF0313",
    "The free plan runs a worker 100,000 times a day. With `fail_open = false` every visitor after that gets an error page until \
     midnight UTC, although the edge and every service are well. Take the key away: then requests go past the worker, to the \
     edge.",
    "[stack]\nname = \"shop\"\n[providers.cf]\nkind = \"cloudflare\"\n[edge]\non = \"cf\"\nworker = true\nfail_open = false\n";

    /// The last resort is not last.
    LAST_RESORT_EARLY = "LF0401",
    "A provider with `last_resort = true` stands before others in a cascade. It would be used first.",
    "[providers.box]\nkind = \"server\"\naddress = \"203.0.113.7\"\nlast_resort = true\n[services.a]\nimage = \"a\"\nport = 80\nruns_on = [\"box\", \"embedded\"]\n";

    /// A route is outside of the domain.
    FOREIGN_HOST = "LF0402",
    "The host does not end with `stack.domain`, so `[dns]` cannot point it anywhere. Write `${stack.domain}` to follow the \
     domain of each environment.",
    "[stack]\nname = \"shop\"\ndomain = \"example.com\"\n[services.a]\nimage = \"a\"\nport = 80\nroute = \"a.example.org\"\n";

    /// A provider is used for nothing.
    UNUSED_PROVIDER = "LF0403",
    "The section is there, and nothing in the config names the provider.",
    "[providers.fly]\nkind = \"fly\"\n";

    /// A password stands in the file.
    PASSWORD_IN_URL = "LF0404",
    "The text looks like an address with a password in it, `scheme://user:password@host`. The file is kept in version \
     control; keep the whole address as a secret instead: `${secret.NAME}`.",
    "[databases.main]\nprimary = { url = \"postgres://app:hunter2@db.example.com/app\" }\n";

    /// A certificate ends soon.
    CERTIFICATE_ENDS = "LF0405",
    "The certificate is in the last sixth of its time, or has two weeks left. Put a new one into its files: `linkflow up` \
     reads them again by itself.",
    "";

    /// A host has no certificate.
    UNCERTIFIED_HOST = "LF0406",
    "The edge listens with TLS, and nothing gives it a certificate for a host that a route leads from. Visitors of that host \
     get no connection over TLS. ACME as LinkFlow speaks it gives none for `*.example.com`; a file can.",
    "[edge]\nlisten_tls = \"0.0.0.0:8443\"\n[edge.acme]\nagree = true\n[services.a]\nimage = \"a\"\nport = 80\nroute = \"*.example.com\"\n";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_ordered_and_explained() {
        let codes: Vec<&str> = ALL.iter().map(|e| e.code.as_str()).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(codes, sorted);
        for e in ALL {
            assert!(e.code.0.len() == 6 && e.code.0.starts_with("LF"), "{}", e.code);
            assert!(
                e.title.ends_with('.') && e.text.ends_with('.'),
                "{} ends with a full stop",
                e.code
            );
        }
        assert_eq!(explain("lf0102").map(|e| e.code), Some(UNKNOWN_KEY));
        assert_eq!(explain("LF9999"), None);
    }
}
