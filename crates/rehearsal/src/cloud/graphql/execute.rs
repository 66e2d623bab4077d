//! Checks a GraphQL request against the schema and carries it out.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::document::{Arguments, Directive, Document, Field, Kind, Literal, Operation, Selection};
use super::schema::{Schema, Slot, Type};

/// What a field leads to.
pub(in crate::cloud) enum Found<N> {
    /// A scalar, an enum value, a list of them, or nothing.
    Plain(Value),
    /// An object.
    One(N),
    /// A list of objects.
    Many(Vec<N>),
    /// A page of a connection.
    Page(Page<N>),
}

/// A part of a longer list.
pub(in crate::cloud) struct Page<N> {
    pub(in crate::cloud) nodes: Vec<N>,
    /// How many come before it.
    pub(in crate::cloud) offset: usize,
    /// How many there are in all.
    pub(in crate::cloud) total: usize,
}

/// What selections are asked of: an object, or one of the layers that every connection has around its objects.
enum Item<'n, N> {
    Object(&'n N),
    Page(&'n Page<N>),
    Edge(&'n N, usize),
    PageInfo(&'n Page<N>),
}

/// Knows the objects.
pub(in crate::cloud) trait Resolver {
    /// One object.
    type Node;

    /// Looks up one field, or does what a mutation says. The error is for the client.
    fn field(
        &self,
        of: &Self::Node,
        name: &str,
        arguments: &Map<String, Value>,
    ) -> Result<Found<Self::Node>, String>;
}

/// A required text argument; the schema has seen to it that it is there.
pub(in crate::cloud) fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A request, as it comes.
pub(in crate::cloud) struct Request {
    pub(in crate::cloud) query: String,
    pub(in crate::cloud) variables: Map<String, Value>,
    pub(in crate::cloud) operation: Option<String>,
}

/// Why a request was not carried out: HTTP status and body.
type Wrong = (u16, Value);

fn wrong(message: &str, code: &str, at: Option<(usize, usize)>) -> Wrong {
    let mut error = json!({ "message": message, "extensions": { "code": code } });
    if let Some((line, column)) = at {
        error["locations"] = json!([{ "line": line, "column": column }]);
    }
    (400, json!({ "errors": [error] }))
}

fn invalid(message: &str, at: (usize, usize)) -> Wrong {
    wrong(message, "GRAPHQL_VALIDATION_FAILED", Some(at))
}

/// Answers one request: HTTP status and body. `roots` are what queries and mutations start from.
pub(in crate::cloud) fn answer<R: Resolver>(
    schema: &Schema,
    resolver: &R,
    roots: (R::Node, R::Node),
    request: &Request,
) -> (u16, Value) {
    let document = match Document::read(&request.query) {
        Ok(document) => document,
        Err(message) => return wrong(&message, "GRAPHQL_PARSE_FAILED", None),
    };
    let mut named = document.operations.iter();
    let chosen = match &request.operation {
        Some(name) => named.find(|o| o.name.as_ref() == Some(name)),
        None if document.operations.len() == 1 => named.next(),
        None => None,
    };
    let Some(operation) = chosen else {
        return wrong(
            "Must provide operation name if query contains multiple operations.",
            "BAD_USER_INPUT",
            None,
        );
    };
    let (root, start) = match operation.kind.as_str() {
        "mutation" => ("Mutation", &roots.1),
        "query" => ("Query", &roots.0),
        _ => return wrong("Subscriptions are not served here.", "BAD_USER_INPUT", None),
    };
    let check = Check { schema, document: &document, operation };
    let variables = match check
        .selections(root, &operation.selections, 0)
        .and_then(|()| check.variables(&request.variables))
    {
        Ok(variables) => variables,
        Err(wrong) => return wrong,
    };
    let run = Run { schema, document: &document, resolver, variables };
    match run.item(root, &Item::Object(start), &[operation.selections.as_slice()], &mut Vec::new())
    {
        Ok(data) => (200, json!({ "data": data })),
        Err(error) => (200, json!({ "errors": [error], "data": null })),
    }
}

/// Holds a document against the schema.
struct Check<'a> {
    schema: &'a Schema,
    document: &'a Document,
    operation: &'a Operation,
}

impl Check<'_> {
    fn selections(&self, on: &str, selections: &[Selection], depth: usize) -> Result<(), Wrong> {
        if depth > 40 {
            return Err(invalid("The query is too deep.", (1, 1)));
        }
        for selection in selections {
            match selection {
                Selection::Field(field) => self.field(on, field, depth)?,
                Selection::Inline { on: narrowed, selections, .. } => {
                    self.selections(
                        self.narrowed(on, narrowed.as_deref())?,
                        selections,
                        depth + 1,
                    )?;
                }
                Selection::Spread { name, .. } => {
                    let fragment = self.document.fragments.get(name);
                    let fragment = fragment
                        .ok_or_else(|| invalid(&format!("Unknown fragment \"{name}\"."), (1, 1)))?;
                    self.selections(
                        self.narrowed(on, Some(&fragment.on))?,
                        &fragment.selections,
                        depth + 1,
                    )?;
                }
            }
        }
        Ok(())
    }

    /// The type that a fragment is about. Interfaces are looked at as the object itself.
    fn narrowed<'n>(&self, on: &'n str, fragment: Option<&'n str>) -> Result<&'n str, Wrong> {
        match fragment {
            None => Ok(on),
            Some(name) if self.schema.is_interface(name) => Ok(on),
            Some(name) if self.schema.is_object(name) => Ok(name),
            Some(name) => Err(invalid(&format!("Unknown type \"{name}\"."), (1, 1))),
        }
    }

    fn field(&self, on: &str, field: &Field, depth: usize) -> Result<(), Wrong> {
        let name = &field.name;
        if name == "__typename" {
            return Ok(());
        }
        let unknown =
            || invalid(&format!("Cannot query field \"{name}\" on type \"{on}\"."), field.at);
        let slot = self.schema.field(on, name).ok_or_else(unknown)?;
        for (argument, literal) in &field.arguments {
            let Some(wanted) = slot.arguments.get(argument) else {
                return Err(invalid(
                    &format!("Unknown argument \"{argument}\" on field \"{on}.{name}\"."),
                    field.at,
                ));
            };
            self.literal(literal, &wanted.kind, field.at)?;
        }
        let missing = |(argument, wanted): &(&String, &Slot)| {
            matches!(wanted.kind, Kind::NonNull(_))
                && !field.arguments.iter().any(|(given, _)| given == *argument)
        };
        if let Some((argument, wanted)) = slot.arguments.iter().find(missing) {
            let kind = &wanted.kind;
            let why = format!(
                "Field \"{name}\" argument \"{argument}\" of type \"{kind}\" is required, but it was not provided."
            );
            return Err(invalid(&why, field.at));
        }
        let (kind, inner) = (&slot.kind, slot.kind.name());
        match (self.schema.is_object(inner), field.selections.is_empty()) {
            (true, true) => {
                let why = format!(
                    "Field \"{name}\" of type \"{kind}\" must have a selection of subfields. Did you mean \"{name} {{ ... }}\"?"
                );
                Err(invalid(&why, field.at))
            }
            (false, false) => {
                let why = format!(
                    "Field \"{name}\" must not have a selection since type \"{kind}\" has no subfields."
                );
                Err(invalid(&why, field.at))
            }
            _ => self.selections(inner, &field.selections, depth + 1),
        }
    }

    /// Checks that variables within `literal` are declared and fit.
    fn literal(&self, literal: &Literal, wanted: &Kind, at: (usize, usize)) -> Result<(), Wrong> {
        match literal {
            Literal::Variable(name) => {
                let declared = self.operation.variables.iter().find(|v| v.name == *name);
                let declared = declared
                    .ok_or_else(|| invalid(&format!("Variable \"${name}\" is not defined."), at))?;
                let fits = declared.kind == *wanted
                    || matches!(&declared.kind, Kind::NonNull(inner) if **inner == *wanted)
                    || matches!(wanted, Kind::NonNull(inner) if **inner == declared.kind && declared.default.is_some());
                if fits {
                    return Ok(());
                }
                let why = format!(
                    "Variable \"${name}\" of type \"{}\" used in position expecting type \"{wanted}\".",
                    declared.kind
                );
                Err(invalid(&why, at))
            }
            Literal::Object(fields) => {
                let Some(Type::Input(slots)) = self.schema.get(wanted.name()) else {
                    return Ok(());
                };
                fields.iter().try_for_each(|(name, value)| match slots.get(name) {
                    Some(slot) => self.literal(value, &slot.kind, at),
                    None => Err(invalid(
                        &format!("Field \"{name}\" is not defined by type \"{}\".", wanted.name()),
                        at,
                    )),
                })
            }
            Literal::List(items) => {
                let inner = match wanted {
                    Kind::NonNull(inner) => inner,
                    _ => wanted,
                };
                let inner = if let Kind::List(inner) = inner { inner } else { inner };
                items.iter().try_for_each(|item| self.literal(item, inner, at))
            }
            _ => Ok(()),
        }
    }

    /// Coerces the variables that came with the request.
    fn variables(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, Wrong> {
        let mut variables = Map::new();
        for declared in &self.operation.variables {
            let name = &declared.name;
            let value = match (given.get(name), &declared.default) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => value_of(default, &Map::new()),
                (None, None) if matches!(declared.kind, Kind::NonNull(_)) => {
                    let why = format!(
                        "Variable \"${name}\" of required type \"{}\" was not provided.",
                        declared.kind
                    );
                    return Err(wrong(&why, "BAD_USER_INPUT", None));
                }
                (None, None) => continue,
            };
            let coerced = coerce(self.schema, value, &declared.kind, name);
            let coerced = coerced.map_err(|why| {
                wrong(
                    &format!("Variable \"${name}\" got an invalid value; {why}"),
                    "BAD_USER_INPUT",
                    None,
                )
            })?;
            variables.insert(name.clone(), coerced);
        }
        Ok(variables)
    }
}

/// The value that a literal stands for.
fn value_of(literal: &Literal, variables: &Map<String, Value>) -> Value {
    match literal {
        Literal::Variable(name) => variables.get(name).cloned().unwrap_or_default(),
        Literal::Int(number) => json!(number),
        Literal::Float(number) => json!(number),
        Literal::Text(text) | Literal::Enum(text) => json!(text),
        Literal::Bool(bool) => json!(bool),
        Literal::Null => Value::Null,
        Literal::List(items) => items.iter().map(|item| value_of(item, variables)).collect(),
        Literal::Object(fields) => {
            let given = |literal: &Literal| !matches!(literal, Literal::Variable(name) if !variables.contains_key(name));
            let fields = fields.iter().filter(|(_, literal)| given(literal));
            Value::Object(
                fields
                    .map(|(name, literal)| (name.clone(), value_of(literal, variables)))
                    .collect(),
            )
        }
    }
}

/// Makes `value` fit `kind`, with defaults filled in, or says why it does not.
fn coerce(schema: &Schema, value: Value, kind: &Kind, path: &str) -> Result<Value, String> {
    match (kind, value) {
        (Kind::NonNull(_), Value::Null) => {
            Err(format!("Expected non-nullable type \"{kind}\" not to be null at \"{path}\"."))
        }
        (Kind::NonNull(inner), value) => coerce(schema, value, inner, path),
        (_, Value::Null) => Ok(Value::Null),
        (Kind::List(inner), Value::Array(items)) => {
            items.into_iter().map(|item| coerce(schema, item, inner, path)).collect()
        }
        (Kind::List(inner), value) => Ok(json!([coerce(schema, value, inner, path)?])),
        (Kind::Named(name), value) => match schema.get(name) {
            Some(Type::Input(slots)) => input(schema, value, slots, name, path),
            Some(Type::Enum(values))
                if !value.as_str().is_some_and(|v| values.iter().any(|known| known == v)) =>
            {
                Err(format!("Value {value} does not exist in \"{name}\" enum at \"{path}\"."))
            }
            _ => scalar(value, name, path),
        },
    }
}

fn input(
    schema: &Schema,
    value: Value,
    slots: &BTreeMap<String, Slot>,
    name: &str,
    path: &str,
) -> Result<Value, String> {
    let Value::Object(mut given) = value else {
        return Err(format!("Expected type \"{name}\" to be an object at \"{path}\"."));
    };
    if let Some(unknown) = given.keys().find(|field| !slots.contains_key(*field)) {
        return Err(format!(
            "Field \"{unknown}\" is not defined by type \"{name}\" at \"{path}\"."
        ));
    }
    let mut fields = Map::new();
    for (field, slot) in slots {
        match given.remove(field) {
            Some(value) => {
                let coerced = coerce(schema, value, &slot.kind, &format!("{path}.{field}"))?;
                fields.insert(field.clone(), coerced);
            }
            None if slot.default.is_some() => {
                drop(fields.insert(field.clone(), json!(slot.default)));
            }
            None if matches!(slot.kind, Kind::NonNull(_)) => {
                return Err(format!(
                    "Field \"{field}\" of required type \"{}\" was not provided at \"{path}\".",
                    slot.kind
                ));
            }
            None => {}
        }
    }
    Ok(Value::Object(fields))
}

fn scalar(value: Value, name: &str, path: &str) -> Result<Value, String> {
    let fits = match name {
        "String" | "DateTime" | "Time" => value.is_string(),
        "ObjectID" => value.as_str().is_some_and(is_object_id),
        "ID" => value.is_string() || value.is_i64(),
        "Int" => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        "Float" => value.is_number(),
        "Boolean" => value.is_boolean(),
        "EnvironmentVariables" | "Map" => value
            .as_object()
            .is_some_and(|fields| fields.values().all(|v| v.is_string() || v.is_null())),
        _ => true,
    };
    if fits {
        Ok(value)
    } else {
        Err(format!("{name} cannot represent the value {value} at \"{path}\"."))
    }
}

/// Whether `text` is an id of 24 hex digits.
fn is_object_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Carries a checked request out.
struct Run<'a, R> {
    schema: &'a Schema,
    document: &'a Document,
    resolver: &'a R,
    variables: Map<String, Value>,
}

