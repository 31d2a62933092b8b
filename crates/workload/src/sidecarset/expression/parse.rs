//! Recursive descent: sums of products of factors; nesting is bounded, so that no input overflows the stack.
use super::{Expression, ExpressionError, Node, Operator};
use model::quantity::Quantity;

const DEEPEST: usize = 64;
const LONGEST: usize = 1024;

pub(super) fn parse(text: &str) -> Result<Expression, ExpressionError> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        mentions_memory: false,
        odd_literals: Vec::new(),
    };
    if text.len() > LONGEST {
        return Err(parser.error("is longer than 1024 bytes"));
    }
    let root = parser.sum()?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.error("unexpected text"));
    }
    Ok(Expression {
        root,
        mentions_memory: parser.mentions_memory,
        odd_literals: parser.odd_literals,
    })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    mentions_memory: bool,
    odd_literals: Vec<String>,
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<Node, ExpressionError> {
        let mut left = self.product()?;
        loop {
            let operator = match self.peek() {
                Some(b'+') => Operator::Add,
                Some(b'-') => Operator::Subtract,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Node::Binary(operator, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Node, ExpressionError> {
        let mut left = self.factor()?;
        loop {
            let operator = match self.peek() {
                Some(b'*') => Operator::Multiply,
                Some(b'/') => Operator::Divide,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Node::Binary(operator, Box::new(left), Box::new(self.factor()?));
        }
    }

    fn factor(&mut self) -> Result<Node, ExpressionError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error("is nested too deeply"));
        }
        let node = match self.peek() {
            Some(b'-') => {
                self.at += 1;
                Node::Negative(Box::new(self.factor()?))
            }
            Some(b'(') => {
                self.at += 1;
                let inner = self.sum()?;
                self.expect(b')', "expected ')'")?;
                inner
            }
            Some(b) if b.is_ascii_digit() || b == b'.' => self.literal()?,
            Some(b) if b.is_ascii_alphabetic() || b == b'_' => self.name()?,
            Some(_) => return Err(self.error("unexpected character")),
            None => return Err(self.error("unexpected end")),
        };
        self.depth -= 1;
        Ok(node)
    }

    fn name(&mut self) -> Result<Node, ExpressionError> {
        let name = self.take(|b| b.is_ascii_alphanumeric() || b == b'_').to_owned();
        let function = match name.to_ascii_lowercase().as_str() {
            "max" => Operator::Max,
            "min" => Operator::Min,
            lower => {
                self.mentions_memory |= lower == "memory";
                return Ok(Node::Name(name));
            }
        };
        self.expect(b'(', "expected '(' after a function")?;
        let left = self.sum()?;
        self.expect(b',', "expected ',': max and min take two arguments")?;
        let right = self.sum()?;
        self.expect(b')', "expected ')': max and min take two arguments")?;
        Ok(Node::Binary(function, Box::new(left), Box::new(right)))
    }

    /// A number (`1.5`, `2e3`, `50%`) or a quantity (`100m`, `1Gi`).
    fn literal(&mut self) -> Result<Node, ExpressionError> {
        let start = self.at;
        self.take(|b| b.is_ascii_digit() || b == b'.');
        self.exponent();
        let number_end = self.at;
        let number: f64 = self.text[start..number_end]
            .parse()
            .map_err(|_| self.error("malformed number"))?;
        if self.text.as_bytes().get(self.at) == Some(&b'%') {
            self.at += 1;
            return Ok(Node::Number(number / 100.0));
        }
        let suffix = self.take(|b| b.is_ascii_alphabetic()).to_owned();
        if suffix.is_empty() {
            return Ok(Node::Number(number));
        }
        let whole = &self.text[start..self.at];
        let known = ["m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi"].contains(&suffix.as_str());
        match Quantity::parse(whole) {
            Ok(quantity) if known => Ok(Node::Quantity(quantity)),
            _ => {
                self.odd_literals.push(whole.to_owned());
                Ok(Node::Quantity(Quantity::ZERO))
            }
        }
    }

    /// `e3`, `E-2`; the `E` of a suffix is left alone.
    fn exponent(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        if !matches!(rest.first(), Some(b'e' | b'E')) {
            return;
        }
        let sign = usize::from(matches!(rest.get(1), Some(b'+' | b'-')));
        let digits = rest
            .iter()
            .skip(1 + sign)
            .take_while(|b| b.is_ascii_digit())
            .count();
        if digits > 0 {
            self.at += 1 + sign + digits;
        }
    }

    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> &str {
        let start = self.at;
        while self.text.as_bytes().get(self.at).is_some_and(|b| belongs(*b)) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn expect(&mut self, byte: u8, problem: &str) -> Result<(), ExpressionError> {
        if self.peek() != Some(byte) {
            return Err(self.error(problem));
        }
        self.at += 1;
        Ok(())
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self
            .text
            .as_bytes()
            .get(self.at)
            .is_some_and(u8::is_ascii_whitespace)
        {
            self.at += 1;
        }
    }

    fn error(&self, problem: &str) -> ExpressionError {
        ExpressionError::Syntax {
            text: self.text[..self.text.floor_char_boundary(80)].to_owned(),
            problem: problem.to_owned(),
            column: self.at + 1,
        }
    }
}
