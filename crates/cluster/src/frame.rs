//! Cuts byte streams into objects without parsing them: the lines of a watch, the items of a list.
//!
//! What is held is one object at a time, never a page. Objects over [`MAX_OBJECT`] are skipped and reported.
use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Far above what an API server stores (1.5 MiB) or accepts (3 MiB).
pub const MAX_OBJECT: usize = 8 << 20;

/// One cut piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Object(&'a [u8]),
    /// Too large to hold; this many bytes were skipped.
    Oversized(usize),
}

/// Cuts a stream into lines.
#[derive(Default)]
pub struct Lines {
    held: Vec<u8>,
    skipped: usize,
}

impl Lines {
    /// Feeds a chunk; calls `each` for every line that is complete, until it says stop (false).
    pub fn feed(&mut self, mut chunk: &[u8], mut each: impl FnMut(Piece<'_>) -> bool) -> bool {
        while let Some(end) = chunk.iter().position(|&b| b == b'\n') {
            let (line, rest) = (&chunk[..end], &chunk[end + 1..]);
            chunk = rest;
            let go_on = if self.skipped > 0 || self.held.len() + line.len() > MAX_OBJECT {
                let skipped = std::mem::take(&mut self.skipped) + self.held.len() + line.len();
                self.held = Vec::new();
                each(Piece::Oversized(skipped))
            } else if self.held.is_empty() {
                line.iter().all(u8::is_ascii_whitespace) || each(Piece::Object(line))
            } else {
                self.held.extend_from_slice(line);
                let go_on = each(Piece::Object(&self.held));
                self.held.clear();
                self.held.shrink_to(64 << 10);
                go_on
            };
            if !go_on {
                return false;
            }
        }
        self.hold(chunk);
        true
    }

    /// Whether the stream ended in the middle of a line.
    pub fn is_cut(&self) -> bool {
        self.skipped > 0 || !self.held.iter().all(u8::is_ascii_whitespace)
    }

    fn hold(&mut self, rest: &[u8]) {
        if self.skipped > 0 || self.held.len() + rest.len() > MAX_OBJECT {
            self.skipped += self.held.len() + rest.len();
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(rest);
        }
    }
}

/// Cuts a list answer into its items; keeps `metadata` aside, wherever it stands.
pub struct Items {
    state: Place,
    depth: usize,
    in_string: bool,
    escaped: bool,
    item: Vec<u8>,
    skipped: usize,
    key: Vec<u8>,
    metadata: Vec<u8>,
    items_seen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the opening brace.
    Start,
    /// Between members of the list object: a key, or its end.
    Member,
    Key,
    Colon,
    /// In the value of a member that is not `items`.
    Value,
    /// In `items`, between two of them.
    BetweenItems,
    Item,
    End,
    Broken,
}

impl Default for Items {
    fn default() -> Self {
        Self {
            state: Place::Start,
            depth: 0,
            in_string: false,
            escaped: false,
            item: Vec::new(),
            skipped: 0,
            key: Vec::new(),
            metadata: Vec::new(),
            items_seen: false,
        }
    }
}

/// What a list says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListMeta {
    pub resource_version: String,
    #[serde(rename = "continue")]
    pub continue_token: String,
    pub remaining_item_count: Option<u64>,
}

