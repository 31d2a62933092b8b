//! Strategic merge patch: a merge patch that knows which lists are merged by key, and that carries directives.
mod directives;
mod lists;
mod order;

use apischema::{Field, PatchStrategy, TypeDef, TypeId, TypeTable};
use serde_json::{Map, Value};

use crate::PatchError;

pub(crate) const DIRECTIVE: &str = "$patch";
pub(crate) const RETAIN_KEYS: &str = "$retainKeys";
pub(crate) const DELETE_FROM: &str = "$deleteFromPrimitiveList";
pub(crate) const ELEMENT_ORDER: &str = "$setElementOrder";

pub(crate) type Object = Map<String, Value>;
pub(crate) type List = Vec<Value>;

/// Applies a strategic merge patch to an object of type `ty`.
///
/// The result may still hold what only decoding removes: unknown fields, and directives below new members.
pub fn strategic(doc: &Value, patch: &Value, table: &TypeTable, ty: TypeId) -> Result<Value, PatchError> {
    let Value::Object(patch) = patch else {
        return Err(PatchError::BadRequest(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            kind_name(patch)
        )));
    };
    let doc = doc.as_object().cloned().unwrap_or_default();
    Merger { table }.object(doc, patch.clone(), ty).map(Value::Object)
}

/// Merging in the light of one type table.
#[derive(Clone, Copy)]
pub(crate) struct Merger<'t> {
    table: &'t TypeTable,
}

/// How one field is patched.
pub(crate) struct FieldRule<'t> {
    pub strategy: &'t PatchStrategy,
    /// The type of the field, or of the items where the field is a list.
    pub ty: TypeId,
}

impl<'t> Merger<'t> {
    /// Merges `patch` into `original`, both of type `ty`.
    pub(crate) fn object(
        self,
        original: Object,
        mut patch: Object,
        ty: TypeId,
    ) -> Result<Object, PatchError> {
        if let Some(directive) = patch.remove(DIRECTIVE) {
            return match directive.as_str() {
                Some("replace") => Ok(patch),
                Some("delete") => Ok(Object::new()),
                _ => {
                    patch.insert(DIRECTIVE.to_owned(), directive.clone());
                    Err(directives::unknown(&directive, &patch))
                }
            };
        }
        let mut original = original;
        directives::retain_keys(&mut original, &mut patch)?;
        self.ordered_lists(&mut original, &mut patch, ty)?;
        for (key, change) in patch {
            self.member(&mut original, &key, change, ty)?;
        }
        Ok(original)
    }

    fn member(self, original: &mut Object, key: &str, change: Value, ty: TypeId) -> Result<(), PatchError> {
        let (key, deletes) = if key.starts_with(DELETE_FROM) {
            (directives::target(key, DELETE_FROM)?, true)
        } else {
            (key, false)
        };
        if change.is_null() {
            original.remove(key);
            return Ok(());
        }
        let merged = match (original.remove(key), change) {
            (Some(Value::Object(current)), Value::Object(change)) => {
                let rule = self.field(ty, key)?;
                Some(Value::Object(if rule.strategy.replace {
                    change
                } else {
                    self.object(current, change, rule.ty)?
                }))
            }
            (Some(Value::Array(current)), Value::Array(change)) => {
                let rule = self.list_field(ty, key)?;
                Some(Value::Array(self.list(current, change, &rule, deletes)?))
            }
            (current, _) if deletes => current,
            (_, change) => directives::strip(directives::without_nulls(change)),
        };
        if let Some(merged) = merged {
            original.insert(key.to_owned(), merged);
        }
        Ok(())
    }

    pub(crate) fn field(self, ty: TypeId, key: &str) -> Result<FieldRule<'t>, PatchError> {
        let field = self.definition(ty, key)?;
        Ok(FieldRule {
            strategy: &field.patch,
            ty: field.ty,
        })
    }

    pub(crate) fn list_field(self, ty: TypeId, key: &str) -> Result<FieldRule<'t>, PatchError> {
        let field = self.definition(ty, key)?;
        match self.table.get(field.ty) {
            TypeDef::List { item, patch, .. } => Ok(FieldRule {
                strategy: patch,
                ty: *item,
            }),
            _ => Err(PatchError::Internal(
                "expected slice or array type, but got: struct".to_owned(),
            )),
        }
    }

    fn definition(self, ty: TypeId, key: &str) -> Result<&'t Field, PatchError> {
        let def = self.table.get(ty);
        match def {
            TypeDef::Struct { .. } | TypeDef::Any => def.field(key).ok_or_else(|| {
                let name = if matches!(def, TypeDef::Any) {
                    "RawExtension "
                } else {
                    ""
                };
                PatchError::Internal(format!(
                    "unable to find api field in struct {name}for the json field \"{key}\""
                ))
            }),
            other => Err(PatchError::Internal(format!(
                "merging an object in json but data type is not struct, instead is: {}",
                match other {
                    TypeDef::Map { .. } => "map",
                    TypeDef::List { .. } => "slice",
                    _ => "string",
                }
            ))),
        }
    }
}

pub(crate) fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests;
