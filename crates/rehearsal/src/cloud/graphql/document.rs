//! Reads GraphQL documents (specification October 2021, executable definitions only).

use std::collections::BTreeMap;
use std::fmt;

/// A type as it is written: `[String!]!`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Named(String),
    List(Box<Kind>),
    NonNull(Box<Kind>),
}

impl Kind {
    /// The name without lists and exclamation marks.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::List(inner) | Self::NonNull(inner) => inner.name(),
        }
    }

    /// Reads `text`, which is one type and nothing else.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut reader = Reader::new(text).ok()?;
        reader.kind().ok()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::List(inner) => write!(f, "[{inner}]"),
            Self::NonNull(inner) => write!(f, "{inner}!"),
        }
    }
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Variable(String),
    Int(i64),
    Float(f64),
    Text(String),
    Bool(bool),
    Null,
    Enum(String),
    List(Vec<Literal>),
    Object(Vec<(String, Literal)>),
}

/// Names with values.
pub(super) type Arguments = Vec<(String, Literal)>;

/// `@include(if: …)` or `@skip(if: …)`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) arguments: Arguments,
}

/// One part of a selection set.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Selection {
    Field(Field),
    Spread { name: String, directives: Vec<Directive> },
    Inline { on: Option<String>, directives: Vec<Directive>, selections: Vec<Selection> },
}

/// One field that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) alias: Option<String>,
    pub(super) name: String,
    pub(super) arguments: Arguments,
    pub(super) directives: Vec<Directive>,
    pub(super) selections: Vec<Selection>,
    /// Where it is written: line and column, from 1.
    pub(super) at: (usize, usize),
}

impl Field {
    /// The name under which it is answered.
    pub(super) fn key(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.name)
    }
}

/// A variable that an operation declares.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) default: Option<Literal>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operation {
    /// `query`, `mutation` or `subscription`.
    pub(super) kind: String,
    pub(super) name: Option<String>,
    pub(super) variables: Vec<Variable>,
    pub(super) selections: Vec<Selection>,
}

/// One named fragment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fragment {
    pub(super) on: String,
    pub(super) selections: Vec<Selection>,
}

/// A whole document.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Document {
    pub(super) operations: Vec<Operation>,
    pub(super) fragments: BTreeMap<String, Fragment>,
}

impl Document {
    /// Reads `text`. The error says what was not expected, and where.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        Reader::new(text)?.document()
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Mark(char),
    Spread,
    Int(i64),
    Float(f64),
    Text(String),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "Name \"{name}\""),
            Self::Mark(mark) => write!(f, "\"{mark}\""),
            Self::Spread => f.write_str("\"...\""),
            Self::Int(_) | Self::Float(_) => f.write_str("a number"),
            Self::Text(_) => f.write_str("a string"),
            Self::End => f.write_str("<EOF>"),
        }
    }
}

struct Reader {
    tokens: Vec<(Token, (usize, usize))>,
    next: usize,
}

/// What ends a list that is not closed.
const DEEPEST: usize = 40;

