//! Channels to people.

pub mod command;
pub mod discord;
pub mod embedded;
pub mod mail;
pub mod ntfy;
pub mod pagerduty;
pub(crate) mod post;
pub mod slack;
pub mod slack_bot;
pub mod teams;
pub mod telegram;
mod text;
pub mod twilio;
pub mod webhook;

use std::sync::Arc;

use linkflow_model::ProviderName;
use linkflow_model::role::Notify;

use crate::kit::Kit;

/// Declares the channels: their words, their settings, and how each is opened.
macro_rules! channels {
    ($($module:ident => $variant:ident),+ $(,)?) => {
        /// The kinds of channels.
        pub const KINDS: &[&str] = &[$(stringify!($module)),+];

        /// What one channel needs, by its kind. Every reference is already followed.
        #[derive(Clone, Debug)]
        pub enum Settings {
            $(
                #[doc = concat!("For the kind `", stringify!($module), "`.")]
                $variant($module::Settings),
            )+
        }

        impl Settings {
            /// The kind.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($module),)+ }
            }
        }

        /// Opens the channel that is called `provider`.
        pub fn open(settings: Settings, kit: &Kit, provider: &ProviderName) -> Arc<dyn Notify> {
            match settings {
                $(Settings::$variant(own) => Arc::new($module::open(own, kit, provider)),)+
            }
        }
    };
}

channels! {
    embedded => Embedded,
    slack => Slack,
    slack_bot => SlackBot,
    mail => Mail,
    twilio => Twilio,
    telegram => Telegram,
    discord => Discord,
    teams => Teams,
    ntfy => Ntfy,
    pagerduty => Pagerduty,
    webhook => Webhook,
    command => Command,
}
