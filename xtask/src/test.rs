//! `cargo xtask test`: everything that has to hold.

use std::io::{BufRead, BufReader};
use std::num::NonZero;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::needs::{
    BROWSER_TOOLS, CONFORMANCE, DESCRIPTIONS, Installing, deny, describes, install, python, tester,
    worker_tool,
};
use crate::rehearse::{RECORDING, rehearse};
use crate::run::{Done, command, run, works};

/// A part of the chore.
type Part = fn() -> Done;

/// The parts, in order: cheap ones first, so that a slip is told early.
const PARTS: &[(&str, Part)] = &[
    ("needs", install),
    ("format", || run(&["cargo", "fmt", "--all", "--check"])),
    ("lints", lints),
    ("tests", tests),
    ("worker", worker),
    ("browser", browser),
    ("api", api),
    ("build", built),
    ("rehearsal", rehearse),
    ("descriptions", descriptions),
    ("dependencies", dependencies),
];

/// Runs every part, or those that are named, also after one that failed, and fails when one did.
pub(crate) fn test(named: &[&str]) -> Done {
    if let Some(unknown) = named.iter().find(|name| PARTS.iter().all(|(part, _)| part != *name)) {
        let parts: Vec<&str> = PARTS.iter().map(|(part, _)| *part).collect();
        return Err(format!("no part is called `{unknown}`: {}", parts.join(", ")));
    }
    let mut rows = Vec::new();
    let is_named = |part: &str| named.is_empty() || named.contains(&part);
    let installing = is_named("dependencies").then(Installing::deny);
    for (name, part) in PARTS.iter().filter(|(part, _)| is_named(part)) {
        println!("\n== {name}");
        let start = now();
        let done = part();
        if let Err(why) = &done {
            println!("{name} failed: {why}");
        }
        rows.push((name, start.elapsed(), done));
    }
    drop(installing);
    println!("\n== summary");
    for (name, took, done) in &rows {
        println!(
            "{name:<14} {:>7}  {}",
            seconds(*took),
            if done.is_ok() { "ok" } else { "FAILED" }
        );
    }
    let failed = rows.iter().filter(|(_, _, done)| done.is_err()).count();
    println!("{} parts passed, {failed} parts failed", rows.len() - failed);
    if failed == 0 { Ok(()) } else { Err(format!("{failed} of {} parts", rows.len())) }
}

/// Leaves the program where the parts after it find it, as the tests of the workspace have built it: another choice of packages
/// has other features, and everything would be built anew.
fn built() -> Done {
    run(&["cargo", "test", "--quiet", "--workspace", "--no-run"])
}

fn lints() -> Done {
    let cargo = ["cargo", "clippy", "--quiet", "--workspace", "--all-targets"];
    run(&[cargo.as_slice(), &["--", "-D", "warnings"]].concat())?;
    // The yardsticks are apart from the workspace, and are to be there when somebody wants to measure.
    for package in ["benches/edge/Cargo.toml", "benches/monitor/Cargo.toml"] {
        let own = "profile.dev.debug=\"line-tables-only\"";
        let check = ["cargo", "check", "--quiet", "--target-dir", "target", "--config", own];
        run(&[check.as_slice(), &["--manifest-path", package]].concat())?;
    }
    Ok(())
}

