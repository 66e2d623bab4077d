//! Nobody in front: visitors meet the edge of this machine itself. What is asked of a provider in front is told as left
//! out, and values for the worker stand in files.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use async_trait::async_trait;
use linkflow_model::role::{Cdn, CdnLook, Front, FrontChange, Tunnel, TunnelKey, Usage};
use linkflow_model::{Fault, FaultKind, ProviderName, StackName};

use crate::kit::{Kit, encode};

/// Why nothing of it can be had here.
const NOBODY: &str = "nobody stands in front of the edge: `edge.on` names a provider that can";

/// What it needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where values are. Made when it is not there.
    pub folder: PathBuf,
}

/// Nobody in front.
pub struct Nobody {
    folder: PathBuf,
    provider: ProviderName,
}

pub(super) fn open(settings: Settings, _: &Kit, _: &StackName, provider: &ProviderName) -> Nobody {
    Nobody { folder: settings.folder, provider: provider.clone() }
}

impl Nobody {
    fn fault(&self, kind: FaultKind, attempt: &str, said: &str) -> Fault {
        let (attempt, said) = (attempt.to_owned(), said.to_owned());
        Fault { kind, provider: self.provider.clone(), attempt, said }
    }

    fn write(&self, key: &str, value: &str) -> io::Result<()> {
        let path = self.folder.join(encode(key));
        if fs::read_to_string(&path).is_ok_and(|held| held == value) {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        let fresh = path.with_extension("new");
        let mut file = fs::File::create(&fresh)?;
        file.write_all(value.as_bytes())?;
        file.sync_all()?;
        fs::rename(fresh, path)
    }
}

/// Every thing that `wanted` asks of a provider in front.
fn asked(wanted: &Front) -> Vec<&'static str> {
    let all = [
        (wanted.firewall, "firewall"),
        (wanted.bots, "bots"),
        (wanted.always_online, "always online"),
        (wanted.hsts_s.is_some(), "hsts"),
        (!wanted.rate.is_empty(), "rate limit"),
        (!wanted.cache.is_empty(), "cache"),
        (wanted.worker.is_some(), "worker"),
        (wanted.tunnel.is_some(), "tunnel"),
    ];
    all.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, what)| what).collect()
}

#[async_trait]
impl CdnLook for Nobody {
    fn name(&self) -> &ProviderName {
        &self.provider
    }

    async fn differences(&self, wanted: &Front) -> Result<Vec<FrontChange>, Fault> {
        let told = |what| FrontChange::new(what, None, Some("on".to_owned())).blocked(NOBODY);
        Ok(asked(wanted).into_iter().map(told).collect())
    }

    async fn tunnel(&self) -> Result<Option<Tunnel>, Fault> {
        Ok(None)
    }

    async fn usage(&self) -> Result<Vec<Usage>, Fault> {
        Ok(Vec::new())
    }

    async fn refused(&self, _: &Front) -> Result<Vec<Fault>, Fault> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Cdn for Nobody {
    async fn put(&self, wanted: &Front) -> Result<Vec<FrontChange>, Fault> {
        self.differences(wanted).await
    }

    async fn put_value(&self, key: &str, value: &str) -> Result<(), Fault> {
        let attempt = format!("write the value {key}");
        self.write(key, value)
            .map_err(|error| self.fault(FaultKind::Unreachable, &attempt, &error.to_string()))
    }

    async fn tunnel_key(&self) -> Result<TunnelKey, Fault> {
        Err(self.fault(FaultKind::Unsupported, "tell the tunnel's key", NOBODY))
    }
}
