//! Tokens into a program: the grammar of SelectorParser (5.3.3) and what its expressions refuse.
//!
//! ```text
//! or         := and (OR and)*
//! and        := equality (AND equality)*
//! equality   := comparison ( (= | <>) comparison | IS [NOT] NULL )*
//! comparison := unary ( (> | >= | < | <=) unary | [NOT] BETWEEN unary AND unary
//!                     | [NOT] IN (string, …) | [NOT] (CONTAINS | STARTSWITH | ENDSWITH) string )*
//! unary      := (+ | - | NOT) unary | ( or ) | literal | property
//! ```

use std::cmp::Ordering;

use super::lexer::{Lexed, Lexer, Token};
use super::program::{Node, NodeIndex, Operand, Order, Place, Program};
use super::value::{Value, compare};
use super::{Fault, SqlMistake};
use crate::limits::{SQL_DEPTH_MAX, SQL_NAMES_MAX, SQL_TEXT_BYTES_MAX};

/// Compiles a text that is not longer than allowed.
pub(super) fn parse(text: &str) -> Result<Program, Fault> {
    if text.len() > SQL_TEXT_BYTES_MAX {
        return Err(Fault { at: 0, mistake: SqlMistake::TooLong });
    }
    let mut lexer = Lexer::new(text);
    let next = lexer.next()?;
    let program = Program::default();
    let mut parser = Parser { text, lexer, next, depth: 0, heights: Vec::new(), program };
    let expression = parser.or()?;
    // Two dashes without an end of line are two signs to the lexer. Here they can only begin a comment.
    let is_comment = text.get(parser.next.at..).is_some_and(|rest| rest.starts_with("--"));
    if parser.next.token != Token::End && !is_comment {
        return Err(parser.fault(SqlMistake::Trailing(parser.found())));
    }
    let root = parser.condition(expression, 0)?;
    Ok(parser.program.finish(root))
}

/// What Apache's classes of expressions are told apart by.
#[derive(Clone, Copy, Debug)]
enum Expression {
    /// ConstantExpression: a string or a number.
    Constant(u32),
    /// BooleanConstantExpression: TRUE, FALSE and NULL.
    BooleanConstant(Option<bool>),
    /// PropertyExpression.
    Property(u16),
    /// UnaryExpression of a minus sign: no constant, whatever it is made of.
    Negated(Operand),
    /// BooleanExpression.
    Condition(NodeIndex),
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    next: Lexed<'a>,
    /// Conditions that are open.
    depth: usize,
    /// Of each node, how many are nested in it.
    heights: Vec<u16>,
    program: Program,
}

type Parsed = Result<Expression, Fault>;

impl<'a> Parser<'a> {
    fn or(&mut self) -> Parsed {
        self.chain(Token::Or, Parser::and, Node::Any)
    }

    fn and(&mut self) -> Parsed {
        self.chain(Token::And, Parser::equality, Node::All)
    }