type Failed = Value;

impl<R: Resolver> Run<'_, R> {
    /// Answers what the selection sets ask of one item.
    fn item(
        &self,
        on: &str,
        item: &Item<'_, R::Node>,
        sets: &[&[Selection]],
        path: &mut Vec<Value>,
    ) -> Result<Value, Failed> {
        let mut fields: Vec<(&str, Vec<&Field>)> = Vec::new();
        for set in sets {
            self.collect(on, set, &mut fields);
        }
        let mut object = Map::new();
        for (key, same) in fields {
            let Some(field) = same.first() else { continue };
            path.push(json!(key));
            let sets: Vec<&[Selection]> =
                same.iter().map(|field| field.selections.as_slice()).collect();
            let value = if field.name == "__typename" {
                json!(on)
            } else {
                self.field(on, item, field, &sets, path)?
            };
            path.pop();
            object.insert(key.to_owned(), value);
        }
        Ok(Value::Object(object))
    }

    /// Gathers the fields of a selection set under the names they are answered by, fragments followed.
    fn collect<'s>(
        &'s self,
        on: &str,
        set: &'s [Selection],
        fields: &mut Vec<(&'s str, Vec<&'s Field>)>,
    ) {
        for selection in set {
            match selection {
                Selection::Field(field) if self.is_wanted(&field.directives) => {
                    match fields.iter_mut().find(|(key, _)| *key == field.key()) {
                        Some((_, same)) => same.push(field),
                        None => fields.push((field.key(), vec![field])),
                    }
                }
                Selection::Inline { on: narrowed, directives, selections }
                    if self.is_wanted(directives) && self.fits(on, narrowed.as_deref()) =>
                {
                    self.collect(on, selections, fields);
                }
                Selection::Spread { name, directives } if self.is_wanted(directives) => {
                    if let Some(fragment) =
                        self.document.fragments.get(name).filter(|f| self.fits(on, Some(&f.on)))
                    {
                        self.collect(on, &fragment.selections, fields);
                    }
                }
                _ => {}
            }
        }
    }

    fn fits(&self, on: &str, narrowed: Option<&str>) -> bool {
        narrowed.is_none_or(|narrowed| narrowed == on || self.schema.is_interface(narrowed))
    }

    fn is_wanted(&self, directives: &[Directive]) -> bool {
        directives.iter().all(|directive| {
            let given = directive.arguments.iter().find(|(name, _)| name == "if");
            let given = given.map(|(_, literal)| value_of(literal, &self.variables) == json!(true));
            match directive.name.as_str() {
                "skip" => given != Some(true),
                "include" => given != Some(false),
                _ => true,
            }
        })
    }

    fn field(
        &self,
        on: &str,
        item: &Item<'_, R::Node>,
        field: &Field,
        sets: &[&[Selection]],
        path: &mut Vec<Value>,
    ) -> Result<Value, Failed> {
        let Some(slot) = self.schema.field(on, &field.name) else { return Ok(Value::Null) };
        let inner = slot.kind.name();
        let value = match (item, field.name.as_str()) {
            (Item::Object(node), name) => {
                let arguments = self.arguments(&field.arguments, slot);
                let found =
                    arguments.and_then(|arguments| self.resolver.field(node, name, &arguments));
                match found.map_err(|why| failed(&why, field, path))? {
                    Found::Plain(value) => value,
                    Found::One(node) => self.item(inner, &Item::Object(&node), sets, path)?,
                    Found::Many(nodes) => {
                        self.list(inner, nodes.iter().map(Item::Object), sets, path)?
                    }
                    Found::Page(page) => self.item(inner, &Item::Page(&page), sets, path)?,
                }
            }
            (Item::Page(page), "edges") => {
                let edges = page
                    .nodes
                    .iter()
                    .zip(page.offset..)
                    .map(|(node, place)| Item::Edge(node, place));
                self.list(inner, edges, sets, path)?
            }
            (Item::Page(page), _) => self.item(inner, &Item::PageInfo(page), sets, path)?,
            (Item::Edge(node, _), "node") => self.item(inner, &Item::Object(node), sets, path)?,
            (Item::Edge(_, place), _) => json!(place.to_string()),
            (Item::PageInfo(page), name) => page_info(page, name),
        };
        if value.is_null() && matches!(slot.kind, Kind::NonNull(_)) {
            return Err(failed(
                &format!("Cannot return null for non-nullable field {on}.{}.", field.name),
                field,
                path,
            ));
        }
        Ok(value)
    }

    fn arguments(&self, given: &Arguments, slot: &Slot) -> Result<Map<String, Value>, String> {
        let mut arguments = Map::new();
        for (name, literal) in given {
            let absent = matches!(literal, Literal::Variable(variable) if !self.variables.contains_key(variable));
            if let Some(wanted) = slot.arguments.get(name).filter(|_| !absent) {
                let value =
                    coerce(self.schema, value_of(literal, &self.variables), &wanted.kind, name)?;
                arguments.insert(name.clone(), value);
            }
        }
        Ok(arguments)
    }

    fn list<'n>(
        &self,
        on: &str,
        items: impl Iterator<Item = Item<'n, R::Node>>,
        sets: &[&[Selection]],
        path: &mut Vec<Value>,
    ) -> Result<Value, Failed>
    where
        R::Node: 'n,
    {
        let mut list = Vec::new();
        for (index, item) in items.enumerate() {
            path.push(json!(index));
            list.push(self.item(on, &item, sets, path)?);
            path.pop();
        }
        Ok(Value::Array(list))
    }
}

fn page_info<N>(page: &Page<N>, name: &str) -> Value {
    let end = page.offset + page.nodes.len();
    match name {
        "hasNextPage" => json!(end < page.total),
        "hasPreviousPage" => json!(page.offset > 0),
        "startCursor" => json!((end > page.offset).then(|| page.offset.to_string())),
        _ => json!((end > page.offset).then(|| (end - 1).to_string())),
    }
}

fn failed(message: &str, field: &Field, path: &[Value]) -> Failed {
    let (line, column) = field.at;
    json!({
        "message": message, "path": path, "locations": [{ "line": line, "column": column }],
        "extensions": { "code": "INTERNAL_SERVER_ERROR" },
    })
}
