//! The naive model: Apache's expression classes one by one, trees of boxes over a map of properties.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::value::{Threw, compare, compare_sizes};
use super::{Outcome, SqlFilter, value};

/// A tree as Apache's parser would make it; parentheses are where the text needs them.
#[derive(Clone, Debug)]
enum Tree {
    Integer(u64),
    Double(&'static str),
    Text(String),
    Boolean(Option<bool>),
    Property(String),
    Negate(Box<Tree>),
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
    Equal(Box<Tree>, Box<Tree>),
    NotEqual(Box<Tree>, Box<Tree>),
    IsNull(Box<Tree>, bool),
    Size(Box<Tree>, &'static str, Box<Tree>),
    Between(Box<Tree>, bool, Box<Tree>, Box<Tree>),
    In(Box<Tree>, bool, Vec<String>),
    Part(Box<Tree>, bool, &'static str, String),
}

use Tree::*;

/// An object of Java's: null, or something.
#[derive(Clone, Debug)]
enum Object {
    Null,
    Boolean(bool),
    Integer(i32),
    Long(i64),
    Double(f64),
    Text(String),
}

impl Object {
    fn value(&self) -> Option<value::Value<'_>> {
        Some(match self {
            Object::Null => return None,
            Object::Boolean(it) => value::Value::Boolean(*it),
            Object::Integer(it) => value::Value::Integer(*it),
            Object::Long(it) => value::Value::Long(*it),
            Object::Double(it) => value::Value::Double(*it),
            Object::Text(it) => value::Value::Text(it.as_bytes()),
        })
    }

    fn of(boolean: Option<bool>) -> Object {
        boolean.map_or(Object::Null, Object::Boolean)
    }

    fn boolean(&self) -> Option<bool> {
        match self {
            Object::Boolean(it) => Some(*it),
            Object::Null => None,
            other => panic!("cast of {other:?}"),
        }
    }
}

impl Tree {
    /// Whether it implements BooleanExpression.
    fn is_boolean(&self) -> bool {
        !matches!(self, Integer(_) | Double(_) | Text(_) | Property(_) | Negate(_))
    }

    fn as_condition(&self) -> bool {
        self.is_boolean() || matches!(self, Property(_))
    }

    fn constant(&self) -> Option<Object> {
        Some(match self {
            Integer(number) => match i32::try_from(*number) {
                Ok(number) => Object::Integer(number),
                Err(_) => Object::Long(*number as i64),
            },
            Double(text) => Object::Double(text.parse().unwrap()),
            Text(text) => Object::Text(text.clone()),
            Boolean(it) => Object::of(*it),
            _ => return None,
        })
    }

    fn has_size(&self) -> bool {
        match self.constant() {
            Some(Object::Integer(_) | Object::Long(_) | Object::Double(_)) => true,
            Some(_) => false,
            None => !self.is_boolean(),
        }
    }

    /// Whether Apache's constructors take it.
    fn is_legal(&self) -> bool {
        match self {
            Integer(number) => i64::try_from(*number).is_ok(),
            Double(_) | Text(_) | Boolean(_) | Property(_) => true,
            Negate(inner) | IsNull(inner, _) | Part(inner, ..) => inner.is_legal(),
            Not(inner) => inner.as_condition() && inner.is_legal(),
            And(left, right) | Or(left, right) => {
                [left, right].iter().all(|side| side.as_condition() && side.is_legal())
            }
            Equal(left, right) | NotEqual(left, right) => {
                let null = |side: &Tree| matches!(side, Boolean(None));
                let unlike = matches!(**left, Boolean(_))
                    && right.constant().is_some()
                    && !matches!(**right, Boolean(_));
                !null(left) && !null(right) && !unlike && left.is_legal() && right.is_legal()
            }
            Size(left, _, right) => {
                left.has_size() && right.has_size() && left.is_legal() && right.is_legal()
            }
            Between(of, is_not, low, high) => {
                let sides = [of, low, high];
                let falls = match (low.constant(), high.constant()) {
                    (Some(low), Some(high)) if !is_not => match (low.value(), high.value()) {
                        (Some(low), Some(high)) => {
                            compare(high, low).is_ok_and(|order| order.is_lt())
                        }
                        _ => false,
                    },
                    _ => false,
                };
                !falls && sides.iter().all(|side| side.has_size() && side.is_legal())
            }
            In(of, ..) => matches!(**of, Property(_)),
        }
    }

    fn evaluate(&self, properties: &BTreeMap<String, String>) -> Result<Object, Threw> {
        if let Some(constant) = self.constant() {
            return Ok(constant);
        }
        let of = |tree: &Tree| tree.evaluate(properties);
        // BooleanCast around a property.
        let condition = |tree: &Tree| {
            let object = tree.evaluate(properties)?;
            Ok(match object {
                Object::Text(_) => Some(false),
                other => other.boolean(),
            })
        };
        Ok(match self {
            Property(name) => {
                properties.get(name).map_or(Object::Null, |text| Object::Text(text.clone()))
            }
            Negate(inner) => match of(inner)? {
                Object::Integer(it) => Object::Integer(-it),
                Object::Long(it) => Object::Long(-it),
                Object::Double(it) => Object::Double(-it),
                _ => Object::Null,
            },
            Not(inner) => Object::of(condition(inner)?.map(|it| !it)),
            And(left, right) => {
                let left = condition(left)?;
                if left == Some(false) {
                    return Ok(Object::Boolean(false));
                }
                let right = condition(right)?;
                if right == Some(false) {
                    return Ok(Object::Boolean(false));
                }
                Object::of(left.and(right))
            }
            Or(left, right) => {
                let left = condition(left)?;
                if left == Some(true) {
                    return Ok(Object::Boolean(true));
                }
                let right = condition(right)?;
                if right == Some(true) {
                    return Ok(Object::Boolean(true));
                }
                Object::of(left.and(right))
            }
            Equal(left, right) => Object::of(equal(&of(left)?, &of(right)?)?),
            NotEqual(left, right) => Object::of(equal(&of(left)?, &of(right)?)?.map(|it| !it)),
            IsNull(inner, is_not) => {
                Object::of(equal(&of(inner)?, &Object::Null)?.map(|it| it != *is_not))
            }
            Size(left, how, right) => size(&of(left)?, how, || of(right))?,
            Between(inner, is_not, low, high) => {
                let (first, second) = if *is_not { ("<", ">") } else { (">=", "<=") };
                let decides = Some(*is_not);
                let left = size(&of(inner)?, first, || of(low))?.boolean();
                if left == decides {
                    return Ok(Object::of(decides));
                }
                let right = size(&of(inner)?, second, || of(high))?.boolean();
                if right == decides {
                    return Ok(Object::of(decides));
                }
                Object::of(left.and(right))
            }
            In(inner, is_not, items) => match of(inner)? {
                Object::Text(text) => Object::Boolean(items.contains(&text) != *is_not),
                _ => Object::Null,
            },
            Part(_, _, _, search) if search.is_empty() => Object::Boolean(false),
            Part(inner, is_not, how, search) => match of(inner)? {
                Object::Text(text) => {
                    let is_so = match *how {
                        "CONTAINS" => text.contains(search.as_str()),
                        "STARTSWITH" => text.starts_with(search.as_str()),
                        _ => text.ends_with(search.as_str()),
                    };
                    Object::Boolean(is_so != *is_not)
                }
                _ => Object::Boolean(false),
            },
            Integer(_) | Double(_) | Text(_) | Boolean(_) => unreachable!("constants"),
        })
    }

    /// The text that Apache's parser makes this tree of.
    fn write(&self, out: &mut String) {
        let mut infix = |left: &Tree, word: &str, right: &Tree| {
            left.write_side(out);
            out.push_str(&format!(" {word} "));
            right.write_side(out);
        };
        match self {
            And(left, right) => infix(left, "and", right),
            Or(left, right) => infix(left, "OR", right),
            Equal(left, right) => infix(left, "=", right),
            NotEqual(left, right) => infix(left, "<>", right),
            Size(left, how, right) => infix(left, how, right),
            Integer(number) => out.push_str(&format!("{number}")),
            Double(text) => out.push_str(text),
            Text(text) => out.push_str(&quoted(text)),
            Boolean(None) => out.push_str("Null"),
            Boolean(Some(it)) => out.push_str(if *it { "TRUE" } else { "false" }),
            Property(name) => out.push_str(name),
            Negate(inner) => {
                out.push('-');
                inner.write_side(out);
            }
            Not(inner) => {
                out.push_str("NOT ");
                inner.write_side(out);
            }
            IsNull(inner, is_not) => {
                inner.write_side(out);
                out.push_str(if *is_not { " IS NOT NULL" } else { " is null" });
            }
            Between(inner, is_not, low, high) => {
                inner.write_side(out);
                out.push_str(if *is_not { " NOT BETWEEN " } else { " BETWEEN\n" });
                low.write_side(out);
                out.push_str(" AND ");
                high.write_side(out);
            }
            In(inner, is_not, items) => {
                inner.write_side(out);
                out.push_str(if *is_not { " NOT IN (" } else { " IN (" });
                let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
                out.push_str(&items.join(" , "));
                out.push(')');
            }
            Part(inner, is_not, how, search) => {
                inner.write_side(out);
                out.push_str(if *is_not { " NOT " } else { " " });
                out.push_str(&format!("{how} {}", quoted(search)));
            }
        }
    }

    /// In parentheses, unless it is one token: the tree does not depend on precedence.
    fn write_side(&self, out: &mut String) {
        if self.constant().is_some() || matches!(self, Property(_)) {
            return self.write(out);
        }
        out.push('(');
        self.write(out);
        out.push(')');
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn equal(left: &Object, right: &Object) -> Result<Option<bool>, Threw> {
    Ok(match (left.value(), right.value()) {
        (None, None) => Some(true),
        (None, Some(_)) => None,
        (Some(_), None) => Some(false),
        (Some(left), Some(right)) => Some(compare(left, right)?.is_eq()),
    })
}

fn size(
    left: &Object,
    how: &str,
    right: impl FnOnce() -> Result<Object, Threw>,
) -> Result<Object, Threw> {
    let Some(left) = left.value() else { return Ok(Object::Null) };
    let right = right()?;
    let Some(right) = right.value() else { return Ok(Object::Null) };
    let order = compare_sizes(left, right)?;
    Ok(Object::Boolean(match how {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }))
}

fn model(tree: &Tree, properties: &BTreeMap<String, String>) -> Outcome {
    match tree.evaluate(properties) {
        Err(Threw) => Outcome::Failed,
        Ok(Object::Boolean(true)) => Outcome::True,
        Ok(Object::Boolean(false) | Object::Text(_)) => Outcome::False,
        Ok(_) => Outcome::Unknown,
    }
}

fn leaves() -> impl Strategy<Value = Tree> {
    prop_oneof![
        4 => "[abc]".prop_map(Property),
        2 => prop_oneof![0..20_u64, Just(1 << 31), Just(1 << 62), Just(1 << 63)].prop_map(Integer),
        1 => prop::sample::select(vec!["1.5", "1e3", ".5", "5."]).prop_map(Double),
        2 => "[ab1']{0,2}".prop_map(Text),
        1 => prop::sample::select(vec![None, Some(true), Some(false)]).prop_map(Boolean),
    ]
}

fn trees() -> impl Strategy<Value = Tree> {
    leaves().prop_recursive(5, 24, 3, |inner| {
        let tree = || inner.clone().prop_map(Box::new);
        let sizes = prop::sample::select(vec!["<", "<=", ">", ">="]);
        let parts = prop::sample::select(vec!["CONTAINS", "STARTSWITH", "ENDSWITH"]);
        prop_oneof![
            2 => (tree(), tree()).prop_map(|(left, right)| And(left, right)),
            2 => (tree(), tree()).prop_map(|(left, right)| Or(left, right)),
            2 => (tree(), tree()).prop_map(|(left, right)| Equal(left, right)),
            1 => (tree(), tree()).prop_map(|(left, right)| NotEqual(left, right)),
            2 => (tree(), sizes, tree()).prop_map(|(left, how, right)| Size(left, how, right)),
            1 => tree().prop_map(Negate),
            1 => tree().prop_map(Not),
            1 => (tree(), any::<bool>()).prop_map(|(of, is_not)| IsNull(of, is_not)),
            1 => (tree(), any::<bool>(), tree(), tree())
                .prop_map(|(of, is_not, low, high)| Between(of, is_not, low, high)),
            1 => (tree(), any::<bool>(), prop::collection::vec("[ab1']{0,2}", 1..7))
                .prop_map(|(of, is_not, items)| In(of, is_not, items)),
            1 => (tree(), any::<bool>(), parts, "[ab1']{0,2}")
                .prop_map(|(of, is_not, how, search)| Part(of, is_not, how, search)),
        ]
    })
}

fn properties() -> impl Strategy<Value = BTreeMap<String, String>> {
    let value = prop_oneof![
        "[ab1']{1,3}",
        prop::sample::select(vec!["5", "-5", "1.5", "true", "TRUE", "x", "2147483648", "NaN"])
            .prop_map(str::to_owned),
    ];
    prop::collection::btree_map("[abcd]", value, 0..4)
}

/// Kept from proptest's defaults: a case is some µs.
const CASES: u32 = 4096;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn evaluation_agrees_with_the_model(tree in trees(), all in prop::collection::vec(properties(), 4)) {
        let mut text = String::new();
        tree.write(&mut text);
        let compiled = SqlFilter::compile(&text);
        prop_assert_eq!(compiled.is_ok(), tree.is_legal() && tree.as_condition(), "{} {:?}", text, compiled);
        let Ok(filter) = compiled else { return Ok(()) };
        for properties in all {
            let mut bytes = b"d\x01first\x02".to_vec();
            for (name, value) in &properties {
                proto::properties::append(&mut bytes, name, value.as_bytes());
            }
            prop_assert_eq!(filter.evaluate(&bytes), model(&tree, &properties), "{} {:?}", text, properties);
        }
    }

    /// Whatever the text: a program or a place in it, and never more memory than was said.
    #[test]
    fn any_text_is_a_program_or_refused(
        text in "([a-c]|[0-9]|'[a-z]'|[ ()=<>.,'+-]|--|/\\*|\\*/| AND | OR | NOT | IN \\(| IS NULL| BETWEEN | CONTAINS |TRUE|é|\n){0,40}",
    ) {
        match SqlFilter::compile(&text) {
            Ok(filter) => {
                filter.evaluate(b"a\x01b\x02c\x015\x02");
                let allowed = text.len() * SqlFilter::MEMORY_PER_TEXT_BYTE + 512;
                prop_assert!(filter.program.memory_bytes() <= allowed, "{}", text);
            }
            Err(error) => {
                let lines = text.split('\n').collect::<Vec<_>>();
                prop_assert!((1..=lines.len()).contains(&error.line));
                prop_assert!((1..=lines[error.line - 1].chars().count() + 1).contains(&error.column));
            }
        }
    }
}
