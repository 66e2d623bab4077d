//! The description of the API, OpenAPI 3.1, made of what its routes are made of.

use axum::http::Method;
use linkflow_model::access::Scope;
use serde_json::{Map, Value, json};

use super::BASE;
use super::problem::Problem;
use crate::shape::{Book, Shape};

/// One thing that may be asked.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    /// Behind [`BASE`]: `/services/{name}`.
    pub(crate) path: &'static str,
    pub(crate) scope: Scope,
    /// What it is for, in one sentence.
    pub(crate) about: &'static str,
    /// The status of a good answer.
    pub(crate) status: u16,
    /// The schema of the query, when it has one.
    pub(crate) query: Option<Value>,
    /// The schema of the body, when it takes one.
    pub(crate) body: Option<Value>,
    /// The schema of the answer.
    pub(crate) answer: Value,
}

impl Operation {
    /// Reads `path`.
    pub(crate) fn get(path: &'static str, about: &'static str) -> Self {
        Self {
            method: Method::GET,
            path,
            scope: Scope::Read,
            about,
            status: 200,
            query: None,
            body: None,
            answer: Value::Null,
        }
    }

    /// Does something at `path`.
    pub(crate) fn post(path: &'static str, about: &'static str) -> Self {
        Self { method: Method::POST, scope: Scope::Operate, ..Self::get(path, about) }
    }

    /// The same, with a query.
    pub(crate) fn asks<T: Shape>(self, book: &mut Book) -> Self {
        Self { query: Some(T::schema(book)), ..self }
    }

    /// The same, with a body.
    pub(crate) fn takes<T: Shape>(self, book: &mut Book) -> Self {
        Self { body: Some(T::schema(book)), ..self }
    }

    /// The same, with another status.
    pub(crate) fn gives(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// `listServices`-like: unique, and stable.
    fn id(&self) -> String {
        let words = self.path.split(['/', '{', '}', '_']).filter(|word| !word.is_empty());
        let method = self.method.as_str().to_lowercase();
        words.fold(method, |id, word| {
            let (first, rest) = word.split_at(1);
            format!("{id}{}{rest}", first.to_uppercase())
        })
    }

    /// What the path and the query name.
    fn parameters(&self, book: &Book) -> Vec<Value> {
        let named = self.path.split('/').filter_map(|part| {
            let name = part.strip_prefix('{')?.strip_suffix('}')?;
            let schema = json!({ "type": "string", "minLength": 1, "maxLength": 200 });
            Some(json!({ "name": name, "in": "path", "required": true, "schema": schema }))
        });
        let mut all: Vec<Value> = named.collect();
        let asked = self.query.as_ref().and_then(|query| resolved(query, book));
        let required = asked.map(|query| query["required"].clone()).unwrap_or_default();
        let properties = asked.and_then(|query| query["properties"].as_object());
        for (name, schema) in properties.into_iter().flatten() {
            let must = required.as_array().is_some_and(|r| r.iter().any(|one| one == name));
            let about = schema["description"].clone();
            // In a query there is no null: what is not there is left out.
            let schema = match schema["anyOf"].as_array() {
                Some(either) => either.first().cloned().unwrap_or_default(),
                None => schema.clone(),
            };
            all.push(json!({
                "name": name, "in": "query", "required": must, "description": about, "schema": schema,
            }));
        }
        all
    }

    fn described(&self, book: &Book, problem: &Value) -> Value {
        let json = |schema: &Value| json!({ "application/json": { "schema": schema } });
        let refused = |about: &str| json!({ "description": about, "content": json(problem) });
        let mut responses = Map::new();
        let mut tag = Map::new();
        if self.method == Method::GET {
            let about = "A tag of the content, for `if-none-match`.";
            let header = json!({ "description": about, "schema": { "type": "string" } });
            tag.insert("etag".to_owned(), header);
        }
        let good = json!({
            "description": "As asked.", "content": json(&self.answer), "headers": tag,
        });
        responses.insert(self.status.to_string(), good);
        if self.method == Method::GET {
            let about = "The content is the one that `if-none-match` names.";
            responses.insert("304".to_owned(), json!({ "description": about }));
        }
        let mut problems = vec![("401", "Nobody was let in."), ("403", "The scope is too narrow.")];
        if self.query.is_some() || self.body.is_some() {
            problems.push(("400", "The query or the body is not as described."));
        }
        if self.path.contains('{') || self.body.is_some() {
            problems.push(("404", "What it is about is not there."));
        }
        if self.method == Method::POST {
            problems.push(("409", "It cannot be done as things stand."));
        }
        if self.body.is_some() {
            problems.push(("413", "The body is too long."));
            problems.push(("415", "The body is no JSON."));
        }
        problems.push(("503", "The store or the stack cannot answer."));
        responses.extend(problems.into_iter().map(|(code, a)| (code.to_owned(), refused(a))));
        let mut described = json!({
            "operationId": self.id(),
            "summary": self.about,
            "description": format!("Takes the scope `{}`.", self.scope.word()),
            "x-linkflow-scope": self.scope.word(),
            "parameters": self.parameters(book),
            "responses": responses,
        });
        if let Some(body) = &self.body {
            described["requestBody"] = json!({ "required": true, "content": json(body) });
        }
        described
    }
}

/// What `schema` refers to.
fn resolved<'a>(schema: &Value, book: &'a Book) -> Option<&'a Value> {
    book.0.get(schema["$ref"].as_str()?.rsplit('/').next()?)
}

/// The whole description.
pub(crate) fn document(operations: &[Operation], book: &Book) -> Value {
    let mut book = book.clone();
    let problem = Problem::schema(&mut book);
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let path = paths.entry(format!("{BASE}{}", operation.path)).or_insert_with(|| json!({}));
        let method = operation.method.as_str().to_lowercase();
        path[method] = operation.described(&book, &problem);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "LinkFlow",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "How the stack stands, and what may be done with it. Moments are milliseconds since 1970 in UTC.",
            "license": { "name": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": book.0,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A token of `linkflow access token create`." },
            },
        },
    })
}
