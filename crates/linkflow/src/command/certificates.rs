//! What `check` says of certificates in files, and of hosts that have none.

use std::collections::BTreeSet;
use std::path::Path;

use linkflow_edge::{About, Worry, worry};
use linkflow_model::clock::{Clock, SystemClock};
use linkflow_model::config::{Config, Parsed, Place, Problem, codes};

use crate::wire::edge::pair;

/// Looks at every certificate that the config names, and adds what is wrong to the problems. `folder`: the config's.
pub(crate) fn look(parsed: &mut Parsed, folder: &Path) {
    let Some(config) = &parsed.config else { return };
    let mut problems = Vec::new();
    let mut good = Vec::new();
    for (name, certificate) in &config.edge.certificates {
        let at = parsed.certificates.get(name).copied().unwrap_or_default();
        match pair(name.as_str(), certificate, folder).read() {
            Ok(read) => {
                problems.extend(about(name.as_str(), &read.about, at));
                good.push(read.about);
            }
            Err(why) => {
                let what = format!("the certificate `{name}` cannot be used: {why}");
                let help = "`chain` and `key` are PEM files; their paths begin at the folder of the config";
                problems.push(Problem::new(codes::BAD_CERTIFICATE, at, what).help(help));
            }
        }
    }
    if config.edge.listen_tls.is_some()
        && !good.is_empty()
        && problems.iter().all(|p| !p.is_error())
    {
        problems.extend(uncertified(config, &good, parsed.certificates.values().next().copied()));
    }
    if problems.iter().any(Problem::is_error) {
        parsed.config = None;
    }
    parsed.problems.extend(problems);
    parsed.problems.sort_by_key(|problem| problem.at);
}

/// What is to be said of when it counts.
fn about(name: &str, about: &About, at: Place) -> Option<Problem> {
    let now = SystemClock::start().wall();
    let names = about.names.join(", ");
    let help = "put a new one into its files; `linkflow up` reads them again by itself";
    let days = about.ends.0.saturating_sub(now.0) / 86_400_000;
    let (code, what) = match worry(about, now) {
        Worry::None => return None,
        Worry::Over if now < about.begins => (
            codes::BAD_CERTIFICATE,
            format!("the certificate `{name}` ({names}) does not count yet"),
        ),
        Worry::Over => {
            (codes::BAD_CERTIFICATE, format!("the certificate `{name}` ({names}) has ended"))
        }
        Worry::Soon | Worry::Last => (
            codes::CERTIFICATE_ENDS,
            format!("the certificate `{name}` ({names}) ends in {days} days"),
        ),
    };
    Some(Problem::new(code, at, what).help(help))
}

/// Hosts of routes that neither a file nor a CA gives a certificate for.
fn uncertified(config: &Config, good: &[About], at: Option<Place>) -> Vec<Problem> {
    let asked = config.acme_hosts();
    let routes = config.services.values().flat_map(|service| service.route.iter());
    // `*.example.com` as a route is every name below it; as a certificate it is those one label below, which will do.
    let covered = |host: &str| {
        asked.contains(host)
            || good.iter().any(|about| about.is_for(host) || about.names.iter().any(|n| n == host))
    };
    let hosts: BTreeSet<&str> = routes.map(|route| route.host.as_str()).collect();
    let without = hosts.into_iter().filter(|host| *host != "*" && !covered(host));
    let problem = |host: &str| {
        let what = format!("nothing gives a certificate for `{host}`");
        let help = "add it to a certificate, or to `hosts` in `[edge.acme]`";
        Problem::new(codes::UNCERTIFIED_HOST, at.unwrap_or_default(), what).help(help)
    };
    without.map(problem).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn pem(folder: &Path, name: &str, days: i64) {
        let mut params =
            rcgen::CertificateParams::new(vec!["shop.example.com".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        let now = i64::try_from(SystemClock::start().wall().0 / 1_000).unwrap();
        let day = params.not_before.unix_timestamp() / 86_400;
        let since = time_of(now / 86_400 + days - day);
        params.not_after = params.not_before + since;
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        std::fs::write(folder.join(format!("{name}.crt")), made.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn time_of(days: i64) -> std::time::Duration {
        std::time::Duration::from_secs(u64::try_from(days).unwrap() * 86_400)
    }

    fn told(folder: &Path, name: &str, route: &str) -> Vec<String> {
        let text = format!(
            "[stack]\nname = \"shop\"\n[edge]\nlisten_tls = \"127.0.0.1:0\"\n[edge.certificates.main]\nchain = \"{name}.crt\"\nkey = \"{name}.key\"\n[services.web]\nimage = \"a\"\nport = 80\nroute = \"{route}\"\n"
        );
        let files = BTreeMap::from([("linkflow.toml".to_owned(), text.as_str())]);
        let mut parsed = Config::parse(&files, "linkflow.toml", None);
        look(&mut parsed, folder);
        assert_eq!(parsed.config.is_none(), parsed.problems.iter().any(Problem::is_error));
        let line = |problem: &Problem| {
            let (line, _) = parsed.sources.line_and_column(problem.at);
            format!("{} line {line}: {}", problem.code, problem.what)
        };
        parsed.problems.iter().map(line).collect()
    }

    #[test]
    fn files_are_looked_at_with_names_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        for (name, days) in [("good", 900), ("soon", 5), ("over", -1)] {
            pem(dir.path(), name, days);
        }
        let main = "the certificate `main`";
        assert_eq!(told(dir.path(), "good", "shop.example.com"), [""; 0]);
        let soon = told(dir.path(), "soon", "shop.example.com");
        assert!(
            soon[0].starts_with(&format!("LF0405 line 5: {main} (shop.example.com) ends in ")),
            "{soon:?}"
        );
        let over = told(dir.path(), "over", "shop.example.com");
        assert_eq!(over, [format!("LF0311 line 5: {main} (shop.example.com) has ended")]);
        let none = told(dir.path(), "none", "shop.example.com");
        assert!(
            none[0].starts_with(&format!("LF0311 line 5: {main} cannot be used: ")),
            "{none:?}"
        );
        let other = told(dir.path(), "good", "api.example.com");
        assert_eq!(other, ["LF0406 line 5: nothing gives a certificate for `api.example.com`"]);
    }
}