    /// `a OR b OR c` is one node: evaluated from the left it is what Apache's pairs are.
    fn chain(
        &mut self,
        link: Token<'static>,
        part: fn(&mut Parser<'a>) -> Parsed,
        node: fn(Place) -> Node,
    ) -> Parsed {
        let at = self.next.at;
        let first = part(self)?;
        if self.next.token != link {
            return Ok(first);
        }
        let mut parts = vec![self.condition(first, at)?];
        while self.next.token == link {
            self.advance()?;
            let at = self.next.at;
            let next = part(self)?;
            parts.push(self.condition(next, at)?);
        }
        let height = parts.iter().map(|part| self.height(*part)).max().unwrap_or(0);
        let parts = self.program.add_children(&parts);
        self.push(node(parts), height, at)
    }

    fn equality(&mut self) -> Parsed {
        let mut left = self.comparison()?;
        loop {
            let at = self.next.at;
            left = match self.next.token {
                Token::Equal | Token::NotEqual => {
                    let is_not = self.next.token == Token::NotEqual;
                    self.advance()?;
                    let right = self.comparison()?;
                    check_equal(left, right).map_err(|mistake| Fault { at, mistake })?;
                    self.equal(left, right, is_not, at)?
                }
                Token::Is => {
                    self.advance()?;
                    let is_not = self.skip(Token::Not)?;
                    self.expect(Token::Null, "NULL")?;
                    self.equal(left, Expression::BooleanConstant(None), is_not, at)?
                }
                _ => return Ok(left),
            };
        }
    }

    fn equal(&mut self, left: Expression, right: Expression, is_not: bool, at: usize) -> Parsed {
        let (left, right) = (self.operand(left), self.operand(right));
        let height = self.operand_height(left).max(self.operand_height(right));
        let equal = self.push(Node::Equal { left, right }, height, at)?;
        if is_not { self.not(equal, at) } else { Ok(equal) }
    }

    fn not(&mut self, expression: Expression, at: usize) -> Parsed {
        let inner = self.condition(expression, at)?;
        self.push(Node::Not(inner), self.height(inner), at)
    }

    fn comparison(&mut self) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let at = self.next.at;
            if let Some(order) = order_of(self.next.token) {
                self.advance()?;
                let right = self.unary()?;
                left = self.compare(order, left, right, at)?;
                continue;
            }
            let is_not = self.skip(Token::Not)?;
            left = match self.next.token {
                Token::Between => self.between(left, is_not, at)?,
                Token::In => self.one_of(left, is_not, at)?,
                Token::Contains | Token::StartsWith | Token::EndsWith => {
                    self.text_part(left, is_not, at)?
                }
                _ if is_not => {
                    return Err(self.unexpected("BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH"));
                }
                _ => return Ok(left),
            };
        }
    }

    fn compare(&mut self, order: Order, left: Expression, right: Expression, at: usize) -> Parsed {
        for side in [left, right] {
            self.check_size(side).map_err(|mistake| Fault { at, mistake })?;
        }
        let (left, right) = (self.operand(left), self.operand(right));
        let height = self.operand_height(left).max(self.operand_height(right));
        self.push(Node::Compare { order, left, right }, height, at)
    }

    fn between(&mut self, value: Expression, is_not: bool, at: usize) -> Parsed {
        self.advance()?;
        let low = self.unary()?;
        self.expect(Token::And, "AND")?;
        let high = self.unary()?;
        if !is_not {
            self.check_bounds(low, high).map_err(|mistake| Fault { at, mistake })?;
        }
        let (below, above, node): (_, _, fn(Place) -> Node) = match is_not {
            false => (Order::GreaterOrEqual, Order::LessOrEqual, Node::All),
            true => (Order::Less, Order::Greater, Node::Any),
        };
        let mut sides = [NodeIndex(0); 2];
        for (side, (order, bound)) in sides.iter_mut().zip([(below, low), (above, high)]) {
            let compared = self.compare(order, value, bound, at)?;
            *side = self.condition(compared, at)?;
        }
        let height = sides.iter().map(|side| self.height(*side)).max().unwrap_or(0);
        let sides = self.program.add_children(&sides);
        self.push(node(sides), height, at)
    }

    /// Constant bounds must not fall, nor be NULL (`createBetween`; `createNotBetween` does not look).
    fn check_bounds(&self, low: Expression, high: Expression) -> Result<(), SqlMistake> {
        let constant = |bound| match bound {
            Expression::Constant(index) => Some(Some(self.program.constant(index))),
            Expression::BooleanConstant(value) => Some(value.map(Value::Boolean)),
            _ => None,
        };
        let (Some(low), Some(high)) = (constant(low), constant(high)) else { return Ok(()) };
        let (Some(low), Some(high)) = (low, high) else { return Err(SqlMistake::NotComparable) };
        match compare(high, low) {
            Ok(Ordering::Less) => Err(SqlMistake::BetweenBounds),
            Ok(_) => Ok(()),
            Err(_) => Err(SqlMistake::NotComparable),
        }
    }

    fn one_of(&mut self, left: Expression, is_not: bool, at: usize) -> Parsed {
        self.advance()?;
        self.expect(Token::Open, "(")?;
        let mut texts = vec![self.string()?];
        while self.skip(Token::Comma)? {
            texts.push(self.string()?);
        }
        self.expect(Token::Close, ", or )")?;
        let Expression::Property(name) = left else {
            return Err(Fault { at, mistake: SqlMistake::InWithoutProperty });
        };
        let list = self.program.add_list(texts);
        self.push(Node::In { name, list, is_not }, 0, at)
    }

    fn text_part(&mut self, left: Expression, is_not: bool, at: usize) -> Parsed {
        let part = self.next.token;
        self.advance()?;
        let search = self.string()?;
        let of = self.operand(left);
        let height = self.operand_height(of);
        let node = match part {
            _ if search.is_empty() => Node::Constant(Some(false)),
            Token::Contains => {
                Node::Contains { of, search: self.program.add_search(&search), is_not }
            }
            Token::StartsWith => {
                Node::StartsWith { of, search: self.program.add_text(&search), is_not }
            }
            _ => Node::EndsWith { of, search: self.program.add_text(&search), is_not },
        };
        self.push(node, height, at)
    }

    fn unary(&mut self) -> Parsed {
        let at = self.next.at;
        if !matches!(self.next.token, Token::Plus | Token::Minus | Token::Not | Token::Open) {
            return self.primary();
        }
        // The one place where the parser calls itself.
        if self.depth == SQL_DEPTH_MAX {
            return Err(self.fault(SqlMistake::TooDeep));
        }
        self.depth += 1;
        let token = self.next.token;
        self.advance()?;
        let expression = match token {
            Token::Plus => self.unary()?,
            Token::Minus => {
                let inner = self.unary()?;
                self.negated(inner)
            }
            Token::Not => {
                let inner = self.unary()?;
                self.not(inner, at)?
            }
            _ => {
                let inner = self.or()?;
                self.expect(Token::Close, ")")?;
                inner
            }
        };
        self.depth -= 1;
        Ok(expression)
    }

    /// A minus sign before what is no number makes NULL, but what it is made of may still throw.
    fn negated(&mut self, inner: Expression) -> Expression {
        let negated = match self.operand(inner) {
            Operand::Constant(index) => match self.program.constant(index).negated() {
                Some(number) => self.program.add_number(number),
                None => Operand::Null,
            },
            Operand::Property(_) | Operand::Boolean(_) | Operand::Null => Operand::Null,
            Operand::Condition(node) | Operand::NullAfter(node) => Operand::NullAfter(node),
        };
        Expression::Negated(negated)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.next.at;
        let token = self.next.token;
        let range = |text: &str| Fault { at, mistake: SqlMistake::NumberRange(excerpt(text)) };
        let expression = match token {
            Token::True => Expression::BooleanConstant(Some(true)),
            Token::False => Expression::BooleanConstant(Some(false)),
            Token::Null => Expression::BooleanConstant(None),
            Token::Decimal(digits) => {
                let long: i64 = digits.parse().map_err(|_| range(digits))?;
                let value = i32::try_from(long).map_or(Value::Long(long), Value::Integer);
                Expression::Constant(self.program.add_constant(value))
            }
            Token::Float(text) => {
                let double: f64 = text.parse().map_err(|_| range(text))?;
                if !(f64::from_bits(1)..=f64::MAX).contains(&double) {
                    return Err(range(text));
                }
                Expression::Constant(self.program.add_constant(Value::Double(double)))
            }
            Token::Text(inner) => {
                let text = inner.replace("''", "'");
                Expression::Constant(self.program.add_constant(Value::Text(text.as_bytes())))
            }
            Token::Name(name) => {
                let slot = self.program.slot_for(name);
                let slot = slot.ok_or_else(|| self.fault(SqlMistake::TooManyNames))?;
                Expression::Property(slot)
            }
            _ => {
                return Err(self.unexpected(
                    "a property, a number, a string, TRUE, FALSE, NULL, NOT, +, - or (",
                ));
            }
        };
        self.advance()?;
        Ok(expression)
    }

    /// `asBooleanExpression`: a bare property is a condition, too.
    fn condition(&mut self, expression: Expression, at: usize) -> Result<NodeIndex, Fault> {
        let node = match expression {
            Expression::Condition(node) => return Ok(node),
            Expression::BooleanConstant(value) => Node::Constant(value),
            Expression::Property(name) => Node::Cast(name),
            Expression::Constant(_) | Expression::Negated(_) => {
                return Err(Fault { at, mistake: SqlMistake::NotBoolean });
            }
        };
        match self.push(node, 0, at)? {
            Expression::Condition(node) => Ok(node),
            _ => unreachable!("a node is a condition"),
        }
    }

    fn operand(&self, expression: Expression) -> Operand {
        match expression {
            Expression::Constant(index) => Operand::Constant(index),
            Expression::BooleanConstant(None) => Operand::Null,
            Expression::BooleanConstant(Some(value)) => Operand::Boolean(value),
            Expression::Property(name) => Operand::Property(name),
            Expression::Negated(operand) => operand,
            Expression::Condition(node) => Operand::Condition(node),
        }
    }

    /// `checkLessThanOperand`.
    fn check_size(&self, side: Expression) -> Result<(), SqlMistake> {
        let is_number = match side {
            Expression::Constant(index) => !matches!(self.program.constant(index), Value::Text(_)),
            Expression::Property(_) | Expression::Negated(_) => true,
            Expression::BooleanConstant(_) | Expression::Condition(_) => false,
        };
        if is_number { Ok(()) } else { Err(SqlMistake::NotComparable) }
    }

    fn height(&self, node: NodeIndex) -> u16 {
        self.heights.get(node.0 as usize).copied().unwrap_or(0)
    }

    fn operand_height(&self, operand: Operand) -> u16 {
        match operand {
            Operand::Condition(node) | Operand::NullAfter(node) => self.height(node),
            _ => 0,
        }
    }

    /// Adds a node around others that are nested up to `height`.
    fn push(&mut self, node: Node, height: u16, at: usize) -> Parsed {
        let height = height + 1;
        if usize::from(height) > SQL_DEPTH_MAX {
            return Err(Fault { at, mistake: SqlMistake::TooDeep });
        }
        self.heights.push(height);
        Ok(Expression::Condition(self.program.add_node(node)))
    }

    fn string(&mut self) -> Result<String, Fault> {
        let Token::Text(inner) = self.next.token else { return Err(self.unexpected("a string")) };
        self.advance()?;
        Ok(inner.replace("''", "'"))
    }

    fn advance(&mut self) -> Result<(), Fault> {
        self.next = self.lexer.next()?;
        Ok(())
    }

    fn skip(&mut self, token: Token<'static>) -> Result<bool, Fault> {
        let is_it = self.next.token == token;
        if is_it {
            self.advance()?;
        }
        Ok(is_it)
    }

    fn expect(&mut self, token: Token<'static>, name: &'static str) -> Result<(), Fault> {
        if self.skip(token)? { Ok(()) } else { Err(self.unexpected(name)) }
    }

    fn unexpected(&self, expected: &'static str) -> Fault {
        self.fault(SqlMistake::Unexpected { found: self.found(), expected })
    }

    fn fault(&self, mistake: SqlMistake) -> Fault {
        Fault { at: self.next.at, mistake }
    }

    /// The text of the next token, for a remark.
    fn found(&self) -> String {
        if self.next.token == Token::End {
            return "the end".to_owned();
        }
        excerpt(self.text.get(self.next.at..self.next.end).unwrap_or_default())
    }
}

/// What a remark shows of a text, characters.
const EXCERPT_CHARACTERS: usize = 32;

fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARACTERS).collect()
}

fn order_of(token: Token<'_>) -> Option<Order> {
    Some(match token {
        Token::Less => Order::Less,
        Token::LessEqual => Order::LessOrEqual,
        Token::Greater => Order::Greater,
        Token::GreaterEqual => Order::GreaterOrEqual,
        _ => return None,
    })
}

/// `checkEqualOperand` of both and `checkEqualOperandCompatability`.
fn check_equal(left: Expression, right: Expression) -> Result<(), SqlMistake> {
    use Expression::{BooleanConstant, Constant};
    match (left, right) {
        (BooleanConstant(None), _) | (_, BooleanConstant(None)) => Err(SqlMistake::ComparedNull),
        (BooleanConstant(Some(_)), Constant(_)) => Err(SqlMistake::ComparedBoolean),
        _ => Ok(()),
    }
}

// Heights and slots are 16 bits.
const _: () = assert!(SQL_DEPTH_MAX < u16::MAX as usize);
const _: () = assert!(SQL_NAMES_MAX < u16::MAX as usize);
