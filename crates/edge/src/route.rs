//! Whether a route fits a request, and how well.

use http::header::{self, HeaderMap};
use http::{Method, Request};
use linkflow_model::HostRoute;

/// What of a request decides where it goes.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'r> {
    /// Lower case, without port.
    pub(crate) host: &'r str,
    pub(crate) path: &'r str,
    pub(crate) method: &'r Method,
    pub(crate) headers: &'r HeaderMap,
}

/// How well a route fits; the greater the better: the host, the path, the conditions.
pub(crate) type Fit = (usize, usize, usize);

/// A host by name is closer than any number of letters behind `*`.
const BY_NAME: usize = usize::MAX;

impl<'r> Ask<'r> {
    /// What `request` asks for at `host`.
    pub(crate) fn of<B>(request: &'r Request<B>, host: &'r str) -> Self {
        let path = request.uri().path();
        // `OPTIONS *` is about the host as a whole.
        let path = if path.starts_with('/') { path } else { "/" };
        Self { host, path, method: request.method(), headers: request.headers() }
    }

    /// How well `route` fits; `None`: not at all.
    pub(crate) fn fit(&self, route: &HostRoute) -> Option<Fit> {
        let host = self.host_fit(&route.host)?;
        if !leads(&route.path, self.path) {
            return None;
        }
        let methods = usize::from(!route.methods.is_empty());
        if methods == 1 && !self.takes(&route.methods) {
            return None;
        }
        if !route.headers.iter().all(|(name, value)| self.has(name, value)) {
            return None;
        }
        let path = route.path.trim_end_matches('/').len();
        Some((host, path, methods + route.headers.len()))
    }

    fn host_fit(&self, wanted: &str) -> Option<usize> {
        match wanted.strip_prefix('*') {
            None => (wanted == self.host).then_some(BY_NAME),
            Some("") => Some(0),
            // `.example.com` behind the star: something has to stand before it.
            Some(below) => {
                (self.host.len() > below.len() && self.host.ends_with(below)).then_some(below.len())
            }
        }
    }

    fn takes(&self, methods: &[String]) -> bool {
        let among = |method: &str| methods.iter().any(|m| m == method);
        let asked_before = || {
            // A browser that asks beforehand whether it may is led to where its question is about.
            let about = self.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD);
            about.and_then(|m| m.to_str().ok()).is_some_and(among)
        };
        match self.method.as_str() {
            "HEAD" => among("HEAD") || among("GET"),
            "OPTIONS" => among("OPTIONS") || asked_before(),
            method => among(method),
        }
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.headers.get_all(name).iter().any(|v| value == "*" || v.as_bytes() == value.as_bytes())
    }
}

/// Whether `prefix` is `path` or one of the folders it is in.
fn leads(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_matches_whole_segments() {
        let rows = [
            ("/", "/", true),
            ("/", "/a/b", true),
            ("/api", "/api", true),
            ("/api/", "/api", true),
            ("/api", "/api/v1", true),
            ("/api", "/apiary", false),
            ("/api/v1", "/api", false),
        ];
        for (prefix, path, expected) in rows {
            assert_eq!(leads(prefix, path), expected, "{prefix} {path}");
        }
    }

    /// `METHOD host/path name:value`, and the route that wins among all.
    #[track_caller]
    fn check(ask: &str, expected: &str) {
        let mut routes: Vec<HostRoute> =
            ["*/", "*.example.com/", "*.shop.example.com/", "a.example.com/", "a.example.com/api"]
                .iter()
                .map(|text| {
                    let (host, path) = text.split_once('/').unwrap();
                    HostRoute::new(host, format!("/{path}"))
                })
                .collect();
        let beta = std::iter::once(("x-beta".to_owned(), "1".to_owned())).collect();
        let any = std::iter::once(("x-key".to_owned(), "*".to_owned())).collect();
        routes.push(HostRoute { headers: beta, ..HostRoute::new("a.example.com", "/api") });
        routes.push(HostRoute { headers: any, ..HostRoute::new("a.example.com", "/key") });
        let methods = vec!["GET".to_owned(), "POST".to_owned()];
        routes.push(HostRoute { methods, ..HostRoute::new("a.example.com", "/form") });
        let mut words = ask.split(' ');
        let (method, place) = (words.next().unwrap(), words.next().unwrap());
        let (host, path) = place.split_once('/').unwrap();
        let mut request = Request::builder().method(method).uri(format!("/{path}"));
        for (name, value) in words.filter_map(|word| word.split_once(':')) {
            request = request.header(name, value);
        }
        let request = request.body(()).unwrap();
        let ask = Ask::of(&request, host);
        let fits = routes.iter().filter_map(|route| Some((ask.fit(route)?, route)));
        let best = fits.max_by_key(|(fit, _)| *fit).map(|(_, route)| route).unwrap();
        let headers: Vec<&str> = best.headers.keys().map(String::as_str).collect();
        let said =
            format!("{}{} {} {}", best.host, best.path, best.methods.join(","), headers.join(","));
        assert_eq!(said.trim(), expected);
    }

    #[test]
    fn the_closest_host_then_the_longest_path_then_the_most_conditions_win() {
        check("GET a.example.com/", "a.example.com/");
        check("GET b.example.com/x", "*.example.com/");
        check("GET c.b.example.com/x", "*.example.com/");
        check("GET b.shop.example.com/", "*.shop.example.com/");
        check("GET shop.example.com/", "*.example.com/");
        check("GET example.com/", "*/");
        check("GET .example.com/", "*/");
        check("GET evilexample.com/", "*/");
        check("GET a.example.com/api/v1", "a.example.com/api");
        check("GET a.example.com/api/v1 x-beta:1", "a.example.com/api  x-beta");
        check("GET a.example.com/api/v1 x-beta:2", "a.example.com/api");
        check("GET a.example.com/key x-key:whatever", "a.example.com/key  x-key");
        check("GET a.example.com/key", "a.example.com/");
    }

    #[test]
    fn a_method_leads_where_it_is_taken() {
        check("POST a.example.com/form", "a.example.com/form GET,POST");
        check("HEAD a.example.com/form", "a.example.com/form GET,POST");
        check("DELETE a.example.com/form", "a.example.com/");
        check("OPTIONS a.example.com/form", "a.example.com/");
        check(
            "OPTIONS a.example.com/form access-control-request-method:POST",
            "a.example.com/form GET,POST",
        );
    }
}
