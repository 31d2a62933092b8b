//! Cutting bytes into objects: whatever the chunks, the same objects.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_cluster::frame::{Items, Lines, MAX_OBJECT, Piece};

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Quotes, braces, backslashes and newlines inside strings are where cutting goes wrong.
        r#"[\\"{}\[\],:a-z\n\t é𝄞]{0,12}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(r#"[\\"a-z{}]{0,6}"#, inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-z\"]{1,6}", json_value(), 0..5)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn chunks<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut at = 0;
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let start = at;
        at = (at + sizes.next().unwrap()).min(bytes.len());
        (start < bytes.len()).then(|| &bytes[start..at])
    })
}

fn parsed(piece: Piece<'_>) -> Value {
    match piece {
        Piece::Object(bytes) => serde_json::from_slice(bytes).unwrap(),
        Piece::Oversized(size) => json!({"oversized": size}),
    }
}

proptest! {
    #[test]
    fn a_list_gives_its_items_however_it_is_cut_and_wherever_its_metadata_stands(
        items in prop::collection::vec(object(), 0..6),
        other in json_value(),
        sizes in prop::collection::vec(1usize..40, 1..6),
        pretty in any::<bool>(),
        metadata_last in any::<bool>(),
    ) {
        let print = |value: &Value| if pretty { serde_json::to_string_pretty(value).unwrap() } else { value.to_string() };
        let metadata = format!("\"metadata\" : {}", print(&json!({"resourceVersion": "42", "continue": "x\"}]", "items": [1]})));
        let listed = format!("\"items\":{}", print(&Value::from(items.clone())));
        let (first, last) = if metadata_last { (listed, metadata) } else { (metadata, listed) };
        let text = format!("{{\"kind\":\"PodList\",{first},\"other\":{},{last}}}\n", print(&other));
        let (mut cutter, mut got) = (Items::default(), Vec::new());
        for chunk in chunks(text.as_bytes(), &sizes) {
            cutter.feed(chunk, |piece| got.push(parsed(piece)));
        }
        prop_assert_eq!(got, items);
        let meta = cutter.finish().unwrap();
        prop_assert_eq!((meta.resource_version.as_str(), meta.continue_token.as_str()), ("42", "x\"}]"));
    }

    #[test]
    fn a_list_cut_short_anywhere_is_no_list(items in prop::collection::vec(object(), 0..4), keep in 0.0f64..1.0) {
        let text = json!({"metadata": {"resourceVersion": "1"}, "items": items}).to_string();
        let mut cutter = Items::default();
        cutter.feed(&text.as_bytes()[..(text.len() as f64 * keep) as usize], |piece| drop(parsed(piece)));
        prop_assert!(cutter.finish().is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), sizes in prop::collection::vec(1usize..40, 1..4)) {
        let (mut items, mut lines) = (Items::default(), Lines::default());
        for chunk in chunks(&bytes, &sizes) {
            items.feed(chunk, |_| ());
            lines.feed(chunk, |_| true);
        }
        let _ = items.finish();
    }

    #[test]
    fn lines_come_whole_however_they_are_cut(
        objects in prop::collection::vec(object(), 0..6),
        sizes in prop::collection::vec(1usize..40, 1..6),
        tail in "[a-z]{0,3}",
    ) {
        let text: String = objects.iter().map(|object| format!("{object}\n")).collect::<String>() + &tail;
        let (mut cutter, mut got) = (Lines::default(), Vec::new());
        for chunk in chunks(text.as_bytes(), &sizes) {
            cutter.feed(chunk, |piece| { got.push(parsed(piece)); true });
        }
        prop_assert_eq!(got, objects);
        prop_assert_eq!(cutter.is_cut(), !tail.is_empty());
    }
}

#[test]
fn an_object_too_large_to_hold_is_skipped_and_the_next_one_comes() {
    let large = json!({"data": "x".repeat(MAX_OBJECT)});
    let text =
        json!({"items": [{"a": 1}, large, {"b": 2}], "metadata": {"resourceVersion": "1"}}).to_string();
    let (mut items, mut got) = (Items::default(), Vec::new());
    for chunk in text.as_bytes().chunks(65_536) {
        items.feed(chunk, |piece| got.push(parsed(piece)));
    }
    assert_eq!(got.len(), 3);
    assert!(got[1]["oversized"].as_u64().unwrap() > MAX_OBJECT as u64);
    assert_eq!((&got[0]["a"], &got[2]["b"]), (&json!(1), &json!(2)));
    assert_eq!(items.finish().unwrap().resource_version, "1");

    let text = format!("{{\"a\":1}}\n{large}\n{{\"b\":2}}\n");
    let (mut lines, mut got) = (Lines::default(), Vec::new());
    for chunk in text.as_bytes().chunks(65_536) {
        lines.feed(chunk, |piece| {
            got.push(parsed(piece));
            true
        });
    }
    assert_eq!(got.len(), 3);
    assert!(got[1]["oversized"].as_u64().unwrap() > MAX_OBJECT as u64);
    assert_eq!(got[2]["b"], 2);
}
