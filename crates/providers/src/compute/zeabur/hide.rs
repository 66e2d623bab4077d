//! Hides in recordings what Zeabur's variables hold.

use serde_json::{Value, json};

/// Variables hold whatever the stack keeps secret; only our markers are known not to.
pub(super) fn hide_variables(body: &mut Value) {
    hide_sent(body);
    let edges = body.pointer_mut("/data/services/edges").and_then(Value::as_array_mut);
    for edge in edges.into_iter().flatten() {
        let held = edge.pointer_mut("/node/variables").and_then(Value::as_array_mut);
        for variable in held.into_iter().flatten() {
            if !variable["key"].as_str().is_some_and(is_marker) {
                variable["value"] = json!(MASK);
            }
        }
    }
}

const MASK: &str = "***";

fn is_marker(key: &str) -> bool {
    key.starts_with("LINKFLOW_")
}

/// `$v0` is the value of the variable whose name is `$k0`.
fn hide_sent(body: &mut Value) {
    let Some(sent) = body.get_mut("variables").and_then(Value::as_object_mut) else { return };
    let shown: Vec<String> = sent
        .iter()
        .filter(|(_, key)| key.as_str().is_some_and(is_marker))
        .filter_map(|(name, _)| Some(format!("v{}", name.strip_prefix('k')?)))
        .collect();
    let is_value = |name: &str| {
        name.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    for (name, value) in sent.iter_mut().filter(|(name, _)| is_value(name)) {
        if !shown.contains(name) {
            *value = json!(MASK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_markers_are_shown_of_variables() {
        let mut body = json!({
            "variables": { "service": "s", "k0": "A", "v0": "secret", "k1": "LINKFLOW_STACK", "v1": "x", "k2": "B" },
            "data": { "services": { "edges": [{ "node": { "_id": "s", "variables": [
                { "key": "A", "value": "secret" }, { "key": "LINKFLOW_STACK", "value": "x" },
            ] } }] } },
        });
        hide_variables(&mut body);
        let expected = json!({
            "variables": { "service": "s", "k0": "A", "v0": "***", "k1": "LINKFLOW_STACK", "v1": "x", "k2": "B" },
            "data": { "services": { "edges": [{ "node": { "_id": "s", "variables": [
                { "key": "A", "value": "***" }, { "key": "LINKFLOW_STACK", "value": "x" },
            ] } }] } },
        });
        assert_eq!(body, expected);
    }
}
