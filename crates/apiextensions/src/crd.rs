//! A CustomResourceDefinition, parsed and checked.

use apischema::{GroupVersionKind, TypeId, TypeTable};
use model::field::FieldError;
use serde_json::Value;

use crate::cel::{self, Rules};
use crate::columns::{self, Column};
use crate::schema::Schema;
use crate::version::{HOISTED, all_same, as_go_writes, scale, selectable};
use crate::{names, parse, prune, structural, table, validate};

/// A definition that a real server would accept.
#[derive(Debug, Clone)]
pub struct Crd {
    pub group: String,
    pub kind: String,
    pub list_kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub conversion: Conversion,
    pub versions: Vec<CrdVersion>,
    /// It is not what it was when it was made: stored objects may be as an earlier schema wanted them.
    pub changed: bool,
    /// Nothing more of the kind is made.
    pub terminating: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Conversion {
    /// Only `apiVersion` changes.
    None,
    /// `clientConfig` (as in webhook configurations) and the accepted review versions.
    Webhook {
        client_config: Value,
        review_versions: Vec<String>,
    },
}

#[derive(Debug, Clone)]
pub struct CrdVersion {
    pub name: String,
    pub served: bool,
    pub storage: bool,
    pub deprecated: bool,
    pub deprecation_warning: Option<String>,
    pub schema: Schema,
    /// The schema as it was written, for publication.
    pub raw_schema: Value,
    pub table: TypeTable,
    pub ty: TypeId,
    pub columns: Vec<Column>,
    pub status: bool,
    pub scale: Option<Scale>,
    /// JSON paths that field selectors may name.
    pub selectable_fields: Vec<String>,
    rules: Rules,
}

/// JSON paths of the scale subresource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    pub spec_replicas: String,
    pub status_replicas: String,
    pub label_selector: Option<String>,
}

impl Crd {
    /// Parses a defaulted CustomResourceDefinition (`apiextensions.k8s.io/v1`); errors are those of creating it.
    pub fn parse(definition: &Value) -> Result<Crd, Vec<FieldError>> {
        let mut errors = Vec::new();
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let names = &spec["names"];
        let group = text(&spec["group"]);
        let plural = text(&names["plural"]);
        let wanted = format!("{plural}.{group}");
        let name = text(&definition["metadata"]["name"]);
        if name != wanted {
            let detail = "must be spec.names.plural+\".\"+spec.group";
            errors.push(FieldError::invalid("metadata.name", format!("{name:?}"), detail));
        }
        names::group(&group, "spec.group", &mut errors);
        let scope = text(&spec["scope"]);
        names::supported(&scope, &["Cluster", "Namespaced"], "spec.scope", &mut errors);
        let kind = text(&names["kind"]);
        let or_else = |value: String, other: String| if value.is_empty() { other } else { value };
        let mut crd = Crd {
            singular: or_else(text(&names["singular"]), kind.to_lowercase()),
            list_kind: or_else(text(&names["listKind"]), format!("{kind}List")),
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
            namespaced: scope == "Namespaced",
            conversion: Conversion::None,
            versions: Vec::new(),
            changed: definition["metadata"]["generation"].as_i64().unwrap_or(1) > 1,
            terminating: definition["metadata"]["deletionTimestamp"].is_string(),
            group,
            kind,
            plural,
        };
        crd.read_versions(spec, &mut errors);
        crd.check_names(&mut errors);
        crd.conversion = conversion(&spec["conversion"], &mut errors);
        if spec["preserveUnknownFields"] == Value::Bool(true) {
            let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                          spec.versions[*].schema instead";
            errors.push(FieldError::invalid("spec.preserveUnknownFields", "true", detail));
            if has_defaults(&spec["versions"]) {
                let detail = "must be false in order to use defaults in the schema";
                errors.push(FieldError::invalid("spec.preserveUnknownFields", "true", detail));
            }
        }
        if errors.is_empty() { Ok(crd) } else { Err(errors) }
    }

    /// The version by name.
    pub fn version(&self, name: &str) -> Option<&CrdVersion> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// The version in which objects are stored.
    pub fn storage_version(&self) -> Option<&CrdVersion> {
        self.versions.iter().find(|version| version.storage)
    }

