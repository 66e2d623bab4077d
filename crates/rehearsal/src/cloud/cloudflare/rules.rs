//! Rulesets of the zone: those that Cloudflare manages, and one entry point for each phase that has rules.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Cloudflare, Refused, no_route, object, ok, refusal};
use crate::cloud::answer::{Answer, Call};
use crate::cloud::dice::Dice;

/// Phases that a zone has here, with how many rules the free plan allows.
const PHASES: [(&str, usize); 4] = [
    ("http_ratelimit", 1),
    ("http_request_cache_settings", 10),
    ("http_request_firewall_custom", 5),
    ("http_request_firewall_managed", 5),
];

/// A list of rules.
pub(super) struct Ruleset {
    id: String,
    name: String,
    kind: &'static str,
    phase: String,
    version: u64,
    updated: String,
    rules: Vec<Map<String, Value>>,
}

impl Ruleset {
    fn short(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "description": "",
            "kind": self.kind,
            "phase": self.phase,
            "version": self.version.to_string(),
            "last_updated": self.updated,
        })
    }

    pub(super) fn view(&self) -> Value {
        let mut view = self.short();
        view["rules"] = self.rules.iter().cloned().map(Value::Object).collect();
        view
    }
}

/// What Cloudflare has for zones of the free plan.
pub(super) fn managed(dice: &Dice) -> BTreeMap<String, Ruleset> {
    let id = dice.hex(32);
    let free = Ruleset {
        id: id.clone(),
        name: "Cloudflare Managed Free Ruleset".to_owned(),
        kind: "managed",
        phase: "http_request_firewall_managed".to_owned(),
        version: 42,
        updated: "2026-01-31T08:00:00Z".to_owned(),
        rules: Vec::new(),
    };
    [(id, free)].into()
}

fn missing() -> Refused {
    refusal(404, 10_003, "could not find entrypoint ruleset in the given phase")
}

impl Cloudflare {
    pub(super) fn of_rulesets(&self, call: &Call, rest: &[&str]) -> Result<Answer, Refused> {
        let mut state = self.state();
        let sets = &mut state.rulesets;
        match (call.method.as_str(), rest) {
            ("GET", []) => Ok(ok(&sets.values().map(Ruleset::short).collect())),
            ("GET", ["phases", phase, "entrypoint"]) => {
                let held = sets.values().find(|set| set.kind == "zone" && set.phase == *phase);
                Ok(ok(&held.ok_or_else(missing)?.view()))
            }
            ("PUT", ["phases", phase, "entrypoint"]) => {
                let Some(rules) = object(call)?.remove("rules").and_then(list) else {
                    return Err(refusal(400, 20_100, "rules is required"));
                };
                let rules: Result<Vec<_>, _> =
                    rules.into_iter().map(|rule| self.rule(phase, rule, None)).collect();
                let rules = rules?;
                within(phase, rules.len())?;
                let held = sets.values().find(|set| set.kind == "zone" && set.phase == *phase);
                let id = held.map_or_else(|| self.id(), |held| held.id.clone());
                let set = Ruleset {
                    id: id.clone(),
                    name: "default".to_owned(),
                    kind: "zone",
                    phase: (*phase).to_owned(),
                    version: held.map_or(1, |held| held.version + 1),
                    updated: self.written_now(),
                    rules,
                };
                let view = set.view();
                sets.insert(id, set);
                Ok(ok(&view))
            }
            ("GET", [id]) => Ok(ok(&sets.get(*id).ok_or_else(missing)?.view())),
            (method, [id, "rules", rest @ ..]) => {
                let set = sets.get_mut(*id).filter(|set| set.kind == "zone").ok_or_else(missing)?;
                self.change_rules(call, method, set, rest)
            }
            _ => Err(no_route()),
        }
    }

