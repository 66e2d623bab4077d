//! Where a rehearsal cloud answers: all that a client, also in another process, needs to know of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use linkflow_model::ProviderName;
use serde::{Deserialize, Serialize};

use super::registry::Login;

/// Every address of a running cloud. Also answered by `GET {control}/v1/endpoints`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The control API, `http://127.0.0.1:PORT`.
    pub control: String,
    /// Stands for every registry host, `http://127.0.0.1:PORT`.
    pub registry: String,
    /// The only login that pulls private images there, and pushes.
    pub registry_login: Login,
    /// The `SQLite` file that the sample app's processes share when they have no database.
    pub ledger: PathBuf,
    /// Each provider.
    pub providers: BTreeMap<ProviderName, ProviderEndpoint>,
    /// Cloudflare, which is always there.
    pub cloudflare: CloudflareEndpoint,
    /// deSEC, which is always there.
    pub desec: DesecEndpoint,
    /// GitHub, which is always there.
    pub github: GithubEndpoint,
    /// Slack, which is always there.
    pub slack: SlackEndpoint,
    /// Twilio, which is always there.
    #[serde(default)]
    pub twilio: TwilioEndpoint,
    /// Sentry, which is always there.
    #[serde(default)]
    pub sentry: SentryEndpoint,
    /// Those that send mail, by their kinds. They are always there.
    #[serde(default)]
    pub mail: BTreeMap<String, MailEndpoint>,
    /// Those that watch from outside, wait for heartbeats or show a status page, by their kinds. They are always there.
    #[serde(default)]
    pub watchers: BTreeMap<String, WatcherEndpoint>,
}

/// Where the simulated Cloudflare answers. `GET {control}/v1/cloudflare` tells what it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudflareEndpoint {
    /// In place of `https://api.cloudflare.com/client/v4`.
    pub api: String,
    /// The only token that it takes.
    pub token: String,
    /// The id of the only account.
    pub account: String,
    /// The only zone: `example.com`.
    pub zone: String,
    /// Its id.
    pub zone_id: String,
}

/// Where the simulated deSEC answers. `GET {control}/v1/desec` tells what it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DesecEndpoint {
    /// In place of `https://desec.io/api/v1`.
    pub api: String,
    /// The only token that it takes.
    pub token: String,
    /// The only zone: `example.com`.
    pub zone: String,
}

/// Where the simulated GitHub answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GithubEndpoint {
    /// In place of `https://api.github.com`.
    pub api: String,
    /// The only credential that it takes.
    pub token: String,
    /// The only repository that there is: `acme/linkflow`.
    pub repository: String,
}

/// Where the simulated Slack answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlackEndpoint {
    /// The only webhook that there is. `GET {control}/v1/slack/messages` tells what came by it.
    pub webhook: String,
    /// In place of `https://slack.com/api`.
    #[serde(default)]
    pub api: String,
    /// The only bot's token.
    #[serde(default)]
    pub token: String,
    /// The name of the only channel.
    #[serde(default)]
    pub channel: String,
}

/// Where a simulated vendor answers that sends mail. `GET {control}/v1/mail` tells what each was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MailEndpoint {
    /// In place of the vendor's own scheme and host and, at Brevo, `/v3`.
    pub api: String,
    /// The only key that it takes.
    pub token: String,
}

/// Where the simulated Twilio answers. `GET {control}/v1/twilio/messages` tells what it was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TwilioEndpoint {
    /// In place of `https://api.twilio.com`.
    pub api: String,
    /// The SID of the only account.
    pub account: String,
    /// The only token that it takes.
    pub token: String,
    /// The only number that messages come from.
    pub from: String,
}

/// Where the simulated Sentry answers. `POST {control}/v1/sentry` makes an issue, `PUT` gives it another status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SentryEndpoint {
    /// In place of `https://us.sentry.io`.
    pub api: String,
    /// The only token that it takes.
    pub token: String,
    /// The slug of the only organization.
    pub organization: String,
    /// What webhooks of the only integration are signed with.
    pub client_secret: String,
}

/// Where a simulated vendor answers that watches from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatcherEndpoint {
    /// In place of the vendor's own scheme, host and, at UptimeRobot, `/v3`.
    pub api: String,
    /// The only token that it takes.
    pub token: String,
    /// Instatus: the id of the only page.
    pub page: Option<String>,
}

/// Where one simulated provider answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProviderEndpoint {
    /// The kind, as the config calls it. Those that the cloud has no vendor's API for get the generic one.
    pub kind: String,
    /// Replaces the scheme and host of the vendor's production address; the vendor's paths follow it
    /// (`/v1/apps` and `/api/v1/apps/…/logs` for Fly, `/graphql/v2` for Railway, `/graphql` for Zeabur, `/v1/services` for
    /// generic ones, and so on).
    pub api: String,
    /// The only credential that it takes. Azure: the JSON that its command line prints for a service principal.
    pub token: String,
    /// Fly: the organisation's slug. Railway, Zeabur: the project's id. Azure: the resource group. Render: the workspace's id. Koyeb: the organisation's id. Otherwise `None`.
    pub project: Option<String>,
    /// Railway, Zeabur: the environment's id. Azure: the name of an environment that is there. Otherwise `None`.
    pub environment: Option<String>,
    /// Fly: what answers in place of `https://registry.fly.io`. Otherwise `None`.
    #[serde(default)]
    pub registry: Option<String>,
    /// What public host names end in: `fly.dev`, `up.railway.app`, `zeabur.app`, `koyeb.app`, `onrender.com`, `NAME.rehearsal`.
    pub host_suffix: String,
    /// Where hosts with that suffix really answer: HTTP/1.1 and HTTP/2 with prior knowledge, without TLS.
    pub ingress: SocketAddr,
}
