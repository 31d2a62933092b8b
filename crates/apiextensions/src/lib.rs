//! Custom resources: what a CustomResourceDefinition says, and what follows from it for an object.
//!
//! Pure: [`Crd::parse`] checks a definition as a real API server does when it is created; its versions prune,
//! default and validate objects, print table cells, and describe themselves in OpenAPI. A CEL rule that cannot be
//! checked is refused with the definition, never ignored.
mod cel;
mod cel_cost;
mod cel_functions;
mod cel_optional;
mod cel_types;
mod columns;
mod conversion;
mod crd;
mod formats;
mod names;
mod parse;
mod prune;
mod publish;
mod schema;
mod structural;
mod table;
mod update;
mod validate;
mod version;

pub use columns::{Column, cell, json_path};
pub use conversion::{ConversionError, check_review, conversion_review};
pub use crd::{Conversion, Crd, CrdVersion, Scale, conversion_leftover_errors};
pub use prune::prune_metadata;
pub use publish::{openapi_v2_definition, openapi_v3_schema};
pub use schema::{Additional, Schema};
pub use update::{approval_errors, stored_version_errors, update_errors};
