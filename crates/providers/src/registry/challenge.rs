//! What a registry asks for in `WWW-Authenticate` (RFC 9110 section 11.6.1, and the distribution project's token flow).

/// One challenge.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token, to be fetched first.
    Bearer {
        /// Where tokens are given out.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What it is to allow.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Reads the header; `None` when it asks for something nobody here knows.
    pub(super) fn read(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        let mut rest = rest.trim();
        while let Some((name, tail)) = rest.split_once('=') {
            let (value, tail) = value(tail.trim_start())?;
            match name.trim().to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
            rest = tail.trim_start().trim_start_matches(',').trim_start();
        }
        Some(Self::Bearer { realm: realm?, service, scope })
    }
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return Some((text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: &str) {
        let said = match Challenge::read(header) {
            Some(Challenge::Basic) => "basic".to_owned(),
            Some(Challenge::Bearer { realm, service, scope }) => {
                format!("{realm} | {} | {}", service.unwrap_or_default(), scope.unwrap_or_default())
            }
            None => "none".to_owned(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        check(
            r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:a/b:pull""#,
            "https://ghcr.io/token | ghcr.io | repository:a/b:pull",
        );
        check(r#"bearer service=x , scope="a,b" , realm="https://r/t""#, "https://r/t | x | a,b");
        check(r#"Bearer realm="a\"b""#, r#"a"b |  | "#);
        check(r#"Basic realm="x""#, "basic");
    }

    #[test]
    fn what_is_no_challenge_is_not_followed() {
        check("Negotiate", "none");
        check("Bearer service=x", "none");
        check(r#"Bearer realm="unclosed"#, "none");
    }
}
