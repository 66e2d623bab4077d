//! Values of the API with their JSON schema, written once: the type is the schema.

use std::collections::BTreeMap;

use linkflow_model::service::ServiceKind;
use linkflow_model::{
    Condition, EventKind, Health, Impact, IncidentStage, Level, Lifecycle, ProviderName, ReleaseId,
    ReleaseState, ServiceName,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Something that has a JSON schema.
pub trait Shape {
    /// Whether a member of this type may be left out.
    const OPTIONAL: bool = false;

    /// Its schema. What has a name goes into `book`, and is referred to.
    fn schema(book: &mut Book) -> Value;
}

/// The schemas that have names: `components.schemas` of the description.
#[derive(Clone, Debug, Default)]
pub struct Book(pub BTreeMap<&'static str, Value>);

impl Book {
    /// A reference to `name`, whose schema is made by `how` when it is not there yet.
    pub fn named(&mut self, name: &'static str, how: impl FnOnce(&mut Self) -> Value) -> Value {
        if !self.0.contains_key(name) {
            // Before it is made, so that what holds itself ends.
            self.0.insert(name, Value::Null);
            let made = how(self);
            self.0.insert(name, made);
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }
}

/// A member of an object: its name, its schema, whether it may be left out, and what it is.
pub type Member = (&'static str, Value, bool, &'static str);

/// The schema of an object.
pub fn object(about: &str, members: Vec<Member>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, schema, optional, doc) in members {
        // What stands beside a reference is read since 2020-12.
        let mut schema = schema;
        if let Some(schema) = schema.as_object_mut() {
            schema.entry("description").or_insert_with(|| json!(doc.trim()));
        }
        if !optional {
            required.push(name);
        }
        properties.insert(name.to_owned(), schema);
    }
    json!({
        "type": "object",
        "description": about.trim(),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// Declares plain values with their schema. A comment on a member is its description.
macro_rules! shapes {
    ($(
        $(#[doc = $doc:literal])+
        pub struct $name:ident {
            $( $(#[doc = $about:literal])+ pub $member:ident: $type:ty, )*
        }
    )+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $about])+ pub $member: $type, )*
        }

        impl $crate::shape::Shape for $name {
            fn schema(book: &mut $crate::shape::Book) -> serde_json::Value {
                book.named(stringify!($name), |book| {
                    let members = vec![$((
                        stringify!($member),
                        <$type as $crate::shape::Shape>::schema(book),
                        <$type as $crate::shape::Shape>::OPTIONAL,
                        concat!($($about),+),
                    )),*];
                    $crate::shape::object(concat!($($doc),+), members)
                })
            }
        }
    )+};
}
pub(crate) use shapes;

impl Shape for String {
    fn schema(_: &mut Book) -> Value {
        json!({ "type": "string" })
    }
}

impl Shape for bool {
    fn schema(_: &mut Book) -> Value {
        json!({ "type": "boolean" })
    }
}

impl Shape for f64 {
    fn schema(_: &mut Book) -> Value {
        json!({ "type": "number" })
    }
}

impl Shape for u32 {
    fn schema(_: &mut Book) -> Value {
        json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
    }
}

impl Shape for u64 {
    fn schema(_: &mut Book) -> Value {
        // Beyond this, readers in JavaScript lose digits.
        json!({ "type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_991_u64 })
    }
}

impl<T: Shape> Shape for Option<T> {
    const OPTIONAL: bool = true;

    fn schema(book: &mut Book) -> Value {
        json!({ "anyOf": [T::schema(book), { "type": "null" }] })
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn schema(book: &mut Book) -> Value {
        json!({ "type": "array", "items": T::schema(book) })
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn schema(book: &mut Book) -> Value {
        json!({ "type": "object", "additionalProperties": T::schema(book) })
    }
}

impl<T: Shape> Shape for BTreeMap<ServiceName, T> {
    fn schema(book: &mut Book) -> Value {
        json!({
            "type": "object",
            "propertyNames": ServiceName::schema(book),
            "additionalProperties": T::schema(book),
        })
    }
}

/// What names of services and providers look like.
const NAME: &str = "^[a-z][a-z0-9-]{0,39}$";

impl Shape for ServiceName {
    fn schema(_: &mut Book) -> Value {
        json!({ "type": "string", "pattern": NAME, "maxLength": 40 })
    }
}

impl Shape for ProviderName {
    fn schema(_: &mut Book) -> Value {
        json!({ "type": "string", "pattern": NAME, "maxLength": 40 })
    }
}

impl Shape for ReleaseId {
    fn schema(_: &mut Book) -> Value {
        json!({ "type": "string", "pattern": "^r[0-9]{1,15}$", "maxLength": 16 })
    }
}

/// The schema of a word out of a few.
fn words<T: Serialize>(all: &[T]) -> Value {
    json!({ "type": "string", "enum": all })
}

/// Words of the model, each with all that it may be.
macro_rules! words {
    ($($type:ident: $($word:ident),+;)+) => {$(
        impl Shape for $type {
            fn schema(book: &mut Book) -> Value {
                book.named(stringify!($type), |_| words(&[$($type::$word),+]))
            }
        }
    )+};
}

words! {
    ServiceKind: Web, Grpc, Worker;
    Health: Up, Down, Resting, Waking, Unknown;
    Lifecycle: Absent, Starting, Running, Stopped, Asleep, Failed, Unknown;
    Condition: Up, Maintenance, Unknown, Degraded, Partial, Down;
    Impact: None, Minor, Major, Critical;
    IncidentStage: Investigating, Identified, Monitoring, Resolved, Postmortem;
    ReleaseState: Rolling, Live, Failed, Superseded;
    Level: Info, Notice, Warning, Alarm;
    EventKind: Up, Down, Degraded, Unseen, Flapping, Ejected, Readmitted, Failover, Failback, Held, RunStarted,
        StepDone, StepFailed, RunEnded, Resumed, ReleaseLive, ReleaseFailed, RolledBack, Hook, Notice, Api, Incident,
        Page, Certificate, Domain, Fault, Control, Unknown;
}

/// Declares a text of a person with the fewest and the most characters it has. It begins with a character that is seen.
macro_rules! texts {
    ($($(#[doc = $doc:literal])+ $name:ident: $most:literal;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let seen = text.chars().next().is_some_and(|c| c > ' ' && c != '\u{7f}');
                if seen && text.chars().count() <= $most {
                    return Ok(Self(text));
                }
                Err(concat!("a text of 1 to ", $most, " characters is expected, which begins with no space").to_owned())
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl $crate::shape::Shape for $name {
            fn schema(_: &mut $crate::shape::Book) -> Value {
                json!({ "type": "string", "minLength": 1, "maxLength": $most, "pattern": "^[^\\u0000-\\u0020\\u007f]" })
            }
        }
    )+};
}

texts! {
    /// Why something is done: it stands in the timeline, and in the audit.
    Reason: 500;
    /// A title for people, in one line.
    Title: 200;
    /// Markdown for people.
    Words: 20000;
    /// What an image is called: a whole reference, or `:TAG`, or `@DIGEST`.
    ImageWord: 400;
}

/// Declares whole numbers with the least and the greatest they may be.
macro_rules! numbers {
    ($($(#[doc = $doc:literal])+ $name:ident: $least:literal to $most:literal;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name(pub u64);

        impl TryFrom<u64> for $name {
            type Error = String;

            fn try_from(number: u64) -> Result<Self, String> {
                const RANGE: std::ops::RangeInclusive<u64> = $least..=$most;
                if RANGE.contains(&number) {
                    return Ok(Self(number));
                }
                Err(concat!("a number from ", $least, " to ", $most, " is expected").to_owned())
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }

        impl $crate::shape::Shape for $name {
            fn schema(_: &mut $crate::shape::Book) -> Value {
                let (least, most): (u64, u64) = ($least, $most);
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
        }
    )+};
}

numbers! {
    /// How many rows are wanted.
    Limit: 1 to 1000;
    /// A number of rows, of an event, or a moment in milliseconds since 1970.
    Number: 0 to 9007199254740991;
    /// A moment in milliseconds since 1970, up to the year 9999.
    Date: 0 to 253402300799000;
    /// A number of minutes, up to 30 days.
    Minutes: 1 to 43200;
    /// How many days back.
    Days: 1 to 90;
    /// How long a look may take, in milliseconds: up to a minute.
    LookLimit: 1 to 60000;
}

#[cfg(test)]
pub mod tests {
    use super::*;

    shapes! {
        /// A thing
        /// of a test.
        pub struct Thing {
            /// Its name.
            pub name: String,
            /// Others.
            pub others: Vec<Thing>,
            /// How it is.
            pub how: Option<Condition>,
        }
    }

    #[test]
    fn a_type_is_its_schema_and_may_hold_itself() {
        let mut book = Book::default();
        assert_eq!(Thing::schema(&mut book), json!({ "$ref": "#/components/schemas/Thing" }));
        let thing = &book.0["Thing"];
        assert_eq!(thing["description"], "A thing of a test.");
        assert_eq!(thing["required"], json!(["name", "others"]));
        assert_eq!(thing["properties"]["others"]["items"]["$ref"], "#/components/schemas/Thing");
        let how = &thing["properties"]["how"];
        assert_eq!(how["description"], "How it is.");
        assert_eq!(book.0["Condition"]["enum"][5], "down");
    }

    #[test]
    fn a_reason_is_something_that_can_be_read() {
        for (text, good) in [("ok", true), ("", false), (" a", false), ("\n", false), ("é", true)]
        {
            assert_eq!(Reason::try_from(text.to_owned()).is_ok(), good, "{text:?}");
        }
        assert!(Reason::try_from("a".repeat(501)).is_err());
    }
}
