//! Where secrets come from: the environment of this process, or, in a rehearsal, made-up ones.

use std::collections::BTreeMap;

use linkflow_model::Secret;
use linkflow_model::config::{Reference, SecretRef};

use super::state::Key;

/// Follows `${secret.NAME}` and `${env.NAME}`.
pub(crate) struct Secrets {
    vars: BTreeMap<String, String>,
    key: Key,
    rehearsed: bool,
}

impl Secrets {
    /// Secrets of `vars`; in a rehearsal, secrets that follow from `key`, so that no real one ever gets into it.
    pub(crate) fn new(vars: BTreeMap<String, String>, key: Key, rehearsed: bool) -> Self {
        Self { vars, key, rehearsed }
    }

    /// The secret `name`.
    pub(crate) fn secret(&self, name: &str) -> Option<Secret> {
        if self.rehearsed {
            return Some(self.made_up("secret", name));
        }
        self.vars.get(name).filter(|value| !value.is_empty()).map(Secret::new)
    }

    /// The variable `name` of the environment.
    pub(crate) fn variable(&self, name: &str) -> Option<Secret> {
        match self.vars.get(name) {
            Some(value) => Some(Secret::new(value)),
            None if self.rehearsed => Some(self.made_up("env", name)),
            None => None,
        }
    }

    /// What a program finds in its environment: those of `names` that are set.
    pub(crate) fn environment(&self, names: &[&str]) -> BTreeMap<String, String> {
        let found = |name: &&str| Some(((*name).to_owned(), self.vars.get(*name)?.clone()));
        names.iter().filter_map(found).collect()
    }

    /// What `reference` leads to; `None` when it is not there, or is no secret.
    pub(crate) fn follow(&self, reference: &SecretRef) -> Option<Secret> {
        match &reference.reference {
            Reference::Secret(name) => self.secret(name),
            Reference::Env(name) => self.variable(name),
            Reference::Stack(_)
            | Reference::Service(..)
            | Reference::Database(_)
            | Reference::Cache(_)
            | Reference::Bucket(..) => None,
        }
    }

    /// A value for whatever a rehearsal has no real one for.
    pub(crate) fn made_up(&self, kind: &str, name: &str) -> Secret {
        let hash = self.key.hash(format!("rehearsal/{kind}/{name}").as_bytes());
        Secret::new(hash.get(..40).unwrap_or(&hash))
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::Home;
    use super::*;

    fn secrets(rehearsed: bool) -> Secrets {
        let dir = tempfile::tempdir().unwrap();
        let key = Home::open(dir.path()).unwrap().key();
        let vars = [("TOKEN".to_owned(), "real".to_owned()), ("EMPTY".to_owned(), String::new())];
        Secrets::new(BTreeMap::from(vars), key, rehearsed)
    }

    #[test]
    fn a_secret_comes_from_the_environment() {
        let secrets = secrets(false);
        assert_eq!(secrets.secret("TOKEN").unwrap().expose(), "real");
        assert_eq!(secrets.secret("EMPTY"), None);
        assert_eq!(secrets.secret("OTHER"), None);
    }

    #[test]
    fn no_real_secret_gets_into_a_rehearsal() {
        let secrets = secrets(true);
        let made_up = secrets.secret("TOKEN").unwrap();
        assert_ne!(made_up.expose(), "real");
        assert_eq!(made_up.expose().len(), 40);
        assert_eq!(secrets.secret("TOKEN").unwrap(), made_up);
        assert_ne!(secrets.secret("OTHER").unwrap(), made_up);
    }
}
