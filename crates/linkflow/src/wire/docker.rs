//! Whether a Docker engine answers on this machine.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// How long the engine may take to say its version.
const WITHIN: Duration = Duration::from_secs(3);

/// What `docker` finds in its environment.
pub(crate) const ENV: [&str; 4] = ["PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT"];

/// The version of the engine that `docker` reaches with what `vars` say.
///
/// # Errors
/// Why there is none, in one line.
pub(crate) async fn version(vars: &BTreeMap<String, String>) -> Result<String, String> {
    let mut command = Command::new("docker");
    command
        .args(["version", "--format", "{{.Server.Version}}"])
        .env_clear()
        .envs(ENV.iter().filter_map(|name| Some((*name, vars.get(*name)?))))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = match timeout(WITHIN, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("docker is not installed".to_owned());
        }
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("nothing within {} s", WITHIN.as_secs())),
    };
    let line = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
    };
    match (output.status.success(), line(&output.stdout)) {
        (true, version) if !version.is_empty() => Ok(version),
        _ => Err(line(&output.stderr)),
    }
}