    pub fn gvk(&self, version: &str) -> GroupVersionKind {
        GroupVersionKind {
            group: self.group.clone(),
            version: version.to_owned(),
            kind: self.kind.clone(),
        }
    }

    fn read_versions(&mut self, spec: &Value, errors: &mut Vec<FieldError>) {
        let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let schema_of = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
        // A schema common to all versions is reported at its old place, as real servers do.
        let common = versions
            .windows(2)
            .all(|pair| schema_of(&pair[0]) == schema_of(&pair[1]));
        for (i, value) in versions.iter().enumerate() {
            let at = format!("spec.versions[{i}]");
            names::label(
                value["name"].as_str().unwrap_or_default(),
                &format!("{at}.name"),
                errors,
            );
            let raw = schema_of(value);
            if raw.is_null() {
                errors.push(FieldError::required(format!("{at}.schema.openAPIV3Schema"), ""));
                continue;
            }
            let schema_at = if common {
                "spec.validation".to_owned()
            } else {
                format!("{at}.schema")
            };
            let mut own = Vec::new();
            let version = self.read_version(
                value,
                raw,
                (&at, &format!("{schema_at}.openAPIV3Schema")),
                &mut own,
            );
            for hoisted in HOISTED {
                if all_same(versions, hoisted) {
                    let (from, to) = (format!("{at}.{hoisted}"), format!("spec.{hoisted}"));
                    own.retain(|error| i == 0 || !error.path.starts_with(&from));
                    for error in &mut own {
                        error.path = error.path.replacen(&from, &to, 1);
                    }
                }
            }
            own.retain(|error| !common || i == 0 || !error.path.starts_with(&schema_at));
            errors.extend(own);
            self.versions.push(version);
        }
        check_version_set(versions, errors);
    }

    fn read_version(
        &self,
        value: &Value,
        raw: Value,
        (at, schema_at): (&str, &str),
        errors: &mut Vec<FieldError>,
    ) -> CrdVersion {
        let schema = parse::schema(&raw, schema_at, errors);
        structural::check(&schema, &raw, schema_at, errors);
        cel::check(&schema, schema_at, errors);
        let name = value["name"].as_str().unwrap_or_default().to_owned();
        let (table, ty) = table::table(&schema, &self.gvk(&name));
        CrdVersion {
            served: value["served"] == Value::Bool(true),
            storage: value["storage"] == Value::Bool(true),
            deprecated: value["deprecated"] == Value::Bool(true),
            deprecation_warning: value["deprecationWarning"].as_str().map(str::to_owned),
            columns: columns::parse(
                &value["additionalPrinterColumns"],
                &format!("{at}.additionalPrinterColumns"),
                errors,
            ),
            status: !value["subresources"]["status"].is_null(),
            scale: scale(
                &value["subresources"]["scale"],
                &format!("{at}.subresources.scale"),
                errors,
            ),
            selectable_fields: selectable(
                &value["selectableFields"],
                &schema,
                &format!("{at}.selectableFields"),
                errors,
            ),
            rules: Rules::compile(&raw, &schema),
            raw_schema: raw,
            name,
            schema,
            table,
            ty,
        }
    }

    fn check_names(&self, errors: &mut Vec<FieldError>) {
        names::label(&self.plural, "spec.names.plural", errors);
        names::label(&self.singular, "spec.names.singular", errors);
        names::kind(&self.kind, "spec.names.kind", errors);
        names::kind(&self.list_kind, "spec.names.listKind", errors);
        if self.kind == self.list_kind && !self.kind.is_empty() {
            let detail = "kind and listKind may not be the same";
            errors.push(FieldError::invalid(
                "spec.names.listKind",
                format!("{:?}", self.list_kind),
                detail,
            ));
        }
        for (i, name) in self.short_names.iter().enumerate() {
            names::label(name, &format!("spec.names.shortNames[{i}]"), errors);
        }
        for (i, name) in self.categories.iter().enumerate() {
            names::label(name, &format!("spec.names.categories[{i}]"), errors);
        }
    }
}

impl CrdVersion {
    /// Removes unknown fields; returns their paths as strict decoding words them.
    pub fn prune(&self, value: &mut Value) -> Vec<String> {
        prune::prune(value, &self.schema)
    }

