//! Hides in recordings what Railway's variables hold.

use serde_json::Value;

use crate::kit::mask_values_but;

/// Variables hold whatever the stack keeps secret; only our markers are known not to.
pub(super) fn hide_variables(body: &mut Value) {
    let is_marker = |name: &str| name.starts_with("LINKFLOW_");
    mask_values_but(body, "/variables/input/variables", is_marker);
    mask_values_but(body, "/variables/input/registryCredentials", |name| name == "username");
    let answers = body.get("data").and_then(Value::as_object);
    let aliases: Vec<String> = answers
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("vars"))
        .map(|(name, _)| format!("/data/{name}"))
        .collect();
    aliases.iter().for_each(|pointer| mask_values_but(body, pointer, is_marker));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_markers_are_shown_of_variables() {
        let mut body = json!({
            "variables": { "input": { "variables": { "A": "s", "LINKFLOW_STACK": "x" } } },
            "data": { "vars0": { "B": "s", "LINKFLOW_STACK": "x" }, "environment": { "id": "e" } },
        });
        hide_variables(&mut body);
        assert_eq!(
            body,
            json!({
                "variables": { "input": { "variables": { "A": "***", "LINKFLOW_STACK": "x" } } },
                "data": { "vars0": { "B": "***", "LINKFLOW_STACK": "x" }, "environment": { "id": "e" } },
            })
        );
    }
}
