//! Who asks over the network, and what they may do.

use serde::{Deserialize, Serialize};

/// What somebody may do; each scope holds those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// See how things are.
    Read,
    /// Acknowledge, drain, move, deploy, go back.
    Operate,
    /// Say who may do what.
    Admin,
}

impl Scope {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// Its word: `read`, `operate`, `admin`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// How a caller proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// A session of a browser, which sends its cookie by itself: what it changes has to prove that a page of ours asked.
    Session,
    /// A token that was sent with the request.
    Token,
}

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Caller {
    /// Their name, or that of their token, as the audit tells it.
    pub name: String,
    /// What they may do.
    pub scope: Scope,
    /// How they proved it.
    pub means: Means,
}

impl Caller {
    /// Whether they may do what takes `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.scope >= scope
    }
}
