//! `cargo xtask dist`: the binary that is handed out, laid out by what a running one does most.
//!
//! A program that counts what it runs through is built, visitors ask it for a while, and it is built again with what was
//! counted: <https://doc.rust-lang.org/rustc/profile-guided-optimization.html>. A request then needs a third fewer
//! instructions.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use crate::needs::{Need, installed};
use crate::run::{Done, command, output, run};

/// Where the counts are, and the program that counts.
const PLACE: &str = "target/training";

/// Those who ask.
const NEEDS: &[Need] = &[
    Need {
        what: "curl and wrk, which ask while the program counts",
        packages: &["curl", "wrk"],
        is_there: || Path::new("/usr/bin/curl").exists() && Path::new("/usr/bin/wrk").exists(),
    },
    Need {
        what: "h2load, which asks by HTTP/2",
        packages: &["nghttp2-client"],
        is_there: || Path::new("/usr/bin/h2load").exists(),
    },
];

/// What the program that counts serves and watches: a service on two providers of the rehearsal.
const STACK: &str = r#"
[stack]
name = "training"

[providers.fly]
kind = "fly"
organization = "acme"
token = "${secret.FLY_API_TOKEN}"

[providers.railway]
kind = "railway"
token = "${secret.RAILWAY_TOKEN}"

[services.web]
image = "ghcr.io/acme/linkflow/engine-frontend:1.0"
port = 8080
health = "/health"
route = "shop.example.com"
runs_on = ["fly", "railway"]
env = { HISTORY_ADDR = "history", MATCHING_ADDR = "matching", LINKFLOW_SECRET = "for-training" }

[monitors.page]
http = "http://127.0.0.1:@PLAIN@/health"
headers = { host = "shop.example.com" }
every = "1s"
timeout = "900ms"

[monitors.port]
tcp = "127.0.0.1:@TLS@"
every = "1s"
timeout = "900ms"

[status_page]
host = "status.example.com"

[dashboard]
listen = "127.0.0.1:@BOARD@"
"#;

/// Builds it.
pub(crate) fn dist() -> Done {
    installed(NEEDS)?;
    let place = crate::root().join(PLACE);
    fs::remove_dir_all(&place).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(format!("{PLACE}: {error}")),
    })?;
    fs::create_dir_all(&place).map_err(|error| format!("{PLACE}: {error}"))?;
    let host = host()?;
    let merger = merger(&host)?;
    println!("building the program that counts");
    let counted = place.join("counts");
    let built = build(&host, &format!("-Cprofile-generate={}", counted.display()))?;
    let counting = place.join("linkflow");
    fs::rename(&built, &counting).map_err(|error| format!("{}: {error}", built.display()))?;
    train(&counting, &place)?;
    let counts = place.join("counts.profdata").display().to_string();
    run(&[&merger, "merge", "-o", &counts, &counted.display().to_string()])?;
    println!("building with what was counted");
    let built = build(&host, &format!("-Cprofile-use={counts}"))?;
    println!("{}", built.display());
    Ok(())
}

/// Builds the program with `flags` for the compiler, and says where it is. The target is named so that they are for it alone:
/// what runs while it is built counts nothing.
fn build(host: &str, flags: &str) -> Result<PathBuf, String> {
    let words = [
        "cargo",
        "build",
        "--quiet",
        "--profile",
        "dist",
        "--package",
        "linkflow",
        "--target",
        host,
    ];
    let status = command(&words).env("RUSTFLAGS", flags).status();
    match status {
        Ok(status) if status.success() => {
            Ok(crate::root().join("target").join(host).join("dist/linkflow"))
        }
        Ok(status) => Err(format!("`{}`: {status}", words.join(" "))),
        Err(error) => Err(format!("cargo could not be started: {error}")),
    }
}

/// The compiler's word for this machine.
fn host() -> Result<String, String> {
    let said = output(&["rustc", "-vV"])?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say what it builds for".to_owned())
}

/// The program that adds counts up; it comes with the compiler, for another version reads other counts.
fn merger(host: &str) -> Result<String, String> {
    let root = output(&["rustc", "--print", "sysroot"])?;
    let path = Path::new(root.trim()).join("lib/rustlib").join(host).join("bin/llvm-profdata");
    if !path.exists() {
        println!("installing llvm-tools, which add up what was counted");
        run(&["rustup", "component", "add", "llvm-tools"])?;
    }
    match path.exists() {
        true => Ok(path.display().to_string()),
        false => Err(format!("{} is not there: install `llvm-tools` of this Rust", path.display())),
    }
}

/// Has `counting` serve, and asks it what visitors ask.
fn train(counting: &Path, place: &Path) -> Done {
    let [plain, tls, board] = [port()?, port()?, port()?];
    let stack = STACK.replace("@PLAIN@", &plain.to_string()).replace("@TLS@", &tls.to_string());
    let stack = stack.replace("@BOARD@", &board.to_string());
    let config = place.join("linkflow.toml");
    fs::write(&config, stack).map_err(|error| format!("{}: {error}", config.display()))?;
    let (at, secure) = (format!("127.0.0.1:{plain}"), format!("127.0.0.1:{tls}"));
    let up = [
        &counting.display().to_string(),
        "--config",
        &config.display().to_string(),
        "up",
        "--rehearsal",
        "--listen",
        &at,
        "--listen-tls",
        &secure,
    ];
    println!("{}", up.join(" "));
    let up = command(&up).spawn().map_err(|error| format!("{}: {error}", counting.display()))?;
    let mut up = Serving(up);
    let page = format!("http://{at}/health");
    let shop = "Host: shop.example.com";
    await_answer(&page, shop)?;
    let wrk = ["wrk", "-t1", "-c32", "-d8s", "-H"];
    let asked = run(&[&wrk, &[shop, &page][..]].concat())
        .and_then(|()| run(&[&wrk, &[shop, &format!("https://{secure}/health")][..]].concat()))
        .and_then(|()| {
            let url = format!("https://{secure}/health");
            run(&["h2load", "-c8", "-m8", "-D8", "-H", ":authority: shop.example.com", &url])
        })
        .and_then(|()| {
            let url = format!("http://{at}/");
            run(&[&wrk, &["Host: status.example.com", &url][..]].concat())
        });
    // What was counted is written when it ends by itself.
    up.end()?;
    asked
}

/// A program that serves, until it is told to end.
struct Serving(Child);

impl Serving {
    fn end(&mut self) -> Done {
        run(&["kill", "-INT", &self.0.id().to_string()])?;
        let status = self.0.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the program that counts: {status}")) }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Waits until `url` answers well.
fn await_answer(url: &str, host: &str) -> Done {
    for _ in 0..240 {
        if crate::run::works(&["curl", "-sf", "-H", host, url]) {
            return Ok(());
        }
        sleep(Duration::from_millis(500));
    }
    Err(format!("{url} does not answer within two minutes"))
}

/// A port that is free.
fn port() -> Result<u16, String> {
    let at = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    at.map(|at| at.port()).map_err(|error| format!("no port is free: {error}"))
}
