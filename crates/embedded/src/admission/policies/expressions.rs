//! CEL expressions of policies. Objects that they make (`Object{...}`, `JSONPatch{...}`) are maps here: the schema
//! they are merged by knows what they are.

use kube_cel::cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, MapEntryExpr, MapExpr,
};
use kube_cel::cel::common::types::CelString;
use kube_cel::cel::{Context, ExecutionError, Program, Value as CelValue};
use serde_json::Value;

pub(super) fn run(expression: &Value, context: &Context<'_>) -> Result<CelValue, String> {
    let text = expression.as_str().unwrap_or_default();
    let failed = |why: String| format!("expression '{}' resulted in error: {why}", text.trim());
    let program = Program::compile(text).map_err(|e| failed(e.to_string()))?;
    let expression = without_objects(program.expression().clone());
    CelValue::resolve(&expression, context).map_err(|e| failed(worded(&e)))
}

/// As a real server's evaluator says it.
fn worded(error: &ExecutionError) -> String {
    match error {
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::NoSuchOverload => "no such overload".to_owned(),
        other => other.to_string(),
    }
}

/// The evaluator knows no objects.
fn without_objects(expression: IdedExpr) -> IdedExpr {
    let IdedExpr { id, expr } = expression;
    let boxed = |inner: Box<IdedExpr>| Box::new(without_objects(*inner));
    let expr = match expr {
        Expr::Call(CallExpr {
            func_name,
            target,
            args,
        }) => Expr::Call(CallExpr {
            func_name,
            target: target.map(boxed),
            args: args.into_iter().map(without_objects).collect(),
        }),
        Expr::Comprehension(mut inner) => {
            for part in [
                &mut inner.iter_range,
                &mut inner.accu_init,
                &mut inner.loop_cond,
                &mut inner.loop_step,
                &mut inner.result,
            ] {
                *part = without_objects(std::mem::take(part));
            }
            Expr::Comprehension(inner)
        }
        Expr::List(mut list) => {
            list.elements = list.elements.into_iter().map(without_objects).collect();
            Expr::List(list)
        }
        Expr::Map(map) => Expr::Map(MapExpr {
            entries: map.entries.into_iter().map(as_map_entry).collect(),
        }),
        Expr::Select(mut select) => {
            select.operand = boxed(select.operand);
            Expr::Select(select)
        }
        Expr::Struct(object) => Expr::Map(MapExpr {
            entries: object.entries.into_iter().map(as_map_entry).collect(),
        }),
        plain => plain,
    };
    IdedExpr { id, expr }
}

fn as_map_entry(entry: IdedEntryExpr) -> IdedEntryExpr {
    let IdedEntryExpr { id, expr } = entry;
    let entry = match expr {
        EntryExpr::StructField(field) => MapEntryExpr {
            key: IdedExpr {
                id,
                expr: Expr::Literal(LiteralValue::String(CelString::from(field.field.as_str()))),
            },
            value: without_objects(field.value),
            optional: field.optional,
        },
        EntryExpr::MapEntry(entry) => MapEntryExpr {
            key: without_objects(entry.key),
            value: without_objects(entry.value),
            optional: entry.optional,
        },
    };
    IdedEntryExpr {
        id,
        expr: EntryExpr::MapEntry(entry),
    }
}
