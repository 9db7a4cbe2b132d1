//! A compiled expression and its evaluation (`ComparisonExpression`, `LogicExpression`,
//! `UnaryExpression` and `PropertyExpression` of rocketmq-filter 5.3.3).
//! Invariants:
//!   a node's children are before it, at most `SQL_DEPTH_MAX` are nested in each other
//!   sides are evaluated in Apache's order, and only those that it evaluates: one may throw

use std::cmp::Ordering;

use memchr::memmem::Finder;
use memchr::memrchr_iter;
use proto::properties::{NAME_END, VALUE_END};

use super::Outcome;
use super::numbers::{parse_double, parse_integer, parse_long};
use super::value::{Threw, Value, compare, compare_doubles, compare_sizes};
use crate::limits::SQL_NAMES_MAX;

/// Number of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NodeIndex(pub u32);

/// A range in a table of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    from: u32,
    to: u32,
}

/// A condition: TRUE, FALSE or NULL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Node {
    Constant(Option<bool>),
    /// A bare property, which is never Boolean: NULL if it is missing, else FALSE.
    Cast(u16),
    /// AND of children.
    All(Place),
    /// OR of children.
    Any(Place),
    Not(NodeIndex),
    Compare {
        order: Order,
        left: Operand,
        right: Operand,
    },
    /// `=`, and IS NULL.
    Equal {
        left: Operand,
        right: Operand,
    },
    In {
        name: u16,
        list: Place,
        is_not: bool,
    },
    Contains {
        of: Operand,
        search: u32,
        is_not: bool,
    },
    StartsWith {
        of: Operand,
        search: Place,
        is_not: bool,
    },
    EndsWith {
        of: Operand,
        search: Place,
        is_not: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One side of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operand {
    Property(u16),
    Constant(u32),
    Boolean(bool),
    Null,
    Condition(NodeIndex),
    /// A minus sign before a condition: NULL, unless the condition throws.
    NullAfter(NodeIndex),
}

#[derive(Clone, Copy, Debug)]
enum Constant {
    Integer(i32),
    Long(i64),
    Double(f64),
    Text(Place),
}

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Program {
    nodes: Vec<Node>,
    root: NodeIndex,
    children: Vec<NodeIndex>,
    constants: Vec<Constant>,
    /// The bytes of all strings.
    texts: Vec<u8>,
    /// Strings of IN, each list sorted.
    list_items: Vec<Place>,
    searches: Vec<Finder<'static>>,
    /// Names of properties; a property's slot is the index of its name.
    names: Vec<Box<[u8]>>,
    /// Which bytes names begin with: most properties are passed over by their first.
    first_bytes: [u64; 4],
}

impl Default for Program {
    fn default() -> Program {
        Program {
            nodes: Vec::new(),
            root: NodeIndex(0),
            children: Vec::new(),
            constants: Vec::new(),
            texts: Vec::new(),
            list_items: Vec::new(),
            searches: Vec::new(),
            names: Vec::new(),
            first_bytes: [0; 4],
        }
    }
}

/// Properties that most expressions name at the most: their values are the cheaper to keep.
const FEW_NAMES: usize = 4;

/// What a node costs besides the bytes that it looks at, in bytes looked at.
const NODE_COST: usize = 16;

impl Program {
    pub fn add_node(&mut self, node: Node) -> NodeIndex {
        self.nodes.push(node);
        NodeIndex(self.nodes.len() as u32 - 1)
    }

    pub fn add_children(&mut self, children: &[NodeIndex]) -> Place {
        let from = self.children.len() as u32;
        self.children.extend_from_slice(children);
        Place { from, to: self.children.len() as u32 }
    }

    pub fn add_text(&mut self, text: &str) -> Place {
        self.add_bytes(text.as_bytes())
    }

    fn add_bytes(&mut self, bytes: &[u8]) -> Place {
        let from = self.texts.len() as u32;
        self.texts.extend_from_slice(bytes);
        Place { from, to: self.texts.len() as u32 }
    }

    pub fn add_search(&mut self, text: &str) -> u32 {
        self.searches.push(Finder::new(text.as_bytes()).into_owned());
        self.searches.len() as u32 - 1
    }

    pub fn add_list(&mut self, mut texts: Vec<String>) -> Place {
        texts.sort_unstable();
        texts.dedup();
        let from = self.list_items.len() as u32;
        for text in texts {
            let place = self.add_text(&text);
            self.list_items.push(place);
        }
        Place { from, to: self.list_items.len() as u32 }
    }

    /// Adds a number or a string.
    pub fn add_constant(&mut self, value: Value<'_>) -> u32 {
        let constant = match value {
            Value::Integer(number) => Constant::Integer(number),
            Value::Long(number) => Constant::Long(number),
            Value::Double(number) => Constant::Double(number),
            Value::Text(text) => Constant::Text(self.add_bytes(text)),
            Value::Boolean(_) => unreachable!("operands of their own"),
        };
        self.constants.push(constant);
        self.constants.len() as u32 - 1
    }

    /// A number that a minus sign made.
    pub fn add_number(&mut self, number: Value<'static>) -> Operand {
        Operand::Constant(self.add_constant(number))
    }

    pub fn constant(&self, index: u32) -> Value<'_> {
        match &self.constants[index as usize] {
            Constant::Integer(number) => Value::Integer(*number),
            Constant::Long(number) => Value::Long(*number),
            Constant::Double(number) => Value::Double(*number),
            Constant::Text(place) => Value::Text(self.text(*place)),
        }
    }

    /// The slot of a property; `None`: it would be one too many.
    pub fn slot_for(&mut self, name: &str) -> Option<u16> {
        if let Some(slot) = self.slot_of(name.as_bytes()) {
            return Some(slot as u16);
        }
        if self.names.len() == SQL_NAMES_MAX {
            return None;
        }
        self.names.push(name.as_bytes().into());
        let first = usize::from(*name.as_bytes().first()?);
        self.first_bytes[first / 64] |= 1 << (first % 64);
        Some(self.names.len() as u16 - 1)
    }

    /// The program is complete.
    pub fn finish(mut self, root: NodeIndex) -> Program {
        self.root = root;
        self.nodes.shrink_to_fit();
        self.children.shrink_to_fit();
        self.constants.shrink_to_fit();
        self.texts.shrink_to_fit();
        self.list_items.shrink_to_fit();
        self.searches.shrink_to_fit();
        self.names.shrink_to_fit();
        self
    }

    /// Memory of its tables.
    #[cfg(test)]
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.nodes)
            + size_of_val(&*self.children)
            + size_of_val(&*self.constants)
            + self.texts.len()
            + size_of_val(&*self.list_items)
            + self.searches.iter().map(|it| size_of_val(it) + it.needle().len()).sum::<usize>()
            + self.names.iter().map(|it| size_of_val(it) + it.len()).sum::<usize>()
    }

    /// See `SqlFilter::cost`.
    pub fn cost(&self, properties_bytes: usize) -> usize {
        let passes = 1 + self.searches.len();
        properties_bytes * passes + self.nodes.len() * NODE_COST + self.texts.len()
    }

    /// Evaluates it on a properties text.
    pub fn run(&self, text: &[u8]) -> Outcome {
        let found = if self.names.len() <= FEW_NAMES {
            self.run_with(text, &mut [None; FEW_NAMES])
        } else {
            self.run_with(text, &mut [None; SQL_NAMES_MAX])
        };
        match found {
            Ok(Some(true)) => Outcome::True,
            Ok(Some(false)) => Outcome::False,
            Ok(None) => Outcome::Unknown,
            Err(Threw) => Outcome::Failed,
        }
    }

    fn run_with<'a>(
        &'a self,
        text: &'a [u8],
        values: &mut [Option<&'a [u8]>],
    ) -> Result<Option<bool>, Threw> {
        // From the end on, because of two properties with one name the last counts.
        let (mut end, mut missing) = (text.len(), self.names.len());
        for start in memrchr_iter(VALUE_END, text).map(|at| at + 1).chain([0]) {
            if missing == 0 {
                break;
            }
            let item = &text[start..end];
            end = start.saturating_sub(1);
            if let Some((slot, value)) = self.value_in(item)
                && values[slot].is_none()
            {
                values[slot] = Some(value);
                missing -= 1;
            }
        }
        Run { program: self, values }.node(self.root)
    }

    /// The value of an item of the properties text, if it is one that the program names. A name has no
    /// 0x01 in it, so where one is followed by it the item's name ends.
    fn value_in<'a>(&self, item: &'a [u8]) -> Option<(usize, &'a [u8])> {
        let first = usize::from(*item.first()?);
        if self.first_bytes[first / 64] >> (first % 64) & 1 == 0 {
            return None;
        }
        self.names.iter().enumerate().find_map(|(slot, name)| {
            let value = item.strip_prefix(&**name)?.strip_prefix(&[NAME_END])?;
            (!value.is_empty()).then_some((slot, value))
        })
    }

    fn slot_of(&self, name: &[u8]) -> Option<usize> {
        self.names.iter().position(|known| **known == *name)
    }

    fn text(&self, place: Place) -> &[u8] {
        &self.texts[place.from as usize..place.to as usize]
    }

    fn children(&self, place: Place) -> &[NodeIndex] {
        &self.children[place.from as usize..place.to as usize]
    }
}

