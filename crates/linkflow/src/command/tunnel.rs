//! `linkflow tunnel`: what `cloudflared` needs to carry visitors to the edge of this machine with no open port.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use linkflow_model::role::{Front, TunnelWanted};
use serde_json::json;

use crate::say::answer::Answer;
use crate::wire::Listen;
use crate::wire::names::Writing;

use super::{Answered, Context};

/// Write what `cloudflared` needs on this machine: its config, its credentials and a systemd unit.
///
/// The tunnel itself is made by `linkflow dns apply`. Its credentials let whoever has them answer for your names: they are
/// written for the owner alone, and never printed.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow tunnel --print\n  linkflow tunnel --out /etc/cloudflared\n  systemctl enable --now /etc/cloudflared/linkflow-tunnel.service"
)]
pub(crate) struct TunnelArgs {
    /// Print the config and the unit, and write nothing.
    #[arg(long, conflicts_with = "out")]
    print: bool,

    /// The folder that the files are written to.
    #[arg(long, value_name = "FOLDER", required_unless_present = "print")]
    out: Option<PathBuf>,

    /// Where the program is.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/cloudflared")]
    program: PathBuf,

    /// The user that it runs as; one that systemd makes up for it when not said.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

/// The names of the files.
const CONFIG: &str = "config.yml";
const CREDENTIALS: &str = "credentials.json";
const UNIT: &str = "linkflow-tunnel.service";

/// What `tunnel` answers.
pub(crate) async fn answer(context: &Context, args: &TunnelArgs) -> Answered {
    let config = context.config(context.common.cloud.is_some())?;
    let cloud = context.cloud().await?;
    let options = context.options(&config, cloud, "tunnel", Listen::Nowhere);
    let writing = Writing::open(&config, &options)?;
    let wanted = writing.asked.front.as_ref().and_then(|front: &Front| front.tunnel.clone());
    let (Some(cdn), Some(wanted)) = (&writing.cdn, wanted) else {
        let help = "write `tunnel = true` into `[edge]`, and `on` with a provider that has tunnels";
        return Answer::failed(2, "the config asks for no tunnel", help);
    };
    let refused = |fault| Box::<Answer>::from(linkflow_engine::EngineError::Fault(fault));
    let Some(tunnel) = cdn.tunnel().await.map_err(refused)? else {
        return Answer::failed(1, "there is no tunnel yet", "`linkflow dns apply` makes it");
    };
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from("/etc/cloudflared"));
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    let yaml = yaml(&tunnel.id, &folder, &wanted);
    let unit = unit(config.stack.name.as_str(), &folder, args);
    let result = json!({ "tunnel": tunnel.id, "name": tunnel.name, "is": tunnel.said, "config": yaml, "unit": unit });
    if args.print {
        let out = format!("# {CONFIG}\n{yaml}\n# {UNIT}\n{unit}");
        return Ok(Answer { out, result, ..Answer::default() });
    }
    let key = cdn.tunnel_key().await.map_err(refused)?;
    let files = [
        (CONFIG, yaml.as_str(), 0o644),
        (CREDENTIALS, key.credentials.expose(), 0o600),
        (UNIT, unit.as_str(), 0o644),
    ];
    let mut out = String::new();
    for (name, text, mode) in files {
        let path = folder.join(name);
        if let Err(error) = write(&path, text, mode) {
            return Answer::failed(1, &format!("{}: {error}", path.display()), "`--out FOLDER`");
        }
        out.push_str(&format!("wrote {}\n", path.display()));
    }
    let unit = folder.join(UNIT);
    let err = format!("next: systemctl enable --now {}\n", unit.display());
    Ok(Answer { out, err, result, ..Answer::default() })
}

/// Writes a file whole, readable for whom `mode` says from its first byte on.
fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let fresh = path.with_extension("new");
    fs::remove_file(&fresh).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(fresh, path)
}

/// The program's config. It goes by this file also when Cloudflare's API is down.
fn yaml(id: &str, folder: &Path, wanted: &TunnelWanted) -> String {
    let mut out = format!(
        "tunnel: {id}\ncredentials-file: {}\ningress:\n",
        quoted(&folder.join(CREDENTIALS).display().to_string())
    );
    for (host, to) in &wanted.ingress {
        out.push_str(&format!("  - hostname: {}\n    service: {}\n", quoted(host), quoted(to)));
    }
    out + "  - service: http_status:404\n"
}

/// A text of YAML, which takes the strings of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn unit(stack: &str, folder: &Path, args: &TunnelArgs) -> String {
    let user = match &args.user {
        Some(user) => format!("User={user}\n"),
        None => format!(
            "DynamicUser=yes\nLoadCredential=credentials.json:{}\n",
            folder.join(CREDENTIALS).display()
        ),
    };
    let credentials = match &args.user {
        Some(_) => String::new(),
        None => " --credentials-file %d/credentials.json".to_owned(),
    };
    format!(
        "[Unit]\n\
         Description=Tunnel to the edge of {stack}\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         {user}\
         ExecStart={} --no-autoupdate --config {} tunnel run{credentials}\n\
         Restart=always\n\
         RestartSec=2\n\
         NoNewPrivileges=yes\n\
         ProtectSystem=strict\n\
         ProtectHome=yes\n\
         PrivateTmp=yes\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        args.program.display(),
        folder.join(CONFIG).display(),
    )
}
