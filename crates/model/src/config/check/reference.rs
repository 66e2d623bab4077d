//! References: whether what they name is there and has what they ask for.

use super::Check;
use super::parts::{has_password, section_of};
use crate::config::codes::{self, Code};
use crate::config::problem::Problem;
use crate::config::read::Use;
use crate::config::template::{Reference, ServiceProperty};

impl Check<'_> {
    pub(super) fn references(&mut self, uses: &[Use]) {
        for used in uses {
            let found = match &used.reference {
                Reference::Secret(_) | Reference::Env(_) => Ok(()),
                Reference::Stack(property) => self.stack(*property),
                Reference::Service(name, property) => self.service(name.as_str(), *property),
                Reference::Database(name) => self.there("database", name.as_str()),
                Reference::Bucket(name, _) => self.there("bucket", name.as_str()),
                Reference::Cache(name) => self.there("cache", name.as_str()).and_then(|()| {
                    let cache = self.config.caches.get(name);
                    let on = cache.and_then(|c| self.config.provider(&c.primary.on));
                    if on.is_some_and(|p| p.kind().word == "cloudflare-kv") {
                        let what = format!(
                            "cache `{name}` is Cloudflare KV first of all, which has no address"
                        );
                        return Err((codes::WRONG_TARGET, what, "make it a fallback".to_owned()));
                    }
                    Ok(())
                }),
            };
            if let Err((code, what, help)) = found {
                self.problems.push(Problem::new(code, used.at, what).help(help));
            }
        }
        let config = self.config;
        for (name, service) in &config.services {
            for (variable, _) in service.env.iter().filter(|(_, v)| has_password(v)) {
                self.password(&["services", name.as_str(), "env", variable]);
            }
        }
    }

    fn there(&self, kind: &str, name: &str) -> Result<(), (Code, String, String)> {
        let section = section_of(kind);
        if self.has(&[section, name]) {
            return Ok(());
        }
        Err((codes::NO_TARGET, format!("there is no {kind} `{name}`"), self.near(section, name)))
    }

    fn stack(
        &self,
        property: crate::config::template::StackProperty,
    ) -> Result<(), (Code, String, String)> {
        let asks_domain = property == crate::config::template::StackProperty::Domain;
        if asks_domain && !self.has(&["stack", "domain"]) {
            let what = "the stack has no `domain`".to_owned();
            return Err((codes::WRONG_TARGET, what, "add `domain = …` to `[stack]`".to_owned()));
        }
        Ok(())
    }

    fn service(&self, name: &str, property: ServiceProperty) -> Result<(), (Code, String, String)> {
        self.there("service", name)?;
        let (key, what) = match property {
            ServiceProperty::Address => ("port", "address"),
            ServiceProperty::Port => ("port", "port"),
            ServiceProperty::Url => ("route", "url"),
            ServiceProperty::Host => ("route", "host"),
        };
        if self.has(&["services", name, key]) {
            return Ok(());
        }
        let what = format!("service `{name}` has no `{what}`, because it has no `{key}`");
        Err((codes::WRONG_TARGET, what, format!("add `{key} = …` to `[services.{name}]`")))
    }
}