/// Runs the tests of every crate. One line for each program of tests; all that a failing one said.
fn tests() -> Done {
    let words = ["cargo", "test", "--workspace", "--no-fail-fast", "--color", "never"];
    let (reader, writer) = std::io::pipe().map_err(|error| error.to_string())?;
    let errors = writer.try_clone().map_err(|error| error.to_string())?;
    let recordings = emptied(RECORDINGS)?;
    let mut cargo = command(&words);
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    cargo.arg("--config").arg(format!("target.'cfg(all())'.runner=[{own:?}, 'run-test']"));
    cargo.env("LINKFLOW_TEST_RECORD", &recordings);
    // What a test needs was installed: where it is missing all the same, the test fails and is not skipped.
    cargo.env("LINKFLOW_TEST_ALL", "1");
    // What is thrown with dice is the same in each run; `cargo test` alone throws anew.
    cargo.env("PROPTEST_RNG_SEED", "20261130");
    cargo.stdout(Stdio::from(writer)).stderr(Stdio::from(errors));
    let mut child = cargo.spawn().map_err(|error| format!("cargo test: {error}"))?;
    // The command holds the writing ends: the pipe ends when they are gone.
    drop(cargo);
    let mut tally = Tally::default();
    for line in BufReader::new(reader).lines() {
        tally.read(line.map_err(|error| error.to_string())?);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    if status.success() {
        return if tally.passed > 0 { Ok(()) } else { Err("no test was run".to_owned()) };
    }
    if tally.failed == 0 {
        // Nothing ran to its end: cargo or a test program itself says why.
        tally.block.iter().for_each(|line| println!("{line}"));
    }
    Err(format!("`{}`: {status}", words.join(" ")))
}

/// Becomes a program of tests. Those of the providers wait most of their time for limits that vendors have: more of them go on
/// at once than there are processors.
pub(crate) fn run_test(words: &[&str]) -> Done {
    let (name, rest) = words.split_first().ok_or("no program was named")?;
    let mut program = Command::new(name);
    program.args(rest);
    // Cargo runs tests in the folder of their package.
    if std::env::current_dir().is_ok_and(|folder| folder.ends_with("crates/providers")) {
        let processors = std::thread::available_parallelism().map_or(2, NonZero::get);
        program.env("RUST_TEST_THREADS", (4 * processors).to_string());
    }
    Err(format!("{name}: {}", program.exec()))
}

/// What cargo's lines come to.
#[derive(Default)]
struct Tally {
    /// The program whose lines these are.
    program: String,
    /// Its lines so far.
    block: Vec<String>,
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    fn read(&mut self, line: String) {
        let text = line.trim_start();
        if let Some(rest) = text.strip_prefix("Running ").or(text.strip_prefix("Doc-tests ")) {
            self.program = program(rest);
            self.block.clear();
        } else if let Some(result) = text.strip_prefix("test result: ") {
            let count = |word| count(result, word);
            let (passed, failed) = (count("passed"), count("failed"));
            self.passed += passed;
            self.failed += failed;
            if failed > 0 {
                self.block.drain(..).for_each(|line| println!("{line}"));
            }
            if passed + failed > 0 {
                println!("{:<32} {result}", self.program);
            }
        } else {
            let note = text.starts_with("skipped: ");
            self.skipped += u64::from(note);
            self.block.push(line);
        }
    }
}

/// `linkflow_decide unittests src/lib.rs` from `unittests src/lib.rs (target/debug/deps/linkflow_decide-0f3a)`.
fn program(text: &str) -> String {
    let Some((kind, path)) = text.split_once(" (") else { return format!("{text} doc-tests") };
    let file = path.trim_end_matches(')').rsplit('/').next().unwrap_or_default();
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    format!("{name} {kind}")
}

/// The number in front of `word` in `ok. 3 passed; 0 failed; …`.
fn count(result: &str, word: &str) -> u64 {
    let words: Vec<&str> = result.split([' ', ';', '.']).filter(|w| !w.is_empty()).collect();
    let at = words.iter().position(|w| *w == word);
    at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or_default()
}

/// The folder `path` of the checkout, with nothing in it.
fn emptied(path: &str) -> Result<PathBuf, String> {
    let folder = crate::root().join(path);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|error| format!("{path}: {error}"))?;
    }
    std::fs::create_dir_all(&folder).map_err(|error| format!("{path}: {error}"))?;
    Ok(folder)
}

/// Where the tests of the adapters record their exchanges.
const RECORDINGS: &str = "target/test-recordings";

/// The vendors that must have been spoken to.
const REQUIRED: &str = "azure,fly,railway,koyeb,zeabur,render,hetzner,cloudflare,github,slack,twilio,resend,brevo,uptimerobot,cronitor,instatus,healthchecks,betterstack,sentry";

/// Where descriptions are provably wrong, each with the reason and its source.
const EXCEPTIONS: &str = "xtask/exceptions.json";

/// Holds what the rehearsal and the tests recorded against the vendors' own descriptions.
fn descriptions() -> Done {
    if !describes() {
        println!("skipped: {DESCRIPTIONS} and {CONFORMANCE} are not there");
        return Ok(());
    }
    let python = python()?;
    let recorded = std::fs::read_dir(crate::root().join(RECORDINGS)).into_iter().flatten();
    let mut files: Vec<String> =
        recorded.flatten().map(|entry| entry.path().display().to_string()).collect();
    if crate::root().join(RECORDING).exists() {
        files.push(RECORDING.to_owned());
    }
    let mut words = vec![python.as_str(), CONFORMANCE];
    words.extend(files.iter().map(String::as_str));
    words.extend(["--specs", DESCRIPTIONS, "--require", REQUIRED, "--exceptions", EXCEPTIONS]);
    run(&words)
}

/// Where the edge puts stories for the worker.
const STORIES: &str = "target/worker-vectors";

/// Checks the worker's types, has the edge make up stories for it, and runs its tests: decisions, and the bundle at work.
fn worker() -> Done {
    let (checker, node) = (worker_tool("tsc"), worker_tool("node"));
    if !works(&[&checker, "--version"]) || !works(&[&node, "--version"]) {
        return Err("its tools are not there: `cargo xtask test needs` installs them".to_owned());
    }
    run(&[&checker, "--project", "worker"])?;
    let stories = emptied(STORIES)?;
    let mut cargo = command(&["cargo", "test", "--quiet", "--workspace", "--lib", "vectors"]);
    let status = cargo.env("LINKFLOW_TEST_VECTORS", stories).stdout(Stdio::null()).status();
    if !status.map_err(|error| error.to_string())?.success() {
        return Err(
            "the edge could not make up stories: `cargo test -p linkflow-edge vectors`".to_owned()
        );
    }
    let flags = [
        "--test",
        // One file after the other: each of those under load has the machine for itself.
        "--test-concurrency=1",
        // Node 22 now and then spins for ever when it takes down what a file has closed already.
        "--test-force-exit",
        "--test-reporter=spec",
        "worker/test/*.test.ts",
    ];
    run(&[[node.as_str()].as_slice(), &flags].concat())
}

