//! Web addresses.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Bad;
use super::clock::{Phase, Stopwatch};
use super::dial::Dialer;
use crate::target::{Authority, HttpTarget};

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

pub(super) async fn look(
    dialer: &Dialer,
    target: &HttpTarget,
    watch: &Stopwatch,
) -> Result<(), Bad> {
    judge(target, &fetch(dialer, target, watch).await?)
}

/// The answer at the end of all redirects, whatever it is.
pub(super) async fn fetch(
    dialer: &Dialer,
    target: &HttpTarget,
    watch: &Stopwatch,
) -> Result<Answer, Bad> {
    let mut url = target.url.clone();
    let (mut method, mut body) = (target.method.clone(), target.body.clone());
    let mut left = target.redirects;
    loop {
        let is_first = url.authority() == target.url.authority();
        let answer = ask(dialer, target, (&url, is_first), &method, &body, watch).await?;
        let leads = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
        let to = answer.headers.get(header::LOCATION).filter(|_| leads && target.redirects > 0);
        let Some(to) = to else { return Ok(answer) };
        if left == 0 {
            return Err(Bad::wrong(format!("more than {} redirects", target.redirects)));
        }
        left -= 1;
        let to = to.to_str().map_err(|_| Bad::wrong("redirected to no address"))?;
        url = joined(&url, to)?;
        if !matches!(answer.status, 307 | 308) && method != Method::HEAD {
            method = Method::GET;
            body.clear();
        }
    }
}

/// Asks once. A stranger that a redirect led to is sent none of the headers, which may hold secrets.
async fn ask(
    dialer: &Dialer,
    target: &HttpTarget,
    (url, is_first): (&Uri, bool),
    method: &Method,
    body: &[u8],
    watch: &Stopwatch,
) -> Result<Answer, Bad> {
    let host = url.host().ok_or_else(|| Bad::wrong(format!("`{url}` has no host")))?;
    let is_tls = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let at = Authority { host: host.to_owned(), port };
    let request = request(target, (url, is_first), method, body)?;
    let connect = target.connect.filter(|_| is_first);
    let cap = target.body_cap;
    if is_tls {
        let stream = dialer.tls(&at, connect, &[b"http/1.1"], target.trust, watch).await?;
        return exchange(stream, request, cap, watch).await;
    }
    let stream = match connect {
        Some(address) => dialer.tcp_to(address, watch).await?,
        None => dialer.tcp(&at, watch).await?,
    };
    exchange(stream, request, cap, watch).await
}

fn request(
    target: &HttpTarget,
    (url, is_first): (&Uri, bool),
    method: &Method,
    body: &[u8],
) -> Result<Request<Full<Bytes>>, Bad> {
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(Full::new(Bytes::copy_from_slice(body)))
        .map_err(Bad::wrong)?;
    let headers = request.headers_mut();
    let host = url.authority().map_or("", |authority| authority.as_str());
    headers.insert(header::HOST, HeaderValue::from_str(host).map_err(Bad::wrong)?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static("linkflow-monitor"));
    headers.insert(header::ACCEPT, HeaderValue::from_static(target.accept));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in target.headers.iter().filter(|_| is_first) {
        headers.insert(name, value.clone());
    }
    Ok(request)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
    cap: usize,
    watch: &Stopwatch,
) -> Result<Answer, Bad> {
    let made = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = made.map_err(Bad::silent)?;
    let work = async {
        let answer = watch.during(Phase::First, sender.send_request(request)).await;
        read(answer.map_err(|error| broken(&error))?, cap).await
    };
    beside(connection, work).await
}

fn broken(error: &hyper::Error) -> Bad {
    if error.is_parse() {
        Bad::wrong("it does not answer in HTTP")
    } else if error.is_incomplete_message() {
        Bad::silent("it closed the connection without an answer")
    } else {
        Bad::silent(format!("its answer broke off: {error}"))
    }
}

