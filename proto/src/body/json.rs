//! How a Rust type and a JSON value become each other, and the macro that declares a body.

use std::collections::{BTreeMap, BTreeSet};

use super::BodyError;
use crate::dialect::{Key, Object, Value, Writer};

/// A type that fastjson's JSON can hold.
pub trait Json: Sized {
    /// Whether `null` is a value of this type. For all others null leaves the field as it is, which
    /// is what fastjson does with a Java primitive.
    const NULLABLE: bool = false;

    /// Reads a value as leniently as fastjson's `TypeUtils` would.
    fn read(value: &Value<'_>) -> Result<Self, BodyError>;

    /// Writes this value.
    fn emit(&self, writer: &mut Writer<'_>);

    /// Whether a field that holds this is left out (`SerializerFeature.WriteMapNullValue` is off).
    fn is_absent(&self) -> bool {
        false
    }
}

/// A type that can be the key of a map.
pub trait JsonKey: Sized + Ord {
    /// Reads a key; text keys may stand for numbers, and a text may hold a whole object.
    fn read_key(key: &Key<'_>) -> Result<Self, BodyError>;

    /// Writes a key and its colon.
    fn emit_key(&self, writer: &mut Writer<'_>);
}

/// Declares a body: a struct whose fields are listed in alphabetical order of their JSON names,
/// each with its name, another name that is read too where there is one
/// (`@JSONField(alternateNames)`), its type and, where it is not the type's own, Java's initial
/// value. `up to TABLE_VALUES_MAX values` is for what grows with a whole broker.
macro_rules! json_object {
    (
        $(#[$meta:meta])*
        pub struct $name:ident $(up to $values_max:ident values)? {
            $(
                $(#[$field_meta:meta])*
                $json:literal $(| $alias:literal)? $field:ident: $type:ty $(= $default:expr)?,
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl Default for $name {
            /// As Java's constructor leaves it, clocks apart: times are 0.
            fn default() -> Self {
                Self { $($field: json_object!(@default $($default)?),)* }
            }
        }

        impl $crate::body::json::Json for $name {
            fn read(
                value: &$crate::dialect::Value<'_>,
            ) -> Result<Self, $crate::body::BodyError> {
                let object = $crate::body::json::object(value)?;
                let mut this = Self::default();
                $(
                    $($crate::body::json::read_field(object, $alias, &mut this.$field)?;)?
                    $crate::body::json::read_field(object, $json, &mut this.$field)?;
                )*
                Ok(this)
            }

            fn emit(&self, writer: &mut $crate::dialect::Writer<'_>) {
                writer.open_object();
                $($crate::body::json::emit_field(writer, $json, &self.$field);)*
                writer.close_object();
            }
        }

        impl $name {
            /// Reads a body.
            ///
            /// # Errors
            /// Malformed text, or a field of the wrong type.
            pub fn parse(bytes: &[u8]) -> Result<Self, $crate::body::BodyError> {
                let values_max = json_object!(@values_max $($values_max)?);
                let value = $crate::dialect::parse_up_to(values_max, bytes)?;
                $crate::body::json::Json::read(&value)
            }

            /// Appends the body to `out`.
            pub fn write(&self, out: &mut Vec<u8>) {
                let style = $crate::dialect::Style::Plain;
                $crate::body::json::Json::emit(self, &mut $crate::dialect::Writer::new(out, style));
            }
        }

        #[cfg(test)]
        impl $crate::body::sample::Sample for $name {
            fn sample(source: &mut $crate::body::sample::Source<'_>) -> Self {
                Self { $($field: $crate::body::sample::Sample::sample(source),)* }
            }
        }
    };
    (@default $default:expr) => { $default };
    (@default) => { Default::default() };
    (@values_max $values_max:ident) => { $crate::dialect::$values_max };
    (@values_max) => { $crate::dialect::VALUES_MAX };
}
pub(super) use json_object;

/// Declares an enum that travels as the name of its Java constant. Unknown names are nothing, so
/// fields hold an `Option` of it; a number is Java's ordinal.
macro_rules! json_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $json:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
        }

        impl $name {
            /// Every value, in the order of Java's ordinals.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The name of Java's constant.
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $json,)*
                }
            }

            /// The value of a name, which must match exactly.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }

        impl $crate::body::json::Json for Option<$name> {
            const NULLABLE: bool = true;

            fn read(
                value: &$crate::dialect::Value<'_>,
            ) -> Result<Self, $crate::body::BodyError> {
                use $crate::dialect::Value;
                Ok(match value {
                    Value::Text(name) => $name::from_name(name),
                    Value::Integer(ordinal) => {
                        usize::try_from(*ordinal).ok().and_then(|at| $name::ALL.get(at)).copied()
                    }
                    _ => None,
                })
            }

            fn emit(&self, writer: &mut $crate::dialect::Writer<'_>) {
                match self {
                    Some(value) => writer.text(value.name()),
                    None => writer.null(),
                }
            }

            fn is_absent(&self) -> bool {
                self.is_none()
            }
        }

        #[cfg(test)]
        impl $crate::body::sample::Sample for $name {
            fn sample(source: &mut $crate::body::sample::Source<'_>) -> Self {
                source.pick(Self::ALL)
            }
        }
    };
}
pub(super) use json_enum;

/// Lets an enum be a field without an `Option`: what is no name of it becomes its `Default`, which
/// is Java's initial value.
macro_rules! defaulting {
    ($name:ident) => {
        impl $crate::body::json::Json for $name {
            fn read(value: &$crate::dialect::Value<'_>) -> Result<Self, $crate::body::BodyError> {
                Ok(<Option<$name> as $crate::body::json::Json>::read(value)?.unwrap_or_default())
            }

            fn emit(&self, writer: &mut $crate::dialect::Writer<'_>) {
                writer.text(self.name());
            }
        }
    };
}
pub(super) use defaulting;

/// Reads a field if the object has it.
pub fn read_field<T: Json>(
    object: &Object<'_>,
    name: &'static str,
    field: &mut T,
) -> Result<(), BodyError> {
    if let Some(value) = object.field(name)
        && (T::NULLABLE || !value.is_null())
    {
        *field = T::read(value).map_err(|error| within(name, error))?;
    }
    Ok(())
}

/// Writes a field unless it is absent.
pub fn emit_field<T: Json>(writer: &mut Writer<'_>, name: &str, field: &T) {
    if !field.is_absent() {
        writer.key(name);
        field.emit(writer);
    }
}

/// The object that a value must be.
pub fn object<'v, 'a>(value: &'v Value<'a>) -> Result<&'v Object<'a>, BodyError> {
    value.as_object().ok_or_else(|| mismatch("an object", value))
}

/// A value of the wrong type.
pub fn mismatch(expected: &'static str, value: &Value<'_>) -> BodyError {
    BodyError::Type { field: "", expected, found: value.kind() }
}

/// Names the innermost field.
fn within(name: &'static str, error: BodyError) -> BodyError {
    match error {
        BodyError::Type { field: "", expected, found } => {
            BodyError::Type { field: name, expected, found }
        }
        other => other,
    }
}

impl Json for String {
    fn read(value: &Value<'_>) -> Result<Self, BodyError> {
        match value {
            Value::Text(text) => Ok(text.clone().into_owned()),
            Value::Integer(number) => Ok(number.to_string()),
            Value::Number(number) => Ok((*number).to_owned()),
            Value::Bool(value) => Ok(value.to_string()),
            _ => Err(mismatch("a string", value)),
        }
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        writer.text(self);
    }
}

impl Json for i64 {
    fn read(value: &Value<'_>) -> Result<Self, BodyError> {
        let number = match value {
            Value::Integer(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            // A fraction is cut off, as by BigDecimal.longValue; an integer beyond 64 bits is not
            // taken.
            Value::Number(text) => text.split_once('.').and_then(|(whole, fraction)| {
                let plain = fraction.bytes().all(|byte| byte.is_ascii_digit());
                whole.parse().ok().filter(|_| plain)
            }),
            Value::Bool(value) => Some(i64::from(*value)),
            _ => None,
        };
        number.ok_or_else(|| mismatch("an integer of 64 bits", value))
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        writer.integer(*self);
    }
}

impl Json for i32 {
    fn read(value: &Value<'_>) -> Result<Self, BodyError> {
        let wide = i64::read(value).ok();
        wide.and_then(|number| i32::try_from(number).ok())
            .ok_or_else(|| mismatch("an integer of 32 bits", value))
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        writer.integer(i64::from(*self));
    }
}

impl Json for f64 {
    fn read(value: &Value<'_>) -> Result<Self, BodyError> {
        let number = match value {
            Value::Integer(number) => Some(*number as f64),
            Value::Number(text) => text.parse().ok(),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        number
            .filter(|number: &f64| number.is_finite())
            .ok_or_else(|| mismatch("a finite number", value))
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        writer.double(*self);
    }
}

impl Json for bool {
    fn read(value: &Value<'_>) -> Result<Self, BodyError> {
        match value {
            Value::Bool(value) => Ok(*value),
            Value::Integer(number) => Ok(*number == 1),
            Value::Text(text) => match text.as_ref() {
                "true" | "TRUE" | "True" | "1" | "Y" | "T" => Ok(true),
                "false" | "FALSE" | "False" | "0" | "N" | "F" => Ok(false),
                _ => Err(mismatch("a boolean", value)),
            },
            _ => Err(mismatch("a boolean", value)),
        }
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        writer.boolean(*self);
    }
}

/// For types that an `Option` adds null to. Enums bring their own `Option`.
macro_rules! nullable {
    ($($type:ty),*) => {$(
        impl Json for Option<$type> {
            const NULLABLE: bool = true;

            fn read(value: &Value<'_>) -> Result<Self, BodyError> {
                if value.is_null() { Ok(None) } else { Ok(Some(Json::read(value)?)) }
            }

            fn emit(&self, writer: &mut Writer<'_>) {
                match self {
                    Some(value) => value.emit(writer),
                    None => writer.null(),
                }
            }

            fn is_absent(&self) -> bool {
                self.is_none()
            }
        }
    )*};
}
pub(super) use nullable;
nullable!(String, i64, i32, f64, bool);

/// Null items are left out: no list of Apache's gives them a meaning.
impl<T: Json> Json for Vec<T> {
    fn read(value: &Value<'_>) -> Result<Self, BodyError> {
        let items = value.as_array().ok_or_else(|| mismatch("an array", value))?;
        items.iter().filter(|item| !item.is_null()).map(T::read).collect()
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        writer.open_array();
        self.iter().for_each(|item| item.emit(writer));
        writer.close_array();
    }
}

impl<T: Json + Ord> Json for BTreeSet<T> {
    fn read(value: &Value<'_>) -> Result<Self, BodyError> {
        Ok(Vec::<T>::read(value)?.into_iter().collect())
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        writer.open_array();
        self.iter().for_each(|item| item.emit(writer));
        writer.close_array();
    }
}

/// Entries with a null value are left out, as fastjson leaves them out when writing.
impl<K: JsonKey, V: Json> Json for BTreeMap<K, V> {
    fn read(value: &Value<'_>) -> Result<Self, BodyError> {
        let entries = object(value)?.entries.iter().filter(|(_, value)| !value.is_null());
        entries.map(|(key, value)| Ok((K::read_key(key)?, V::read(value)?))).collect()
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        writer.open_object();
        for (key, value) in self.iter().filter(|(_, value)| !value.is_absent()) {
            key.emit_key(writer);
            value.emit(writer);
        }
        writer.close_object();
    }
}

impl JsonKey for String {
    fn read_key(key: &Key<'_>) -> Result<Self, BodyError> {
        match key {
            Key::Text(text) => Ok(text.clone().into_owned()),
            Key::Value(value) => Err(mismatch("a string as key", value)),
        }
    }

    fn emit_key(&self, writer: &mut Writer<'_>) {
        writer.key(self);
    }
}

/// Quoted and unquoted integers are alike.
macro_rules! integer_key {
    ($($type:ty),*) => {$(
        impl JsonKey for $type {
            fn read_key(key: &Key<'_>) -> Result<Self, BodyError> {
                match key {
                    Key::Text(text) => text.trim().parse().map_err(|_| BodyError::Type {
                        field: "",
                        expected: "an integer as key",
                        found: "a string",
                    }),
                    Key::Value(value) => Err(mismatch("an integer as key", value)),
                }
            }

            fn emit_key(&self, writer: &mut Writer<'_>) {
                writer.integer_key(i64::from(*self));
            }
        }
    )*};
}
integer_key!(i32, i64);
