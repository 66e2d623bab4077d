//! The JSON schema of `linkflow.toml`, for editors.

use serde_json::{Map, Value, json};

use super::Config;
use super::read::Field;
use super::shape::{Book, Key, Section, Shape};

/// The schema, draft 2020-12. Overlays have definitions of their own in which no key is required and `""` takes one away.
pub fn schema() -> Value {
    let mut book = Book::default();
    Config::shape(&mut book);
    let mut definitions = Map::new();
    for (name, section) in &book.sections {
        for overlay in [false, true] {
            // An overlay of a provider is left to `linkflow check`: its kind stands in another table.
            if !overlay || !name.starts_with("provider-") {
                definitions.insert(title(name, overlay), object(section, name, overlay));
            }
        }
        for key in &section.keys {
            texts(&key.shape, &mut definitions);
        }
    }
    let mut root = definitions.remove("config").unwrap_or_default();
    definitions.remove("overlay-config");
    if let Some(sections) = book.sections.get("config") {
        let path = json!({ "type": "string", "minLength": 1 });
        root["properties"]["include"] = json!({
            "description": "Other files whose sections belong to this one.",
            "anyOf": [path, { "type": "array", "items": path }],
        });
        root["properties"]["env"] = json!({
            "description": "Environments: for each, the keys that differ. The value \"\" takes a key away.",
            "type": "object",
            "additionalProperties": object(sections, "config", true),
        });
    }
    let mut whole = Map::new();
    whole.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    whole.insert("title".into(), json!("linkflow.toml"));
    whole.extend(root.as_object().cloned().unwrap_or_default());
    // An included file may hold what the main file lacks.
    whole.remove("required");
    whole.insert("$defs".into(), Value::Object(definitions));
    Value::Object(whole)
}

/// Defines every form of text within `of` once.
fn texts(of: &Shape, definitions: &mut Map<String, Value>) {
    match of {
        Shape::Text { what, pattern } => {
            let mut text = json!({ "type": "string", "title": what });
            if let Some(pattern) = pattern {
                text["pattern"] = json!(pattern);
            }
            definitions.insert(text_title(what), text);
        }
        Shape::List(item) | Shape::Many(item) | Shape::Map { each: item, .. } => {
            texts(item, definitions);
        }
        Shape::Any(shapes) => shapes.iter().for_each(|s| texts(s, definitions)),
        Shape::Integer { .. }
        | Shape::Number
        | Shape::Bool
        | Shape::Choice(_)
        | Shape::Section(_) => {}
    }
}

/// `a duration, like …` is defined as `text-duration`.
fn text_title(what: &str) -> String {
    let what = what.split([',', '`', '(']).next().unwrap_or(what).trim();
    let words: Vec<&str> = what.split(' ').filter(|w| !matches!(*w, "a" | "an" | "the")).collect();
    format!("text-{}", words.join("-"))
}

fn title(name: &str, overlay: bool) -> String {
    if overlay { format!("overlay-{name}") } else { name.to_owned() }
}

fn object(section: &Section, name: &str, overlay: bool) -> Value {
    let mut properties = Map::new();
    for key in &section.keys {
        properties.insert(key.name.into(), property(key, overlay));
    }
    let mut object = json!({ "description": section.doc.trim(), "type": "object" });
    if section.kinds.is_empty() {
        object["properties"] = Value::Object(properties);
        object["additionalProperties"] = json!(false);
    } else if overlay {
        object["properties"] = Value::Object(properties);
    } else {
        let kind = section.keys.iter().filter(|k| k.name == "kind").map(|k| property(k, overlay));
        object["properties"] = json!({ "kind": kind.collect::<Vec<_>>().first() });
        object["allOf"] = section.kinds.iter().map(|(word, section)| json!({
            "if": { "properties": { "kind": { "const": word.word } }, "required": ["kind"] },
            "then": { "$ref": format!("#/$defs/{}", section) },
        })).collect();
    }
    let required: Vec<&str> =
        section.keys.iter().filter(|k| k.required && !overlay).map(|k| k.name).collect();
    if !required.is_empty() && name != "config" {
        object["required"] = json!(required);
    }
    object
}

fn property(key: &Key, overlay: bool) -> Value {
    let mut value = shape(&key.shape, overlay);
    if overlay {
        value = json!({ "anyOf": [value, { "const": "" }] });
    }
    let mut doc = key.doc.trim().to_owned();
    if let Some(default) = &key.default {
        doc.push_str(&format!(" When not said: {default}."));
    }
    value["description"] = json!(doc);
    value
}

fn shape(of: &Shape, overlay: bool) -> Value {
    match of {
        Shape::Text { what, .. } => json!({ "$ref": format!("#/$defs/{}", text_title(what)) }),
        Shape::Integer { least, most } => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Shape::Number => json!({ "type": "number", "exclusiveMinimum": 0 }),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Choice([one]) => json!({ "const": one.word }),
        Shape::Choice(words) => {
            let each =
                |w: &super::shape::Word| json!({ "const": w.word, "description": w.doc.trim() });
            json!({ "oneOf": words.iter().map(each).collect::<Vec<_>>() })
        }
        // A list of an overlay replaces the whole list, so its items are complete.
        Shape::List(item) => json!({ "type": "array", "items": shape(item, false) }),
        Shape::Many(item) => {
            let one = shape(item, false);
            json!({ "anyOf": [one.clone(), { "type": "array", "items": one }] })
        }
        Shape::Any(shapes) => {
            json!({ "anyOf": shapes.iter().map(|s| shape(s, overlay)).collect::<Vec<_>>() })
        }
        Shape::Map { keys, each } => {
            let mut value = shape(each, overlay);
            if overlay {
                value = json!({ "anyOf": [value, { "const": "" }] });
            }
            let mut map = json!({ "type": "object", "additionalProperties": value });
            if let Some(pattern) = keys {
                map["propertyNames"] = json!({ "pattern": pattern });
            }
            map
        }
        Shape::Section(name) => json!({ "$ref": format!("#/$defs/{}", title(name, overlay)) }),
    }
}
