//! Open-loop load: `load URL RATE POST_EVERY SECONDS LIMIT_MS OUT.csv`.
//!
//! A request is due every 1/RATE s whether or not earlier ones were answered, and its latency counts from when it was due.
//! Every POST_EVERY-th is a POST with an `x-id` of its own (0: none). Nothing is retried. The first line of the file is
//! `# START_UNIX_MS`, the others `due_ms,latency_ms,status,target,method`; status 0 is a broken connection, -1 no whole
//! answer within LIMIT_MS.

use std::cell::RefCell;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep_until, timeout};

type Failure = Box<dyn Error>;

struct Row {
    due: Duration,
    took: Duration,
    status: i32,
    target: String,
    method: Method,
}

struct Load {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    limit: Duration,
    begin: Instant,
    rows: RefCell<Vec<Row>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let [_, url, rate, post_every, seconds, limit, out] = args.as_slice() else {
        return Err("load URL RATE POST_EVERY SECONDS LIMIT_MS OUT.csv".into());
    };
    let (rate, seconds): (u64, u64) = (rate.parse()?, seconds.parse()?);
    let (post_every, limit): (u64, u64) = (post_every.parse()?, limit.parse()?);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // Sooner than any proxy closes an idle connection.
        .pool_idle_timeout(Duration::from_secs(2))
        .retry_canceled_requests(false)
        .build(connector);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() * 1e3;
    let load = Rc::new(Load {
        client,
        url: url.clone(),
        limit: Duration::from_millis(limit),
        begin: Instant::now(),
        rows: RefCell::default(),
    });
    LocalSet::new().run_until(run(Rc::clone(&load), rate, seconds, post_every)).await;
    let mut file = BufWriter::new(File::create(out)?);
    writeln!(file, "# {wall:.3}")?;
    for Row { due, took, status, target, method } in load.rows.borrow().iter() {
        let ms = |duration: &Duration| duration.as_secs_f64() * 1e3;
        writeln!(file, "{:.3},{:.3},{status},{target},{method}", ms(due), ms(took))?;
    }
    Ok(file.flush()?)
}

async fn run(load: Rc<Load>, rate: u64, seconds: u64, post_every: u64) {
    let mut asked = Vec::new();
    for number in 0..rate * seconds {
        let due = Duration::from_micros(number * 1_000_000 / rate);
        sleep_until(load.begin + due).await;
        let write = post_every > 0 && number % post_every == post_every - 1;
        let method = if write { Method::POST } else { Method::GET };
        asked.push(spawn_local(Rc::clone(&load).ask(number, due, method)));
    }
    for request in asked {
        if let Err(error) = request.await {
            eprintln!("load: {error}");
        }
    }
}

impl Load {
    async fn ask(self: Rc<Self>, number: u64, due: Duration, method: Method) {
        let answer = timeout(self.limit, self.answer(number, &method)).await;
        let (status, target) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => (0, "-".to_owned()),
            Err(_) => (-1, "-".to_owned()),
        };
        let took = self.begin.elapsed().saturating_sub(due);
        self.rows.borrow_mut().push(Row { due, took, status, target, method });
    }

    /// The answer's status and the target it came from, once all of it has come.
    async fn answer(&self, number: u64, method: &Method) -> Result<(i32, String), Failure> {
        let body = if method == Method::POST { Full::from("{\"n\":1}") } else { Full::default() };
        let request = Request::builder().method(method).uri(&self.url);
        let request = request.header("x-id", format!("r{number}")).body(body)?;
        let response = self.client.request(request).await?;
        let status = i32::from(response.status().as_u16());
        let target = response.headers().get("x-up").and_then(|name| name.to_str().ok());
        let target = target.unwrap_or("-").to_owned();
        response.into_body().collect().await?;
        Ok((status, target))
    }
}