    /// Fills in defaults and drops nulls that the schema does not allow.
    pub fn default(&self, value: &mut Value) {
        prune::default(value, &self.schema);
    }

    /// Schema and rules; with `old`, transition rules too.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = validate::value(new, old, &self.schema, "");
        if self.rules.is_empty() {
            return errors;
        }
        if errors.iter().any(validate::is_blocking) {
            let unchecked = "some validation rules were not checked because the object was invalid; correct the \
                             existing errors to complete validation";
            errors.push(FieldError::invalid("<nil>", "null", unchecked));
        } else {
            errors.extend(self.rules.evaluate(new, old, &self.schema));
        }
        errors
    }
}

fn check_version_set(versions: &[Value], errors: &mut Vec<FieldError>) {
    let mut names: Vec<&str> = versions.iter().filter_map(|v| v["name"].as_str()).collect();
    let storage = versions
        .iter()
        .filter(|v| v["storage"] == Value::Bool(true))
        .count();
    let shown = as_go_writes(versions);
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        errors.push(FieldError::invalid(
            "spec.versions",
            shown.clone(),
            "must contain unique version names",
        ));
    }
    if storage != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", shown, detail));
    }
}

/// Whether any schema of the versions has a default.
fn has_defaults(versions: &Value) -> bool {
    fn within(schema: &Value) -> bool {
        let Some(map) = schema.as_object() else {
            return false;
        };
        let in_map = |name: &str| {
            let all = map.get(name).and_then(Value::as_object);
            all.is_some_and(|all| all.values().any(within))
        };
        map.get("default").is_some_and(|d| !d.is_null())
            || in_map("properties")
            || ["items", "additionalProperties"]
                .iter()
                .any(|name| map.get(*name).is_some_and(within))
    }
    let all = versions.as_array().into_iter().flatten();
    all.map(|version| &version["schema"]["openAPIV3Schema"])
        .any(within)
}

/// What only a webhook needs, in a definition whose conversion is none. It may stand in one that is stored.
pub fn conversion_leftover_errors(definition: &Value) -> Vec<FieldError> {
    let conversion = &definition["spec"]["conversion"];
    if !matches!(conversion["strategy"].as_str(), None | Some("None")) {
        return Vec::new();
    }
    let webhook = &conversion["webhook"];
    let detail = "should not be set when strategy is not set to Webhook";
    let forbid = |field: &str| FieldError::forbidden(format!("spec.conversion.{field}"), detail);
    let client = webhook["clientConfig"]
        .is_object()
        .then(|| forbid("webhookClientConfig"));
    let versions = !texts(&webhook["conversionReviewVersions"]).is_empty();
    let versions = versions.then(|| forbid("conversionReviewVersions"));
    client.into_iter().chain(versions).collect()
}

fn conversion(value: &Value, errors: &mut Vec<FieldError>) -> Conversion {
    match value["strategy"].as_str() {
        None | Some("None") => Conversion::None,
        Some("Webhook") => {
            let webhook = &value["webhook"];
            let client_config = webhook["clientConfig"].clone();
            let one_target = client_config["url"].is_string() != client_config["service"].is_object();
            if client_config.is_null() {
                let detail = "required when strategy is set to Webhook";
                errors.push(FieldError::required(
                    "spec.conversion.webhookClientConfig",
                    detail,
                ));
            } else if !one_target {
                let detail = "exactly one of url or service is required";
                errors.push(FieldError::required(
                    "spec.conversion.webhookClientConfig",
                    detail,
                ));
            }
            let review_versions = texts(&webhook["conversionReviewVersions"]);
            if review_versions.is_empty() {
                errors.push(FieldError::required(
                    "spec.conversion.conversionReviewVersions",
                    "",
                ));
            } else if !review_versions.iter().any(|version| version == "v1") {
                let detail = "must include at least one of v1";
                let at = "spec.conversion.conversionReviewVersions";
                errors.push(FieldError::invalid(at, format!("{review_versions:?}"), detail));
            }
            Conversion::Webhook {
                client_config,
                review_versions,
            }
        }
        Some(other) => {
            names::supported(other, &["None", "Webhook"], "spec.conversion.strategy", errors);
            Conversion::None
        }
    }
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}
