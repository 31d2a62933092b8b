//! What can be said about a rule without an object: its names, its functions, and types where the schema tells.

use kube_cel::cel::Program;
use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

use crate::cel_functions::{
    BOOL_FUNCTIONS, FUNCTIONS, MORE_FUNCTIONS, NAMESPACES, OPERATORS_OF_BOOL, OTHER_OPERATORS, TYPE_NAMES,
};
use crate::schema::{Additional, Schema};

/// A type as far as it is known.
#[derive(Clone, Copy)]
enum Ty<'a> {
    Unknown,
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Null,
    List,
    Node(&'a Schema),
}

/// Compiles a rule (`is_rule`: its result is a bool) or a message expression (a string).
/// The error is worded as a real server words it.
pub(crate) fn check(
    text: &str,
    schema: &Schema,
    is_resource: bool,
    is_rule: bool,
) -> Result<Program, String> {
    let program = Program::compile(text).map_err(|errors| {
        let all = errors.to_string();
        let first = all
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("Syntax error")
            .trim()
            .to_owned();
        let first = first.strip_prefix("ERROR: ").unwrap_or(&first).to_owned();
        format!("compilation failed: ERROR: {first}\n | {text}")
    })?;
    let mut checker = Checker {
        text,
        schema,
        is_resource,
        scope: Vec::new(),
    };
    let result = checker.infer(program.expression())?;
    match (is_rule, result) {
        (true, Ty::Bool | Ty::Unknown) | (false, Ty::String | Ty::Unknown) => Ok(program),
        (true, Ty::Node(node)) if node.ty == "boolean" => Ok(program),
        (false, Ty::Node(node)) if node.ty == "string" => Ok(program),
        (true, _) => Err("cel expression must evaluate to a bool".to_owned()),
        (false, _) => Err("messageExpression must evaluate to a string".to_owned()),
    }
}

struct Checker<'a> {
    text: &'a str,
    schema: &'a Schema,
    is_resource: bool,
    scope: Vec<(String, Ty<'a>)>,
}

