//! An upper estimate of what a rule costs on the largest object its schema allows, and the limits on it.

use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedExpr};
use model::field::FieldError;

use crate::schema::{Additional, Schema};

/// Kubernetes' limits, in its units of cost.
const RULE_LIMIT: u64 = 10_000_000;
const TOTAL_LIMIT: u64 = 100_000_000;
/// No request is larger, in bytes.
const MAX_REQUEST: u64 = 3 * 1024 * 1024;
const ADVICE: &str = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, \
                      and strings are declared)";

#[derive(Default)]
pub(crate) struct Costs {
    total: u64,
    largest: Vec<(String, u64)>,
}

impl Costs {
    /// How many items a list or map can have.
    pub(crate) fn length(schema: &Schema) -> u64 {
        let said = schema.max_items.or(schema.max_properties);
        said.unwrap_or_else(|| {
            let smallest = match (&schema.items, &schema.additional) {
                (Some(items), _) => smallest_size(items),
                (None, Additional::Of(child)) => smallest_size(child) + 6,
                _ => 1,
            };
            MAX_REQUEST / (smallest + 1)
        })
    }

    pub(crate) fn add(
        &mut self,
        rule: &IdedExpr,
        schema: &Schema,
        times: u64,
        at: &str,
        errors: &mut Vec<FieldError>,
    ) {
        let cost = estimate(rule, schema).saturating_mul(times.max(1));
        self.total = self.total.saturating_add(cost);
        self.largest.push((at.to_owned(), cost));
        if cost > RULE_LIMIT {
            let excess = factor(cost, RULE_LIMIT);
            errors.push(FieldError::forbidden(
                at,
                format!("estimated rule cost exceeds budget by {excess} {ADVICE}"),
            ));
        }
    }

    pub(crate) fn check_total(&self, path: &str, errors: &mut Vec<FieldError>) {
        if self.total <= TOTAL_LIMIT {
            return;
        }
        let contributed =
            "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        for (at, _) in self.largest.iter().filter(|(_, cost)| *cost > TOTAL_LIMIT / 100) {
            errors.push(FieldError::forbidden(at, contributed));
        }
        let excess = factor(self.total, TOTAL_LIMIT);
        let detail = format!(
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by \
             {excess} {ADVICE}"
        );
        errors.push(FieldError::forbidden(path, detail));
    }
}

fn factor(cost: u64, limit: u64) -> String {
    let times = cost / limit;
    if times >= 100 {
        "factor of more than 100x".to_owned()
    } else {
        format!("factor of {:.1}x", cost as f64 / limit as f64)
    }
}

fn smallest_size(schema: &Schema) -> u64 {
    if schema.int_or_string {
        return 1;
    }
    match schema.ty.as_str() {
        "string" | "array" => 2,
        "boolean" => 4,
        "object" => 2 + schema.required.len() as u64 * 4,
        _ => 1,
    }
}

fn estimate(expression: &IdedExpr, schema: &Schema) -> u64 {
    let mut bound = Vec::new();
    cost(expression, schema, &mut bound)
}

type Bound<'s> = Vec<(String, Option<&'s Schema>)>;

fn cost<'s>(expression: &IdedExpr, root: &'s Schema, bound: &mut Bound<'s>) -> u64 {
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => 0,
        Expr::Ident(_) => 1,
        Expr::Select(select) => 1 + cost(&select.operand, root, bound),
        Expr::List(list) => sum(list.elements.iter(), root, bound) + 10,
        Expr::Map(map) => 30 + entries(map.entries.iter().map(|e| &e.expr), root, bound),
        Expr::Struct(structure) => 40 + entries(structure.entries.iter().map(|e| &e.expr), root, bound),
        Expr::Call(call) => {
            let parts = call.target.iter().map(AsRef::as_ref).chain(call.args.iter());
            let inner = sum(parts, root, bound);
            let subject = match call.func_name.as_str() {
                // As long as what is looked for.
                "startsWith" | "endsWith" => call.args.first(),
                _ => call.target.as_deref().or(call.args.first()),
            };
            let length = subject.and_then(|s| node_of(s, root, bound)).map_or(1, size_of);
            let own = match call.func_name.as_str() {
                "contains" | "startsWith" | "endsWith" | "matches" | "indexOf" | "lastIndexOf"
                | "replace" | "split" | "find" | "findAll" | "lowerAscii" | "upperAscii" | "trim"
                | "format" | "url" | "isURL" => length / 10 + 1,
                "_==_" | "_!=_" if call.args.iter().any(|arg| matches!(arg.expr, Expr::Literal(_))) => 1,
                "_==_" | "_!=_" | "@in" => length / 10 + 1,
                "sum" | "min" | "max" | "isSorted" | "join" | "distinct" | "sort" | "flatten" | "reverse" => {
                    length
                }
                _ => 1,
            };
            inner.saturating_add(own)
        }
        Expr::Comprehension(loop_) => {
            let range = node_of(&loop_.iter_range, root, bound);
            let times = range.map_or(100, Costs::length);
            let item = range.and_then(item_of);
            let before =
                cost(&loop_.iter_range, root, bound).saturating_add(cost(&loop_.accu_init, root, bound));
            bound.push((loop_.iter_var.clone(), item));
            let each =
                cost(&loop_.loop_cond, root, bound).saturating_add(cost(&loop_.loop_step, root, bound));
            let after = cost(&loop_.result, root, bound);
            bound.pop();
            times
                .saturating_mul(each)
                .saturating_add(before)
                .saturating_add(after)
        }
    }
}

fn sum<'s, 'e>(parts: impl Iterator<Item = &'e IdedExpr>, root: &'s Schema, bound: &mut Bound<'s>) -> u64 {
    parts.fold(0, |total, part| total.saturating_add(cost(part, root, bound)))
}

fn entries<'s, 'e>(
    parts: impl Iterator<Item = &'e EntryExpr>,
    root: &'s Schema,
    bound: &mut Bound<'s>,
) -> u64 {
    parts.fold(0, |total, entry| {
        let inner = match entry {
            EntryExpr::StructField(field) => cost(&field.value, root, bound),
            EntryExpr::MapEntry(entry) => {
                cost(&entry.key, root, bound).saturating_add(cost(&entry.value, root, bound))
            }
        };
        total.saturating_add(inner)
    })
}

/// The schema node an expression reads, where it is a plain path.
fn node_of<'s>(expression: &IdedExpr, root: &'s Schema, bound: &Bound<'s>) -> Option<&'s Schema> {
    match &expression.expr {
        Expr::Ident(name) if name == "self" || name == "oldSelf" => Some(root),
        Expr::Ident(name) => bound.iter().rev().find(|(known, _)| known == name)?.1,
        Expr::Select(select) => node_of(&select.operand, root, bound)?.child(&select.field),
        Expr::Call(call) if call.func_name == "_[_]" => item_of(node_of(call.args.first()?, root, bound)?),
        _ => None,
    }
}

fn item_of(schema: &Schema) -> Option<&Schema> {
    match (&schema.items, &schema.additional) {
        (Some(items), _) => Some(items),
        (None, Additional::Of(child)) => Some(child),
        _ => None,
    }
}

fn size_of(schema: &Schema) -> u64 {
    match schema.ty.as_str() {
        "string" => schema.max_length.unwrap_or(if schema.enumeration.is_empty() {
            MAX_REQUEST
        } else {
            64
        }),
        "array" | "object" => Costs::length(schema),
        _ => 1,
    }
}
