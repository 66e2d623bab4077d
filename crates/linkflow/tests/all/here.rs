//! A service that runs only on this machine, with real processes and no cloud.

use std::path::Path;

use crate::conversations::{Said, linkflow};

/// A worker that ends by itself soon after the test, and a migration that can be counted.
fn stack(folder: &Path, migrate: &str) -> String {
    format!(
        r#"
[stack]
name = "here"
[providers.embedded]
kind = "embedded"
programs = {{ "ghcr.io/acme/job" = ["sleep", "5"] }}
[services.job]
image = "ghcr.io/acme/job:1"
kind = "worker"
runs_on = ["embedded"]
migrate = "{migrate}"
env = {{ FILE = "{}" }}
"#,
        folder.join("migrated").display()
    )
}

fn expect(folder: &Path, arguments: &[&str], code: i32) -> Said {
    let said = linkflow(folder, arguments);
    assert_eq!(said.code, code, "{arguments:?}\n{}\n{}", said.out, said.err);
    said
}

#[test]
fn a_migration_runs_here_once_with_the_environment_of_its_service() {
    let dir = tempfile::tempdir().unwrap();
    let write = |migrate: &str| {
        std::fs::write(dir.path().join("linkflow.toml"), stack(dir.path(), migrate)).unwrap();
    };
    write("sh -c 'echo no such table; exit 7'");
    let failed = expect(dir.path(), &["apply"], 1);
    for part in ["exited with 7", "| no such table", "nothing of r1 was deployed"] {
        assert!(failed.err.contains(part), "{part}: {}", failed.err);
    }
    write("sh -c 'echo $LINKFLOW_RELEASE >> $FILE'");
    expect(dir.path(), &["apply"], 0);
    expect(dir.path(), &["apply"], 0);
    let ran = std::fs::read_to_string(dir.path().join("migrated")).unwrap();
    assert_eq!(ran, "r2\n");
    let history = expect(dir.path(), &["history"], 0);
    assert!(history.out.contains("job: 0") && history.out.contains("job: 7"), "{}", history.out);
    let left = dir.path().join(".linkflow/embedded/here/embedded/jobs");
    let left: Vec<_> = std::fs::read_dir(left).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.is_empty(), "what worked or is over leaves nothing: {left:?}");
}
