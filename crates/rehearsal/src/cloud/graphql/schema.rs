//! The types that a simulated vendor answers, read from a table.
//!
//! The table is written in a short form of its own: `Type` lines open a type, the lines below it are
//! `field(argument Type, …) Type`. `connection Name of Type` stands for a connection with its edges; `input`, `enum`,
//! `scalar` and `interface` say what they are.

use std::collections::BTreeMap;

use super::document::Kind;

/// One field, argument or input field.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) kind: Kind,
    pub(super) arguments: BTreeMap<String, Slot>,
    /// What holds when it is not given.
    pub(super) default: Option<bool>,
}

/// One type.
#[derive(Clone, Debug)]
pub(super) enum Type {
    Object(BTreeMap<String, Slot>),
    Input(BTreeMap<String, Slot>),
    Enum(Vec<String>),
    Scalar,
    /// Fragments on it are looked at as fragments on the object itself.
    Interface,
}

/// All types by name.
pub(in crate::cloud) struct Schema(BTreeMap<String, Type>);

impl Schema {
    /// Reads a table.
    pub(in crate::cloud) fn read(table: &str) -> Self {
        let mut types: BTreeMap<String, Type> = ["String", "ID", "Int", "Float", "Boolean"]
            .map(|name| (name.to_owned(), Type::Scalar))
            .into();
        let mut open = String::new();
        for line in table.lines().filter(|line| !line.trim().is_empty()) {
            if let Some(field) = line.strip_prefix("  ") {
                if let Some(Type::Object(fields) | Type::Input(fields)) = types.get_mut(&open)
                    && let Some((name, slot)) = slot(field)
                {
                    fields.insert(name, slot);
                }
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            open = words.last().copied().unwrap_or_default().to_owned();
            match words.as_slice() {
                ["scalar", names @ ..] => {
                    types.extend(names.iter().map(|n| ((*n).to_owned(), Type::Scalar)));
                }
                ["interface", names @ ..] => {
                    types.extend(names.iter().map(|n| ((*n).to_owned(), Type::Interface)));
                }
                ["enum", name, values @ ..] => {
                    let values = values.iter().map(|v| (*v).to_owned()).collect();
                    types.insert((*name).to_owned(), Type::Enum(values));
                }
                ["input", name] => {
                    drop(types.insert((*name).to_owned(), Type::Input(BTreeMap::new())));
                }
                ["connection", name, "of", node] => connection(&mut types, name, node),
                _ => drop(types.insert(open.clone(), Type::Object(BTreeMap::new()))),
            }
        }
        Self(types)
    }

    /// The type called `name`.
    pub(super) fn get(&self, name: &str) -> Option<&Type> {
        self.0.get(name)
    }

    /// A field of an object type.
    pub(super) fn field(&self, object: &str, name: &str) -> Option<&Slot> {
        match self.0.get(object) {
            Some(Type::Object(fields)) => fields.get(name),
            _ => None,
        }
    }

    /// Whether fields of this type are asked for one by one.
    pub(super) fn is_object(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Type::Object(_)))
    }

    /// What is wrong with the table: types without fields, and names that no type has.
    #[cfg(test)]
    pub(in crate::cloud) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, kind) in &self.0 {
            let (Type::Object(slots) | Type::Input(slots)) = kind else { continue };
            if slots.is_empty() {
                faults.push(format!("{name} has no fields"));
            }
            for (field, slot) in slots {
                let kinds =
                    [&slot.kind].into_iter().chain(slot.arguments.values().map(|a| &a.kind));
                let unknown = kinds.map(Kind::name).filter(|kind| self.get(kind).is_none());
                faults.extend(unknown.map(|kind| format!("{name}.{field}: no type {kind}")));
            }
        }
        faults
    }

    /// What an input field is when it is not given.
    #[cfg(test)]
    pub(in crate::cloud) fn default_of(&self, input: &str, field: &str) -> Option<bool> {
        match self.get(input) {
            Some(Type::Input(fields)) => fields[field].default,
            _ => None,
        }
    }

    /// Whether this is an interface.
    pub(super) fn is_interface(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Type::Interface))
    }
}

/// Reads `name(argument Type, …) Type`; `=` after an argument's type is a default.
fn slot(line: &str) -> Option<(String, Slot)> {
    let (head, kind) = line.rsplit_once(' ')?;
    let (name, arguments) = match head.split_once('(') {
        Some((name, rest)) => (name, rest.trim_end_matches(')')),
        None => (head, ""),
    };
    let arguments =
        arguments.split(',').map(str::trim).filter(|a| !a.is_empty()).filter_map(slot).collect();
    let (kind, default) = match kind.split_once('=') {
        Some((kind, default)) => (kind, Some(default == "true")),
        None => (kind, None),
    };
    Some((name.trim().to_owned(), Slot { kind: Kind::read(kind)?, arguments, default }))
}

fn connection(types: &mut BTreeMap<String, Type>, name: &str, node: &str) {
    let fields = |rows: &[&str]| Type::Object(rows.iter().filter_map(|row| slot(row)).collect());
    let edge = format!("{name}Edge");
    types.insert(name.to_owned(), fields(&[&format!("edges [{edge}!]!"), "pageInfo PageInfo!"]));
    types.insert(edge, fields(&["cursor String!", &format!("node {node}!")]));
}