/// A program on one message.
struct Run<'a> {
    program: &'a Program,
    values: &'a [Option<&'a [u8]>],
}

impl<'a> Run<'a> {
    // Nodes are looked at where they are: copies of them stall on their own parts.
    fn node(&self, index: NodeIndex) -> Result<Option<bool>, Threw> {
        Ok(match &self.program.nodes[index.0 as usize] {
            Node::Constant(value) => *value,
            Node::Cast(name) => self.value(*name).map(|_| false),
            Node::All(children) => return self.join(*children, false),
            Node::Any(children) => return self.join(*children, true),
            Node::Not(inner) => self.node(*inner)?.map(|is_true| !is_true),
            Node::Compare {
                order,
                left: Operand::Property(name),
                right: Operand::Constant(index),
            } => {
                let Some(text) = self.value(*name) else { return Ok(None) };
                Some(order.holds(self.compare_with(text, *index)?))
            }
            Node::Equal { left: Operand::Property(name), right: Operand::Constant(index) } => {
                let Some(text) = self.value(*name) else { return Ok(None) };
                Some(self.compare_with(text, *index)?.is_eq())
            }
            Node::Compare { order, left, right } => {
                // What is right of a NULL is not evaluated.
                let Some(left) = self.operand(left)? else { return Ok(None) };
                let Some(right) = self.operand(right)? else { return Ok(None) };
                Some(order.holds(compare_sizes(left, right)?))
            }
            Node::Equal { left, right } => self.equal(left, right)?,
            Node::In { name, list, is_not } => {
                self.value(*name).map(|value| self.is_in(value, *list) != *is_not)
            }
            Node::Contains { of, search, is_not } => {
                let search = &self.program.searches[*search as usize];
                self.is_text(of, *is_not, |text| search.find(text).is_some())?
            }
            Node::StartsWith { of, search, is_not } => {
                let search = self.program.text(*search);
                self.is_text(of, *is_not, |text| text.starts_with(search))?
            }
            Node::EndsWith { of, search, is_not } => {
                let search = self.program.text(*search);
                self.is_text(of, *is_not, |text| text.ends_with(search))?
            }
        })
    }