async fn read(answer: Response<Incoming>, cap: usize) -> Result<Answer, Bad> {
    let (parts, mut incoming) = answer.into_parts();
    let mut body = Vec::new();
    while body.len() < cap
        && let Some(frame) = incoming.frame().await
    {
        if let Some(data) = frame.map_err(|error| broken(&error))?.data_ref() {
            body.extend_from_slice(&data[..data.len().min(cap - body.len())]);
        }
    }
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// Does `work`, and all the while what its connection has to do.
pub(super) async fn beside<T>(
    connection: impl Future<Output = Result<(), impl std::fmt::Display>>,
    work: impl Future<Output = T>,
) -> T {
    let mut connection = std::pin::pin!(connection);
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => done,
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection of a look ended");
            }
            work.await
        }
    }
}

fn judge(target: &HttpTarget, answer: &Answer) -> Result<(), Bad> {
    let status = answer.status;
    let is_right = match target.statuses.as_slice() {
        [] => (200..400).contains(&status),
        statuses => statuses.contains(&status),
    };
    if !is_right {
        return Err(Bad::wrong(format!("answered {status}")));
    }
    let has = |text: &str| {
        let (text, body) = (text.as_bytes(), answer.body.as_slice());
        text.is_empty() || body.windows(text.len()).any(|window| window == text)
    };
    if let Some(text) = target.contains.as_deref().filter(|text| !has(text)) {
        return Err(Bad::wrong(format!("its answer lacks `{text}`")));
    }
    if let Some(text) = target.lacks.as_deref().filter(|text| has(text)) {
        return Err(Bad::wrong(format!("its answer has `{text}`")));
    }
    if target.json.is_empty() {
        return Ok(());
    }
    let value: Value = serde_json::from_slice(&answer.body)
        .map_err(|error| Bad::wrong(format!("its answer is not JSON: {error}")))?;
    for rule in &target.json {
        match found(&value, &rule.path) {
            Some(is) if is == rule.is => {}
            Some(is) => {
                let is: String = is.chars().take(80).collect();
                return Err(Bad::wrong(format!("`{}` is `{is}`, not `{}`", rule.path, rule.is)));
            }
            None => return Err(Bad::wrong(format!("its answer has no `{}`", rule.path))),
        }
    }
    Ok(())
}

/// The value at `path`, as text.
fn found(value: &Value, path: &str) -> Option<String> {
    let at = path.split('.').try_fold(value, |at, step| match at {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        Value::Object(fields) => fields.get(step),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })?;
    Some(at.as_str().map_or_else(|| at.to_string(), str::to_owned))
}

/// Where `to`, whole or only a path, leads from `from`.
fn joined(from: &Uri, to: &str) -> Result<Uri, Bad> {
    let wrong = || Bad::wrong(format!("redirected to `{to}`, which is no address"));
    if to.contains("://") {
        return to.parse().map_err(|_| wrong());
    }
    let mut parts = from.clone().into_parts();
    let path = match to.strip_prefix("//") {
        Some(_) => {
            let scheme = from.scheme_str().unwrap_or("http");
            return format!("{scheme}:{to}").parse().map_err(|_| wrong());
        }
        None if to.starts_with('/') => to.to_owned(),
        None => {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{to}")
        }
    };
    parts.path_and_query = Some(path.parse().map_err(|_| wrong())?);
    Uri::from_parts(parts).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_from_where_it_was_met() {
        let rows = [
            ("http://a.example/x/y?q", "/z", "http://a.example/z"),
            ("http://a.example/x/y", "z?w=1", "http://a.example/x/z?w=1"),
            ("https://a.example/x", "//b.example/", "https://b.example/"),
            ("https://a.example/x", "http://b.example:81/y", "http://b.example:81/y"),
        ];
        for (from, to, expected) in rows {
            assert_eq!(joined(&from.parse().unwrap(), to).unwrap(), expected, "{from} {to}");
        }
        assert!(joined(&"http://a.example".parse().unwrap(), "http://").is_err());
    }

    #[test]
    fn values_are_found_by_names_and_numbers() {
        let value = serde_json::json!({ "db": { "ok": true }, "all": [{ "n": 3 }, "x"] });
        let rows = [("db.ok", Some("true")), ("all.0.n", Some("3")), ("all.1", Some("x"))];
        for (path, expected) in rows.into_iter().chain([("all.2", None), ("db.ok.more", None)]) {
            assert_eq!(found(&value, path).as_deref(), expected, "{path}");
        }
    }
}
