//! The OpenAPI documents of the built-in kinds, as a real server serves them; unpacked when first asked for.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use serde::{Deserialize, Serialize};

use crate::builtin::inflate;

/// All OpenAPI v3 documents; equal schemas are kept once.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Archive {
    /// JSON of each distinct schema.
    pub schemas: Vec<String>,
    pub documents: Vec<Document>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Document {
    /// `api/v1`, `apis/apps/v1`, `version`...
    pub path: String,
    /// JSON up to and after the value of `components.schemas`.
    pub head: String,
    pub tail: String,
    /// Name and index of each schema.
    pub schemas: Vec<(String, u32)>,
}

/// Path of each v3 document and the hash of its content.
pub type Index = Vec<(String, String)>;

/// The whole OpenAPI v2 document, JSON.
pub fn v2() -> &'static [u8] {
    static V2: OnceLock<Vec<u8>> = OnceLock::new();
    V2.get_or_init(|| inflate(include_bytes!("../data/openapi_v2.bin")))
}

/// Paths (`apis/apps/v1`) and content hashes of the v3 documents, sorted by path.
pub fn v3_index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        postcard::from_bytes(&inflate(include_bytes!("../data/openapi_v3_index.bin"))).unwrap_or_default()
    })
}

/// The v3 document of a path (`apis/apps/v1`, `api/v1`, `version`), JSON.
pub fn v3(path: &str) -> Option<&'static [u8]> {
    static ARCHIVE: OnceLock<Archive> = OnceLock::new();
    static BUILT: Mutex<BTreeMap<String, &'static [u8]>> = Mutex::new(BTreeMap::new());
    if !v3_index().iter().any(|(known, _)| known == path) {
        return None;
    }
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(document) = built.get(path) {
        return Some(document);
    }
    let archive = ARCHIVE.get_or_init(|| {
        postcard::from_bytes(&inflate(include_bytes!("../data/openapi_v3.bin"))).unwrap_or_default()
    });
    let document = archive.documents.iter().find(|d| d.path == path)?;
    // One copy per document and process, shared by every server in it.
    let bytes: &'static [u8] = Vec::leak(assemble(archive, document).into_bytes());
    built.insert(path.to_owned(), bytes);
    Some(bytes)
}

fn assemble(archive: &Archive, document: &Document) -> String {
    let mut out = document.head.clone();
    for (i, (name, index)) in document.schemas.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push('"');
        out.push_str(name);
        out.push_str("\":");
        out.push_str(archive.schemas.get(*index as usize).map_or("{}", String::as_str));
    }
    out.push_str(&document.tail);
    out
}