    fn change_rules(
        &self,
        call: &Call,
        method: &str,
        set: &mut Ruleset,
        rest: &[&str],
    ) -> Result<Answer, Refused> {
        let place = |set: &Ruleset, id: &str| {
            let is_it =
                |rule: &Map<String, Value>| rule.get("id").and_then(Value::as_str) == Some(id);
            set.rules
                .iter()
                .position(is_it)
                .ok_or_else(|| refusal(404, 10_002, "could not find rule"))
        };
        match (method, rest) {
            ("POST", []) => {
                let rule = self.rule(&set.phase, object(call)?, None)?;
                if set.rules.iter().any(|held| held.get("ref") == rule.get("ref")) {
                    return Err(refusal(400, 20_217, "duplicate ref in the ruleset"));
                }
                within(&set.phase, set.rules.len() + 1)?;
                set.rules.push(rule);
            }
            ("PATCH", [id]) => {
                let at = place(set, id)?;
                set.rules[at] = self.rule(&set.phase, object(call)?, Some(&set.rules[at]))?;
            }
            ("DELETE", [id]) => {
                let at = place(set, id)?;
                set.rules.remove(at);
            }
            _ => return Err(no_route()),
        }
        set.version += 1;
        set.updated = self.written_now();
        Ok(ok(&set.view()))
    }

    /// A rule as it is told, from what was given.
    fn rule(
        &self,
        phase: &str,
        mut rule: Map<String, Value>,
        held: Option<&Map<String, Value>>,
    ) -> Result<Map<String, Value>, Refused> {
        if !PHASES.iter().any(|(known, _)| *known == phase) {
            return Err(refusal(400, 20_101, "unknown phase"));
        }
        for field in ["expression", "action"] {
            let is_there = rule.get(field).and_then(Value::as_str).is_some_and(|t| !t.is_empty());
            if !is_there {
                return Err(refusal(400, 20_102, &format!("{field} is required")));
            }
        }
        if phase == "http_ratelimit" {
            rates(rule.get("ratelimit"))?;
        }
        let id = held.and_then(|held| held.get("id").cloned()).unwrap_or_else(|| self.id().into());
        rule.entry("ref").or_insert_with(|| id.clone());
        rule.entry("enabled").or_insert(true.into());
        rule.entry("description").or_insert("".into());
        rule.insert("id".into(), id);
        rule.insert("version".into(), "1".into());
        rule.insert("last_updated".into(), self.written_now().into());
        Ok(rule)
    }
}

fn list(value: Value) -> Option<Vec<Map<String, Value>>> {
    let Value::Array(rows) = value else { return None };
    rows.into_iter()
        .map(|row| if let Value::Object(row) = row { Some(row) } else { None })
        .collect()
}

fn within(phase: &str, count: usize) -> Result<(), Refused> {
    let most = PHASES.iter().find(|(known, _)| *known == phase).map_or(0, |(_, most)| *most);
    if count <= most {
        return Ok(());
    }
    let message =
        format!("exceeded the maximum number of rules in the phase {phase}: {count} out of {most}");
    Err(refusal(400, 20_127, &message))
}

/// What a rate of the free plan has to be.
fn rates(rate: Option<&Value>) -> Result<(), Refused> {
    let Some(rate) = rate.filter(|rate| rate.is_object()) else {
        return Err(refusal(400, 20_103, "ratelimit is required in the phase http_ratelimit"));
    };
    let number = |name: &str| rate[name].as_u64();
    for name in ["period", "mitigation_timeout"] {
        if number(name) != Some(10) {
            let message = format!("not entitled to use this {name}: can only use one of [10]");
            return Err(refusal(400, 20_120, &message));
        }
    }
    let has_colo =
        rate["characteristics"].as_array().is_some_and(|c| c.contains(&"cf.colo.id".into()));
    if !has_colo || number("requests_per_period").is_none() {
        return Err(refusal(
            400,
            20_104,
            "characteristics must have cf.colo.id, and requests_per_period is required",
        ));
    }
    Ok(())
}