impl Reader {
    fn new(text: &str) -> Result<Self, String> {
        let mut lexer = Lexer { rest: text, line: 1, column: 1 };
        let mut tokens = Vec::new();
        loop {
            lexer.skip();
            let at = (lexer.line, lexer.column);
            let token = lexer.token()?;
            let end = token == Token::End;
            tokens.push((token, at));
            if end {
                return Ok(Self { tokens, next: 0 });
            }
        }
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)].0
    }

    fn at(&self) -> (usize, usize) {
        self.tokens[self.next.min(self.tokens.len() - 1)].1
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn wrong<T>(&self, due: &str) -> Result<T, String> {
        let (line, column) = self.at();
        Err(format!("Syntax Error: Expected {due}, found {} ({line}:{column}).", self.peek()))
    }

    fn has(&mut self, mark: char) -> bool {
        let found = *self.peek() == Token::Mark(mark);
        if found {
            self.next += 1;
        }
        found
    }

    fn mark(&mut self, mark: char) -> Result<(), String> {
        if self.has(mark) { Ok(()) } else { self.wrong(&format!("\"{mark}\"")) }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.next += 1;
                Ok(name)
            }
            _ => self.wrong("Name"),
        }
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(found) if found == name)
    }

    fn document(&mut self) -> Result<Document, String> {
        let mut document = Document::default();
        while *self.peek() != Token::End {
            if self.is_name("fragment") {
                self.next += 1;
                let name = self.name()?;
                if self.name()? != "on" {
                    return self.wrong("\"on\"");
                }
                let on = self.name()?;
                let selections = self.selections(0)?;
                document.fragments.insert(name, Fragment { on, selections });
            } else {
                document.operations.push(self.operation()?);
            }
        }
        if document.operations.is_empty() { self.wrong("an operation") } else { Ok(document) }
    }

    fn operation(&mut self) -> Result<Operation, String> {
        if *self.peek() == Token::Mark('{') {
            let selections = self.selections(0)?;
            return Ok(Operation {
                kind: "query".to_owned(),
                name: None,
                variables: Vec::new(),
                selections,
            });
        }
        let kind = self.name()?;
        if !["query", "mutation", "subscription"].contains(&kind.as_str()) {
            return Err(format!("Syntax Error: Unexpected Name \"{kind}\"."));
        }
        let name = if matches!(self.peek(), Token::Name(_)) { Some(self.name()?) } else { None };
        let mut variables = Vec::new();
        if self.has('(') {
            while !self.has(')') {
                self.mark('$')?;
                let name = self.name()?;
                self.mark(':')?;
                let kind = self.kind()?;
                let default = if self.has('=') { Some(self.literal(0)?) } else { None };
                variables.push(Variable { name, kind, default });
            }
        }
        self.directives()?;
        let selections = self.selections(0)?;
        Ok(Operation { kind, name, variables, selections })
    }

    fn kind(&mut self) -> Result<Kind, String> {
        let inner = if self.has('[') {
            let inner = self.kind()?;
            self.mark(']')?;
            Kind::List(Box::new(inner))
        } else {
            Kind::Named(self.name()?)
        };
        Ok(if self.has('!') { Kind::NonNull(Box::new(inner)) } else { inner })
    }

    fn selections(&mut self, depth: usize) -> Result<Vec<Selection>, String> {
        if depth > DEEPEST {
            return self.wrong("fewer levels");
        }
        self.mark('{')?;
        let mut selections = Vec::new();
        while !self.has('}') {
            selections.push(self.selection(depth)?);
        }
        if selections.is_empty() { self.wrong("Name") } else { Ok(selections) }
    }

    fn selection(&mut self, depth: usize) -> Result<Selection, String> {
        if *self.peek() == Token::Spread {
            self.next += 1;
            if matches!(self.peek(), Token::Name(name) if name != "on") {
                let name = self.name()?;
                return Ok(Selection::Spread { name, directives: self.directives()? });
            }
            let on = if self.is_name("on") {
                self.next += 1;
                Some(self.name()?)
            } else {
                None
            };
            let directives = self.directives()?;
            return Ok(Selection::Inline {
                on,
                directives,
                selections: self.selections(depth + 1)?,
            });
        }
        let at = self.at();
        let first = self.name()?;
        let (alias, name) = if self.has(':') { (Some(first), self.name()?) } else { (None, first) };
        let arguments = self.arguments()?;
        let directives = self.directives()?;
        let open = *self.peek() == Token::Mark('{');
        let selections = if open { self.selections(depth + 1)? } else { Vec::new() };
        Ok(Selection::Field(Field { alias, name, arguments, directives, selections, at }))
    }

    fn arguments(&mut self) -> Result<Arguments, String> {
        let mut arguments = Vec::new();
        if self.has('(') {
            while !self.has(')') {
                let name = self.name()?;
                self.mark(':')?;
                arguments.push((name, self.literal(0)?));
            }
        }
        Ok(arguments)
    }

    fn directives(&mut self) -> Result<Vec<Directive>, String> {
        let mut directives = Vec::new();
        while self.has('@') {
            directives.push(Directive { name: self.name()?, arguments: self.arguments()? });
        }
        Ok(directives)
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, String> {
        if depth > DEEPEST {
            return self.wrong("fewer levels");
        }
        if self.has('$') {
            return Ok(Literal::Variable(self.name()?));
        }
        if self.has('[') {
            let mut items = Vec::new();
            while !self.has(']') {
                items.push(self.literal(depth + 1)?);
            }
            return Ok(Literal::List(items));
        }
        if self.has('{') {
            let mut fields = Vec::new();
            while !self.has('}') {
                let name = self.name()?;
                self.mark(':')?;
                fields.push((name, self.literal(depth + 1)?));
            }
            return Ok(Literal::Object(fields));
        }
        Ok(match self.peek().clone() {
            Token::Int(number) => self.taken(Literal::Int(number)),
            Token::Float(number) => self.taken(Literal::Float(number)),
            Token::Text(text) => self.taken(Literal::Text(text)),
            Token::Name(name) => self.taken(match name.as_str() {
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                "null" => Literal::Null,
                _ => Literal::Enum(name),
            }),
            _ => return self.wrong("a value"),
        })
    }

    fn taken(&mut self, literal: Literal) -> Literal {
        self.take();
        literal
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl Lexer<'_> {
    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        for c in passed.chars() {
            (self.line, self.column) =
                if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self.rest = rest;
    }

    /// Skips white space, commas and comments.
    fn skip(&mut self) {
        loop {
            let blank = self.rest.find(|c: char| !c.is_whitespace() && c != ',' && c != '\u{feff}');
            self.advance(blank.unwrap_or(self.rest.len()));
            if !self.rest.starts_with('#') {
                return;
            }
            self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn token(&mut self) -> Result<Token, String> {
        let Some(first) = self.rest.chars().next() else { return Ok(Token::End) };
        if self.rest.starts_with("...") {
            self.advance(3);
            return Ok(Token::Spread);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let end = self
                .rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(self.rest.len());
            let name = self.rest[..end].to_owned();
            self.advance(end);
            return Ok(Token::Name(name));
        }
        if first.is_ascii_digit() || first == '-' {
            return self.number();
        }
        if first == '"' {
            return if self.rest.starts_with("\"\"\"") { self.block() } else { self.text() };
        }
        if "!$&()[]{}:=@|".contains(first) {
            self.advance(1);
            return Ok(Token::Mark(first));
        }
        Err(format!(
            "Syntax Error: Unexpected character {first:?} ({}:{}).",
            self.line, self.column
        ))
    }

    fn number(&mut self) -> Result<Token, String> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit() && !"-+.eE".contains(c))
            .unwrap_or(self.rest.len());
        let text = self.rest[..end].to_owned();
        self.advance(end);
        let int = text.parse().map(Token::Int).ok();
        int.or_else(|| text.parse().map(Token::Float).ok())
            .ok_or_else(|| format!("Syntax Error: Invalid number {text}."))
    }

    fn block(&mut self) -> Result<Token, String> {
        let inner =
            self.rest[3..].find("\"\"\"").map(|end| self.rest[3..3 + end].trim().to_owned());
        let text = inner.ok_or("Syntax Error: Unterminated string.")?;
        let end = self.rest[3..].find("\"\"\"").map_or(self.rest.len(), |end| end + 6);
        self.advance(end);
        Ok(Token::Text(text))
    }

    fn text(&mut self) -> Result<Token, String> {
        let bytes = self.rest.as_bytes();
        let mut end = 1;
        while bytes.get(end).is_some_and(|b| *b != b'"' && *b != b'\n') {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        if bytes.get(end) != Some(&b'"') {
            return Err("Syntax Error: Unterminated string.".to_owned());
        }
        // The escapes of GraphQL strings are those of JSON.
        let text = serde_json::from_str(&self.rest[..=end]);
        self.advance(end + 1);
        text.map(Token::Text)
            .map_err(|_| "Syntax Error: Invalid character escape sequence.".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_with_all_its_parts_is_read() {
        let text = r#"
            # a comment
            query Look($id: String!, $most: Int = 5) {
              one: project(id: $id, filter: {name: "a\"b", in: [A, B], deep: null}) @include(if: true) {
                ...Brief
                ... on Node { id }
              }
            }
            fragment Brief on Project { name, services(first: $most) { edges { node { id } } } }
        "#;
        let document = Document::read(text).unwrap();
        let operation = &document.operations[0];
        assert_eq!(operation.variables[0].kind.to_string(), "String!");
        assert_eq!(operation.variables[1].default, Some(Literal::Int(5)));
        let Selection::Field(field) = &operation.selections[0] else { panic!("a field is due") };
        assert_eq!((field.key(), field.name.as_str(), field.at), ("one", "project", (4, 15)));
        assert_eq!(field.selections.len(), 2);
        assert_eq!(document.fragments["Brief"].on, "Project");
    }

    #[test]
    fn what_is_no_document_is_refused_with_its_place() {
        let wrong = |text: &str| Document::read(text).unwrap_err();
        assert_eq!(wrong("query { a( }"), "Syntax Error: Expected Name, found \"}\" (1:12).");
        assert_eq!(wrong("{ a"), "Syntax Error: Expected Name, found <EOF> (1:4).");
        assert_eq!(wrong("query { \"x }"), "Syntax Error: Unterminated string.");
        assert_eq!(wrong("{ é }"), "Syntax Error: Unexpected character 'é' (1:3).");
    }
}
