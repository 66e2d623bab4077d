//! What is written by the program itself: the config's schema and manual, and pictures.

use std::fs;
use std::path::Path;

/// The program, as `cargo build --release` leaves it.
const PROGRAM: &str = "target/release/linkflow";
use crate::run::{Done, output, run, works};

/// Writes the schema and the manual anew.
pub(crate) fn docs() -> Done {
    let linkflow = ["cargo", "run", "--quiet", "-p", "linkflow", "--", "schema"];
    let schema = output(&linkflow)?;
    let manual = output(&[linkflow.as_slice(), &["--markdown"]].concat())?;
    write("examples/linkflow/linkflow.schema.json", &schema)?;
    write("docs/config.md", &manual)
}

/// Programs that can make a picture of a page.
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Runs a rehearsal and keeps its pictures.
pub(crate) fn picture() -> Done {
    run(&["cargo", "build", "--quiet", "--release", "-p", "linkflow"])?;
    let root = crate::root();
    let report = root.join("target/report");
    run(&[&root.join(PROGRAM).display().to_string(), "rehearse", "--report", &shown(&report)])?;
    let pictures = root.join("docs/pictures");
    fs::create_dir_all(&pictures).map_err(|error| format!("{}: {error}", pictures.display()))?;
    let terminal = report.join("terminal.svg");
    fs::copy(&terminal, pictures.join("rehearsal.svg"))
        .map_err(|error| format!("{}: {error}", terminal.display()))?;
    println!("wrote docs/pictures/rehearsal.svg");
    let Some(browser) = BROWSERS.iter().find(|browser| works(&[browser, "--version"])) else {
        println!("no picture of the report: none of {} is there", BROWSERS.join(", "));
        return Ok(());
    };
    let page = format!("file://{}", shown(&report.join("report.html")));
    let picture = format!("--screenshot={}", shown(&pictures.join("report.png")));
    let options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1280,1600"];
    run(&[&[*browser], options.as_slice(), &[&picture, &page]].concat())?;
    println!("wrote docs/pictures/report.png");
    Ok(())
}

fn write(path: &str, text: &str) -> Done {
    fs::write(crate::root().join(path), text).map_err(|error| format!("{path}: {error}"))?;
    println!("wrote {path}");
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
