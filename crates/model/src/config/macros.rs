//! `section!` and `choice!`: one list makes the type, its reader, its printer and its description.

/// A table of the config. Each key is a field with a doc comment; `= value` is what counts when the key is not there.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident as $title:literal {
            $( $(#[doc = $fdoc:literal])* $field:ident : $ty:ty $(= $default:expr)?, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $(#[doc = $fdoc])* pub $field: $ty, )*
        }

        impl $name {
            pub(crate) fn read_fields(
                from: &mut $crate::config::read::Fields<'_>,
                reader: &mut $crate::config::read::Reader<'_>,
            ) -> Self {
                // A table without keys uses neither.
                let _: (&_, &_) = (&from, &reader);
                Self { $( $field: {
                    let default = section!(@default $ty $(, $default)?);
                    from.take($crate::config::read::key(stringify!($field)), default, reader)
                }, )* }
            }

            pub(crate) fn print_fields(&self) -> Vec<(String, $crate::config::print::Printed)> {
                let fields: Vec<Option<(String, $crate::config::print::Printed)>> = vec![ $( {
                    let default: Option<$ty> = section!(@default $ty $(, $default)?);
                    (default.as_ref() != Some(&self.$field)).then(|| {
                        let value = $crate::config::read::Field::print(&self.$field);
                        ($crate::config::read::key(stringify!($field)).to_owned(), value)
                    })
                }, )* ];
                fields.into_iter().flatten().collect()
            }

            pub(crate) fn keys(book: &mut $crate::config::shape::Book) -> Vec<$crate::config::shape::Key> {
                let _: &_ = &book;
                vec![ $( {
                    let default: Option<$ty> = section!(@default $ty $(, $default)?);
                    $crate::config::shape::Key {
                        name: $crate::config::read::key(stringify!($field)),
                        doc: concat!($($fdoc, "\n"),*),
                        shape: <$ty as $crate::config::read::Field>::shape(book),
                        required: default.is_none(),
                        default: default
                            .map(|d| $crate::config::print::inline(&$crate::config::read::Field::print(&d)))
                            .filter(|d| !d.is_empty() && d != "[]" && d != "{}"),
                    }
                }, )* ]
            }
        }

        impl $crate::config::read::Field for $name {
            fn read(
                node: &$crate::config::node::Node,
                reader: &mut $crate::config::read::Reader<'_>,
            ) -> Option<Self> {
                let mut fields = $crate::config::read::Fields::open(node, reader)?;
                let value = Self::read_fields(&mut fields, reader);
                fields.finish(reader);
                Some(value)
            }

            fn blank() -> Self {
                Self { $( $field: {
                    let default: Option<$ty> = section!(@default $ty $(, $default)?);
                    default.unwrap_or_else(<$ty as $crate::config::read::Field>::blank)
                }, )* }
            }

            fn print(&self) -> $crate::config::print::Printed {
                $crate::config::print::Printed::Table(self.print_fields())
            }

            fn shape(book: &mut $crate::config::shape::Book) -> $crate::config::shape::Shape {
                book.put($title, |book| $crate::config::shape::Section {
                    doc: concat!($($doc, "\n"),*),
                    keys: Self::keys(book),
                    kinds: Vec::new(),
                })
            }
        }
    };
    (@default $ty:ty) => { <$ty as $crate::config::read::Field>::absent() };
    (@default $ty:ty, $default:expr) => { Some::<$ty>($default) };
}

/// Makes a type that is one of some words readable: the enum is made here, or made elsewhere (`for Type`).
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident {
            $( $(#[doc = $wdoc:literal])* $variant:ident = $word:literal, )+
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( $(#[doc = $wdoc])* $variant, )+
        }

        impl $name {
            /// The word in the config.
            pub fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        choice! { for $name { $( $(#[doc = $wdoc])* $variant = $word, )+ } }
    };
    (for $name:ident { $( $(#[doc = $wdoc:literal])* $variant:ident = $word:literal, )+ }) => {
        impl $crate::config::read::Field for $name {
            fn read(
                node: &$crate::config::node::Node,
                reader: &mut $crate::config::read::Reader<'_>,
            ) -> Option<Self> {
                let words = [$( $word, )+];
                match $crate::config::values::one_of(node, &words, reader)? {
                    $( $word => Some(Self::$variant), )+
                    _ => None,
                }
            }

            fn blank() -> Self {
                let all = [$( Self::$variant, )+];
                all[0]
            }

            fn print(&self) -> $crate::config::print::Printed {
                let word = match self { $( Self::$variant => $word, )+ };
                $crate::config::print::Printed::Text(word.to_owned())
            }

            fn shape(_: &mut $crate::config::shape::Book) -> $crate::config::shape::Shape {
                $crate::config::shape::Shape::Choice(&[$(
                    $crate::config::shape::Word { word: $word, doc: concat!($($wdoc, "\n"),*) },
                )+])
            }
        }
    };
}

pub(crate) use {choice, section};
