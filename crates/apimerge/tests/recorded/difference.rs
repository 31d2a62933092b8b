//! Showing where two objects differ.
use serde_json::{Value, json};

pub fn difference(what: &str, step: &Value, found: &Value, wanted: &Value) -> String {
    let mut out = format!(
        "{what} after {} by {}: {}",
        step["how"], step["manager"], step["body"]
    );
    differ("", found, wanted, &mut out);
    out
}

fn differ(at: &str, found: &Value, wanted: &Value, out: &mut String) {
    match (found, wanted) {
        (a, b) if a == b => {}
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let none = json!("(none)");
                differ(
                    &format!("{at}/{key}"),
                    a.get(key).unwrap_or(&none),
                    b.get(key).unwrap_or(&none),
                    out,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differ(&format!("{at}/{index}"), a, b, out);
            }
        }
        _ => out.push_str(&format!(
            "\n   {at}\n     found    {found}\n     expected {wanted}"
        )),
    }
}