impl<'a> Checker<'a> {
    fn infer(&mut self, expression: &IdedExpr) -> Result<Ty<'a>, String> {
        match &expression.expr {
            Expr::Unspecified => Ok(Ty::Unknown),
            Expr::Literal(literal) => Ok(literal_type(literal)),
            Expr::Ident(name) => self.identifier(name),
            Expr::Select(select) => {
                if let Expr::Ident(namespace) = &select.operand.expr
                    && self.is_namespace(namespace)
                {
                    return Ok(Ty::Unknown);
                }
                let operand = self.infer(&select.operand)?;
                let field = self.select(operand, &select.field)?;
                Ok(if select.test { Ty::Bool } else { field })
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => {
                for element in &list.elements {
                    self.infer(element)?;
                }
                Ok(Ty::List)
            }
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr)),
            Expr::Struct(structure) => self.entries(structure.entries.iter().map(|entry| &entry.expr)),
        }
    }

    fn entries<'e>(&mut self, entries: impl Iterator<Item = &'e EntryExpr>) -> Result<Ty<'a>, String> {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => {
                    self.infer(&field.value)?;
                }
                EntryExpr::MapEntry(entry) => {
                    self.infer(&entry.key)?;
                    self.infer(&entry.value)?;
                }
            }
        }
        Ok(Ty::Unknown)
    }

    fn identifier(&self, name: &str) -> Result<Ty<'a>, String> {
        if let Some((_, ty)) = self.scope.iter().rev().find(|(known, _)| known == name) {
            return Ok(*ty);
        }
        match name {
            "self" => Ok(of_node(self.schema)),
            // An optional when optionalOldSelf is set.
            "oldSelf" => Ok(Ty::Unknown),
            _ if TYPE_NAMES.contains(&name) => Ok(Ty::Unknown),
            _ => Err(self.undeclared(name)),
        }
    }

    fn select(&self, operand: Ty<'a>, field: &str) -> Result<Ty<'a>, String> {
        let Ty::Node(node) = operand else {
            return match operand {
                Ty::Unknown | Ty::List => Ok(Ty::Unknown),
                _ => Err(self.failed(field, "type does not support field selection")),
            };
        };
        let is_self = self.is_resource && std::ptr::eq(node, self.schema);
        if is_self || node.embedded_resource {
            match field {
                "apiVersion" | "kind" => return Ok(Ty::String),
                "metadata" => return Ok(Ty::Unknown),
                _ => {}
            }
        }
        let found = node
            .properties
            .iter()
            .find(|(name, _)| escaped(name) == field)
            .map(|(_, child)| child);
        match (found, &node.additional) {
            (Some(child), _) => Ok(of_node(child)),
            (None, Additional::Of(child)) => Ok(of_node(child)),
            (None, Additional::Any) => Ok(Ty::Unknown),
            _ if node.int_or_string || node.ty.is_empty() => Ok(Ty::Unknown),
            _ => Err(self.failed(field, &format!("undefined field '{field}'"))),
        }
    }

    fn call(&mut self, call: &CallExpr) -> Result<Ty<'a>, String> {
        if let Some(target) = &call.target {
            match &target.expr {
                Expr::Ident(name) if self.is_namespace(name) => {}
                _ => {
                    self.infer(target)?;
                }
            }
        }
        let mut args = Vec::new();
        for arg in &call.args {
            args.push(self.infer(arg)?);
        }
        let name = call.func_name.rsplit('.').next().unwrap_or(&call.func_name);
        if OPERATORS_OF_BOOL.contains(&name) {
            self.operands(name, &args)?;
            return Ok(Ty::Bool);
        }
        if OTHER_OPERATORS.contains(&name) {
            return self.operator(name, &args);
        }
        if BOOL_FUNCTIONS.contains(&name) {
            return Ok(Ty::Bool);
        }
        if !FUNCTIONS.contains(&name) && !MORE_FUNCTIONS.contains(&name) {
            return Err(self.undeclared(name));
        }
        Ok(match name {
            "size" | "int" => Ty::Int,
            "double" => Ty::Double,
            "string" | "lowerAscii" | "upperAscii" | "trim" | "replace" | "join" | "substring" => Ty::String,
            _ => Ty::Unknown,
        })
    }

    fn operands(&self, name: &str, args: &[Ty<'a>]) -> Result<(), String> {
        let names: Vec<&str> = args.iter().map(|ty| scalar_name(*ty)).collect();
        let known = names.iter().all(|name| !name.is_empty());
        let fits = match (name, names.as_slice()) {
            ("_&&_" | "_||_" | "!_", names) => names.iter().all(|name| matches!(*name, "" | "bool")),
            ("_==_" | "_!=_", [a, b]) => a == b || *a == "null" || *b == "null",
            ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => {
                let number = |name: &str| matches!(name, "int" | "double");
                a == b || number(a) && number(b)
            }
            _ => true,
        };
        let decided = known || matches!(name, "_&&_" | "_||_" | "!_");
        if decided && !fits {
            let types = names.join(", ");
            let problem = format!("found no matching overload for '{name}' applied to '({types})'");
            return Err(self.failed(name.trim_matches(['_', '!']), &problem));
        }
        Ok(())
    }

    fn operator(&self, name: &str, args: &[Ty<'a>]) -> Result<Ty<'a>, String> {
        match (name, args) {
            ("_[_]", [Ty::Node(node), _]) => Ok(match (&node.items, &node.additional) {
                (Some(items), _) => of_node(items),
                (None, Additional::Of(child)) => of_node(child),
                _ => Ty::Unknown,
            }),
            ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [a, b]) => {
                let (a, b) = (scalar_name(*a), scalar_name(*b));
                match (a, b) {
                    ("int", "int") => Ok(Ty::Int),
                    ("double", "double") => Ok(Ty::Double),
                    ("string", "string") if name == "_+_" => Ok(Ty::String),
                    ("", _) | (_, "") => Ok(Ty::Unknown),
                    _ if a == b => Ok(Ty::Unknown),
                    _ => {
                        let problem =
                            format!("found no matching overload for '{name}' applied to '({a}, {b})'");
                        Err(self.failed(name.trim_matches('_'), &problem))
                    }
                }
            }
            ("_?_:_", [_, Ty::Bool, Ty::Bool]) => Ok(Ty::Bool),
            ("_?_:_", [_, Ty::String, Ty::String]) => Ok(Ty::String),
            ("@not_strictly_false", _) => Ok(Ty::Bool),
            _ => Ok(Ty::Unknown),
        }
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr) -> Result<Ty<'a>, String> {
        let range = self.infer(&comprehension.iter_range)?;
        let item = match range {
            Ty::Node(node) => match (&node.items, node.is_map()) {
                (Some(items), _) => of_node(items),
                (None, true) => Ty::String,
                _ => Ty::Unknown,
            },
            _ => Ty::Unknown,
        };
        let start = self.infer(&comprehension.accu_init)?;
        let depth = self.scope.len();
        self.scope.push((comprehension.accu_var.clone(), start));
        match &comprehension.iter_var2 {
            Some(second) => {
                self.scope.push((comprehension.iter_var.clone(), Ty::Unknown));
                self.scope.push((second.clone(), Ty::Unknown));
            }
            None => self.scope.push((comprehension.iter_var.clone(), item)),
        }
        self.infer(&comprehension.loop_cond)?;
        self.infer(&comprehension.loop_step)?;
        let result = self.infer(&comprehension.result)?;
        self.scope.truncate(depth);
        Ok(result)
    }

    fn is_namespace(&self, name: &str) -> bool {
        NAMESPACES.contains(&name) && !self.scope.iter().any(|(known, _)| known == name)
    }

    fn undeclared(&self, name: &str) -> String {
        self.failed(
            name,
            &format!("undeclared reference to '{name}' (in container '')"),
        )
    }

    /// As CEL prints a problem: with its column and the line it is in.
    fn failed(&self, near: &str, problem: &str) -> String {
        let offset = self.text.find(near).unwrap_or(0);
        let before = self.text.get(..offset).unwrap_or_default();
        let called = self.text[offset..]
            .strip_prefix(near)
            .is_some_and(|rest| rest.starts_with('('));
        let selected = before.ends_with('.') && !called;
        let column =
            before.chars().count() + usize::from(!selected) + if called { near.chars().count() } else { 0 };
        let dots = ".".repeat(column.saturating_sub(1));
        format!(
            "compilation failed: ERROR: <input>:1:{column}: {problem}\n | {}\n | {dots}^",
            self.text
        )
    }
}