    /// A property's value against a constant, which most conditions are: `compare` without values that are
    /// made and taken apart again. Strings are never compared by size.
    fn compare_with(&self, text: &[u8], constant: u32) -> Result<Ordering, Threw> {
        Ok(match &self.program.constants[constant as usize] {
            Constant::Integer(number) => parse_integer(text).ok_or(Threw)?.cmp(number),
            Constant::Long(number) => parse_long(text).ok_or(Threw)?.cmp(number),
            Constant::Double(number) => compare_doubles(parse_double(text).ok_or(Threw)?, *number),
            Constant::Text(place) => text.cmp(self.program.text(*place)),
        })
    }

    fn value(&self, name: u16) -> Option<&'a [u8]> {
        self.values[usize::from(name)]
    }

    /// AND and OR: the first child that decides ends it, else NULL if any is.
    fn join(&self, children: Place, decides: bool) -> Result<Option<bool>, Threw> {
        let mut joined = Some(!decides);
        for child in self.program.children(children) {
            match self.node(*child)? {
                Some(value) if value == decides => return Ok(Some(decides)),
                Some(_) => {}
                None => joined = None,
            }
        }
        Ok(joined)
    }

    /// NULL = NULL, which IS NULL asks, and NULL on the left only is NULL, on the right only FALSE.
    fn equal(&self, left: &Operand, right: &Operand) -> Result<Option<bool>, Threw> {
        Ok(match (self.operand(left)?, self.operand(right)?) {
            (None, None) => Some(true),
            (None, Some(_)) => None,
            (Some(_), None) => Some(false),
            (Some(Value::Text(left)), Some(Value::Text(right))) => Some(left == right),
            (Some(left), Some(right)) => Some(compare(left, right)? == Ordering::Equal),
        })
    }

    fn is_in(&self, value: &[u8], list: Place) -> bool {
        let items = &self.program.list_items[list.from as usize..list.to as usize];
        items.binary_search_by(|item| self.program.text(*item).cmp(value)).is_ok()
    }

    /// Of what is no text, and of NULL, these are FALSE, with NOT before them as well.
    fn is_text(
        &self,
        of: &Operand,
        is_not: bool,
        is_so: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<bool>, Threw> {
        Ok(Some(match self.operand(of)? {
            Some(Value::Text(text)) => is_so(text) != is_not,
            _ => false,
        }))
    }

    #[inline]
    fn operand(&self, operand: &Operand) -> Result<Option<Value<'a>>, Threw> {
        Ok(match operand {
            Operand::Property(name) => self.value(*name).map(Value::Text),
            Operand::Constant(index) => Some(self.program.constant(*index)),
            Operand::Boolean(value) => Some(Value::Boolean(*value)),
            Operand::Null => None,
            Operand::Condition(node) => self.node(*node)?.map(Value::Boolean),
            Operand::NullAfter(node) => {
                self.node(*node)?;
                None
            }
        })
    }
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Order::Less => ordering.is_lt(),
            Order::LessOrEqual => ordering.is_le(),
            Order::Greater => ordering.is_gt(),
            Order::GreaterOrEqual => ordering.is_ge(),
        }
    }
}
