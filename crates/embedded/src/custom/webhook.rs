//! How a definition's conversion webhook is reached.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::field::FieldError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

const CLIENT: &str = "spec.conversion.webhookClientConfig";

/// What is wrong with the one address that is named (that it is one, the definition's own rules say) and with the
/// authorities.
pub(super) fn client_errors(definition: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let conversion = &definition["spec"]["conversion"];
    if conversion["strategy"] != "Webhook" {
        return Vec::new();
    }
    let client = &conversion["webhook"]["clientConfig"];
    let mut errors = match client["url"].is_string() != client["service"].is_object() {
        true => apirules::validation::webhook_client_errors(client, CLIENT),
        false => Vec::new(),
    };
    if let Some(why) = authority_error(definition)
        && old.is_some_and(holds_to_good_authorities)
    {
        let shown = client["caBundle"].to_string();
        errors.push(FieldError::invalid(format!("{CLIENT}.caBundle"), shown, why));
    }
    errors
}

/// A definition that never had a readable bundle is not asked for one; nor is one that serves nothing yet.
fn holds_to_good_authorities(old: &Value) -> bool {
    let mut conditions = old["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|c| c["type"] == "Established" && c["status"] == "True") && authority_error(old).is_none()
}

fn authority_error(definition: &Value) -> Option<String> {
    let bundle = &definition["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"];
    let bytes = BASE64.decode(bundle.as_str().filter(|b| !b.is_empty())?).ok()?;
    let mut readable = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok);
    match readable.any(|c| x509_parser::parse_x509_certificate(&c).is_ok()) {
        true => None,
        false => Some("unable to load root certificates: unable to parse bytes as PEM block".to_owned()),
    }
}