fn of_node(schema: &Schema) -> Ty<'_> {
    if schema.int_or_string || schema.nullable {
        return Ty::Unknown;
    }
    match (schema.ty.as_str(), schema.format.as_str()) {
        ("boolean", _) => Ty::Bool,
        ("integer", _) => Ty::Int,
        ("number", _) => Ty::Double,
        ("string", "byte") => Ty::Bytes,
        ("string", "date-time" | "date" | "duration") => Ty::Unknown,
        ("string", _) => Ty::String,
        ("object" | "array", _) => Ty::Node(schema),
        _ => Ty::Unknown,
    }
}

fn literal_type(literal: &LiteralValue) -> Ty<'static> {
    match literal {
        LiteralValue::Boolean(_) => Ty::Bool,
        LiteralValue::Bytes(_) => Ty::Bytes,
        LiteralValue::Double(_) => Ty::Double,
        LiteralValue::Int(_) => Ty::Int,
        LiteralValue::Null => Ty::Null,
        LiteralValue::String(_) => Ty::String,
        LiteralValue::UInt(_) => Ty::Unknown,
    }
}

/// Empty where the type is not a scalar that is known for certain.
fn scalar_name(ty: Ty<'_>) -> &'static str {
    match ty {
        Ty::Bool => "bool",
        Ty::Int => "int",
        Ty::Double => "double",
        Ty::String => "string",
        Ty::Bytes => "bytes",
        Ty::Null => "null",
        Ty::Unknown | Ty::List | Ty::Node(_) => "",
    }
}

/// How a property is called in CEL.
fn escaped(name: &str) -> String {
    const RESERVED: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    let name = name.replace("__", "__underscores__");
    name.replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}
