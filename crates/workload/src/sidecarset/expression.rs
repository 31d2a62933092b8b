//! Expressions of resourcesPolicy: `max(cpu*50%, 50m)`.
//!
//! Sums and comparisons are exact; a quantity times or over a number is computed on milli-units in floating point
//! and cut, because that is what the stored objects were written for.
mod parse;

use model::quantity::{Format, Quantity};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    #[error("expression {text:?}: {problem} at column {column}")]
    Syntax {
        text: String,
        problem: String,
        column: usize,
    },
    #[error("unknown name {0:?}: only the field's own resource can be used")]
    UnknownName(String),
    #[error("{0}")]
    Type(&'static str),
    #[error("division by zero")]
    DivisionByZero,
    #[error("the result {0} is negative")]
    Negative(String),
    #[error("a number in the expression is too large")]
    TooLarge,
}

/// What is computed for: the resource names the only variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Cpu,
    Memory,
}

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    root: Node,
    mentions_memory: bool,
    /// Literals such as `1n`, `5K`, `1E`, which Kruise reads as zero.
    odd_literals: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Number(f64),
    Quantity(Quantity),
    Name(String),
    Negative(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Max,
    Min,
}

#[derive(Clone, Copy)]
enum Operand {
    Number(f64),
    Quantity(Quantity),
}

impl Expression {
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        parse::parse(text)
    }

    /// Literals whose suffix is none of the supported ones; they count as zero.
    pub fn odd_literals(&self) -> &[String] {
        &self.odd_literals
    }

    /// The value where the resource's own name stands for `variable`.
    pub fn evaluate(&self, resource: Resource, variable: Quantity) -> Result<Quantity, ExpressionError> {
        let result = match evaluate(&self.root, resource, variable)? {
            Operand::Quantity(quantity) => quantity,
            Operand::Number(n) if self.mentions_memory => {
                Quantity::from_milli(whole(n)?.saturating_mul(1000), Format::BinarySi)
            }
            Operand::Number(n) => Quantity::from_milli(whole(n * 1000.0)?, Format::DecimalSi),
        };
        if result.is_negative() {
            return Err(ExpressionError::Negative(result.to_string()));
        }
        Ok(result)
    }

    /// Whether the expression can be computed at all, whatever the pod: its operators fit their operands. Only a
    /// negative result depends on the pod.
    pub fn check(&self, resource: Resource) -> Result<(), ExpressionError> {
        let one = match resource {
            Resource::Cpu => Quantity::from_whole(1, Format::DecimalSi),
            Resource::Memory => Quantity::from_whole(1 << 30, Format::BinarySi),
        };
        match self.evaluate(resource, one) {
            Ok(_) | Err(ExpressionError::Negative(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }
}

fn evaluate(node: &Node, resource: Resource, variable: Quantity) -> Result<Operand, ExpressionError> {
    Ok(match node {
        Node::Number(n) => Operand::Number(*n),
        Node::Quantity(q) => Operand::Quantity(*q),
        Node::Name(name) => match (name.to_ascii_lowercase().as_str(), resource) {
            ("cpu", Resource::Cpu) | ("memory", Resource::Memory) => Operand::Quantity(variable),
            _ => return Err(ExpressionError::UnknownName(name.clone())),
        },
        Node::Negative(inner) => match evaluate(inner, resource, variable)? {
            Operand::Number(n) => Operand::Number(-n),
            Operand::Quantity(q) => Operand::Quantity(q.negated()),
        },
        Node::Binary(operator, left, right) => {
            let left = evaluate(left, resource, variable)?;
            combine(*operator, left, evaluate(right, resource, variable)?)?
        }
    })
}

fn combine(operator: Operator, left: Operand, right: Operand) -> Result<Operand, ExpressionError> {
    use Operand::{Number, Quantity as Amount};
    match (operator, left, right) {
        (Operator::Divide, _, Number(0.0)) => Err(ExpressionError::DivisionByZero),
        (Operator::Divide, _, Amount(_)) => Err(ExpressionError::Type("a quantity cannot divide")),
        (Operator::Multiply, Amount(_), Amount(_)) => Err(ExpressionError::Type(
            "a quantity cannot be multiplied by a quantity",
        )),
        (_, Number(a), Number(b)) => Ok(Number(match operator {
            Operator::Add => a + b,
            Operator::Subtract => a - b,
            Operator::Multiply => a * b,
            Operator::Divide => a / b,
            Operator::Max => a.max(b),
            Operator::Min => a.min(b),
        })),
        (Operator::Multiply, Amount(q), Number(n)) | (Operator::Multiply, Number(n), Amount(q)) => {
            scaled(q, |milli| milli * n)
        }
        (Operator::Divide, Amount(q), Number(n)) => scaled(q, |milli| milli / n),
        (_, Amount(a), Amount(b)) => Ok(Amount(pick(operator, a, b))),
        (_, Amount(a), Number(n)) => Ok(Amount(pick(operator, a, of_number(n, a)?))),
        (_, Number(n), Amount(b)) => Ok(Amount(pick(operator, of_number(n, b)?, b))),
    }
}

fn pick(operator: Operator, a: Quantity, b: Quantity) -> Quantity {
    match operator {
        Operator::Subtract => a.minus(b),
        Operator::Max if b > a => b,
        Operator::Min if b < a => b,
        Operator::Max | Operator::Min => a,
        _ => a.plus(b),
    }
}

/// A number beside a quantity: units, precise to the milli, in the quantity's format.
fn of_number(n: f64, beside: Quantity) -> Result<Quantity, ExpressionError> {
    Ok(Quantity::from_milli(whole(n * 1000.0)?, beside.format()))
}

fn scaled(q: Quantity, by: impl Fn(f64) -> f64) -> Result<Operand, ExpressionError> {
    #[allow(
        clippy::cast_precision_loss,
        reason = "Kruise computes this in floating point, too"
    )]
    let milli = whole(by(q.milli() as f64))?;
    Ok(Operand::Quantity(Quantity::from_milli(milli, q.format())))
}

/// Cut towards zero; what no quantity can hold is an error.
fn whole(n: f64) -> Result<i128, ExpressionError> {
    if !n.is_finite() || n.abs() > 9.0e18 {
        return Err(ExpressionError::TooLarge);
    }
    #[allow(clippy::cast_possible_truncation, reason = "in range, and the cut is wanted")]
    Ok(n as i128)
}

#[cfg(test)]
mod tests;
