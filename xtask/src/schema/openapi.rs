//! OpenAPI v3 documents, with equal schemas kept once.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;

use apischema::openapi::{Archive, Document, Index};
use serde_json::{Map, Value};

const HOLE: &str = "\"@schemas@\"";

pub fn archive(documents: &BTreeMap<String, (String, Vec<u8>)>) -> Result<(Archive, Index), Box<dyn Error>> {
    let mut archive = Archive::default();
    let mut index = Index::new();
    let mut known: HashMap<String, u32> = HashMap::new();
    for (path, (hash, bytes)) in documents {
        let mut json: Value = serde_json::from_slice(bytes)?;
        let schemas = take_schemas(&mut json);
        let text = json.to_string();
        let (head, tail) = match text.split_once(HOLE) {
            Some((head, tail)) => (format!("{head}{{"), format!("}}{tail}")),
            None => (text, String::new()),
        };
        let mut document = Document {
            path: path.clone(),
            head,
            tail,
            schemas: Vec::new(),
        };
        for (name, schema) in schemas {
            let next = u32::try_from(archive.schemas.len())?;
            let id = *known.entry(schema.to_string()).or_insert_with_key(|text| {
                archive.schemas.push(text.clone());
                next
            });
            document.schemas.push((name, id));
        }
        archive.documents.push(document);
        index.push((path.clone(), hash.clone()));
    }
    Ok((archive, index))
}

fn take_schemas(document: &mut Value) -> Map<String, Value> {
    match document.pointer_mut("/components/schemas") {
        Some(schemas) => {
            let taken = std::mem::replace(schemas, Value::String("@schemas@".to_owned()));
            match taken {
                Value::Object(map) => map,
                _ => Map::new(),
            }
        }
        None => Map::new(),
    }
}