/// Where the status page that a browser looks at is written.
const PAGE: &str = "target/browser-page";

/// Shows the status page and the operators' site to a browser: on a phone, in the dark, without scripts, by keyboard, and to
/// axe.
fn browser() -> Done {
    let node = worker_tool("node");
    if !works(&[&node, "--version"]) || !works(&["/usr/bin/chromium", "--version"]) {
        return Err("its tools are not there: `cargo xtask test needs` installs them".to_owned());
    }
    let page = emptied(PAGE)?;
    let mut cargo = command(&["cargo", "test", "--quiet", "--workspace", "--lib", "browsers"]);
    let status = cargo.env("LINKFLOW_TEST_PAGE", &page).stdout(Stdio::null()).status();
    if !status.map_err(|error| error.to_string())?.success() {
        return Err("the page was not written: `cargo test -p linkflow-web browsers`".to_owned());
    }
    built()?;
    let files = ["page", "door", "board"].map(|name| format!("crates/web/browser/{name}.test.mjs"));
    let flags = [node.as_str(), "--test", "--test-concurrency=1", "--test-reporter=spec"];
    let mut tests = command(&flags);
    tests
        .args(&files)
        .env("LINKFLOW_TEST_PAGE", &page)
        .env("LINKFLOW_TEST_PROGRAM", crate::root().join("target/debug/linkflow"))
        .env("LINKFLOW_TEST_TOOLS", crate::root().join(BROWSER_TOOLS));
    let status = tests.status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("the pages in a browser: {status}")) }
}

/// Where the API that is tested writes its description and its address. It is answered until the latter is gone.
const API: &str = "target/api";

/// How the tester proves who it is.
const TESTER: &str = "xtask/schemathesis.toml";

/// How many requests are made up for each operation of the API, of each sort.
const EXAMPLES: &str = "6";

/// Has a stranger ask the API all that its description allows, and what it forbids.
fn api() -> Done {
    let tester = tester()?;
    let words = ["cargo", "test", "--quiet", "--workspace", "--lib"];
    run(&[words.as_slice(), &["--no-run"]].concat())?;
    let folder = emptied(API)?;
    let name = "api::tests::the_api_is_served_as_it_is_described";
    let mut cargo = command(&[words.as_slice(), &[name]].concat());
    let mut served = cargo
        .env("LINKFLOW_TEST_API", &folder)
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("the API cannot be served: {error}"))?;
    let file = folder.join("address");
    let asked = address(&file).and_then(|at| {
        let description = format!("{API}/openapi.json");
        let program = [tester.as_str(), "--config-file", TESTER, "run", &description];
        let flags = ["--url", &at, "--checks", "all", "--max-examples", EXAMPLES];
        run(&[program.as_slice(), flags.as_slice(), &["--seed", "1", "--no-color"]].concat())
    });
    // The test ends with its file; where it never came so far, it has ended.
    drop(std::fs::remove_file(&file));
    let ended = served.wait().map_err(|error| error.to_string())?;
    asked?;
    if ended.success() { Ok(()) } else { Err(format!("the API that was tested: {ended}")) }
}

/// The address that stands in `file`, once it does.
fn address(file: &std::path::Path) -> Result<String, String> {
    for _ in 0..600 {
        if let Some(at) = std::fs::read_to_string(file).ok().filter(|at| !at.is_empty()) {
            return Ok(at);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("the API was not served: `cargo test -p linkflow-web the_api_is_served`".to_owned())
}

fn dependencies() -> Done {
    let Some(deny) = deny() else {
        println!(
            "skipped: cargo-deny could not be installed (`cargo install --locked cargo-deny`)"
        );
        return Ok(());
    };
    run(&[&deny, "--log-level", "error", "check", "bans", "licenses", "sources"])
}

#[expect(clippy::disallowed_methods, reason = "a chore is timed by the machine's own clock")]
fn now() -> Instant {
    Instant::now()
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_lines_are_counted_program_by_program() {
        let mut tally = Tally::default();
        for line in [
            "     Running unittests src/lib.rs (target/debug/deps/linkflow_decide-7bdd813bc3f28edb)",
            "test a ... ok",
            "test result: ok. 44 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "     Running tests/all.rs (target/debug/deps/all-0a)",
            "skipped: no postgres",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            tally.read(line.to_owned());
        }
        assert_eq!((tally.passed, tally.failed, tally.skipped), (46, 1, 1));
        assert_eq!(tally.program, "all tests/all.rs");
    }

    #[test]
    fn a_program_is_named_by_its_crate() {
        assert_eq!(
            program("unittests src/lib.rs (target/debug/deps/linkflow_decide-7bdd)"),
            "linkflow_decide unittests src/lib.rs"
        );
        assert_eq!(program("linkflow_decide"), "linkflow_decide doc-tests");
    }
}