impl Items {
    /// Feeds a chunk; calls `each` for every item that is complete.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Piece<'_>)) {
        let mut at = 0;
        while at < chunk.len() {
            at = match self.state {
                Place::Item => self.feed_item(chunk, at, &mut each),
                _ => {
                    self.step(chunk[at]);
                    // The byte that opened an item belongs to it.
                    if self.state == Place::Item { at } else { at + 1 }
                }
            };
        }
    }

    /// The list's metadata, if the answer was whole.
    pub fn finish(self) -> Result<ListMeta, String> {
        match self.state {
            Place::End => serde_json::from_slice(if self.metadata.is_empty() {
                b"{}"
            } else {
                &self.metadata
            })
            .map_err(|error| format!("list metadata: {error}")),
            Place::Broken => Err("not a list".to_owned()),
            _ => Err("the list was cut off".to_owned()),
        }
    }

    /// Bytes of one item, up to its end or the chunk's.
    fn feed_item(&mut self, chunk: &[u8], start: usize, each: &mut impl FnMut(Piece<'_>)) -> usize {
        let mut at = start;
        while at < chunk.len() {
            let byte = chunk[at];
            at += 1;
            if self.in_string {
                self.string_byte(byte);
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.end_item(&chunk[start..at], each);
                        return at;
                    }
                }
                _ => {}
            }
        }
        if self.skipped > 0 || self.item.len() + (at - start) > MAX_OBJECT {
            self.skipped += self.item.len() + (at - start);
            self.item = Vec::new();
        } else {
            self.item.extend_from_slice(&chunk[start..at]);
        }
        at
    }

    fn end_item(&mut self, tail: &[u8], each: &mut impl FnMut(Piece<'_>)) {
        self.state = Place::BetweenItems;
        if self.skipped > 0 || self.item.len() + tail.len() > MAX_OBJECT {
            let skipped = std::mem::take(&mut self.skipped) + self.item.len() + tail.len();
            self.item = Vec::new();
            each(Piece::Oversized(skipped));
        } else if self.item.is_empty() {
            each(Piece::Object(tail));
        } else {
            self.item.extend_from_slice(tail);
            each(Piece::Object(&self.item));
            self.item.clear();
            self.item.shrink_to(64 << 10);
        }
    }

    fn step(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (Place::Value, _) => self.value_byte(byte),
            (Place::Key, _) => {
                self.string_byte(byte);
                if self.in_string {
                    self.key.push(byte);
                    // Every key of a list object is short.
                    if self.key.len() > 256 {
                        Place::Broken
                    } else {
                        Place::Key
                    }
                } else {
                    Place::Colon
                }
            }
            (state, b' ' | b'\t' | b'\r' | b'\n') => state,
            (Place::Start, b'{') => Place::Member,
            (Place::Member, b'"') => {
                self.key.clear();
                self.in_string = true;
                Place::Key
            }
            (Place::Member, b',') => Place::Member,
            (Place::Member, b'}') => Place::End,
            (Place::Colon, b':') => Place::Colon,
            (Place::Colon, b'[') if self.key == b"items" && !self.items_seen => {
                self.items_seen = true;
                Place::BetweenItems
            }
            (Place::Colon, _) => {
                self.depth = 0;
                self.value_byte(byte)
            }
            (Place::BetweenItems, b'{') => {
                self.depth = 0;
                Place::Item
            }
            (Place::BetweenItems, b',') => Place::BetweenItems,
            (Place::BetweenItems, b']') => Place::Member,
            _ => Place::Broken,
        };
    }

    /// A byte of a member's value at the top; `metadata` is kept.
    fn value_byte(&mut self, byte: u8) -> Place {
        if !self.in_string && self.depth == 0 && matches!(byte, b',' | b'}') {
            return if byte == b'}' { Place::End } else { Place::Member };
        }
        if self.key == b"metadata" {
            self.metadata.push(byte);
            if self.metadata.len() > (1 << 20) {
                return Place::Broken;
            }
        }
        if self.in_string {
            self.string_byte(byte);
        } else {
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        Place::Value
    }

    fn string_byte(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.in_string = false;
        }
    }
}

/// A line of a watch, its object still bytes.
#[derive(Deserialize)]
pub struct WatchLine<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub object: &'a RawValue,
}

/// The little of any object that names it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Named {
    pub metadata: NamedMeta,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NamedMeta {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub annotations: Option<InitialEventsEnd>,
}

/// The one annotation a bookmark can carry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct InitialEventsEnd {
    #[serde(rename = "k8s.io/initial-events-end")]
    pub end: Option<serde::de::IgnoredAny>,
}
