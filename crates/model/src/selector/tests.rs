#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use serde_json::json;

fn labels(text: &str) -> BTreeMap<String, String> {
    let pair = |p: &str| p.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    text.split(',').filter_map(pair).collect()
}

fn from_json(value: serde_json::Value) -> Result<Selector, SelectorError> {
    Selector::try_from(&serde_json::from_value::<LabelSelector>(value).unwrap())
}

#[test]
fn the_text_form_matches_as_an_api_server_does() {
    for (selector, map, expected) in [
        ("", "", true),
        ("a=b", "a=b", true),
        ("a==b", "a=c", false),
        ("a!=b", "", true),
        ("a in (b, c),!d,x=y", "a=c,x=y", true),
        ("a in (b,c),!d", "a=c,d=", false),
        ("a notin (b)", "a=b", false),
        ("a notin (b)", "z=1", true),
        ("a", "a=", true),
        ("a=", "a=", true),
    ] {
        let parsed = Selector::parse(selector).unwrap();
        assert_eq!(parsed.matches_map(&labels(map)), expected, "{selector} on {map}");
    }
}

#[test]
fn malformed_text_is_an_error() {
    for bad in [
        "a in", "a in (b", "a)b", "=b", "a=b,,c=d", "a=b c", "in (a)", "-a=b", "a=-b",
    ] {
        assert!(Selector::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_json_form_is_checked_with_the_path_of_what_is_wrong() {
    let at = |v| from_json(v).unwrap_err().at;
    assert_eq!(
        at(json!({"matchExpressions": [{"key": "a", "operator": "In"}]})),
        "matchExpressions[0].values"
    );
    assert_eq!(
        at(json!({"matchExpressions": [{"key": "a", "operator": "in"}]})),
        "matchExpressions[0].operator"
    );
    assert_eq!(at(json!({"matchLabels": {"a": "-"}})), "matchLabels[a]");
    let s = from_json(
        json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]}),
    );
    assert_eq!(s.unwrap().to_string(), "a=b,c");
}

#[test]
fn two_selectors_overlap_exactly_when_a_label_map_satisfies_both() {
    for (a, b, expected) in [
        ("a=b", "a=c", false),
        ("a=b", "c=d", true),
        ("a in (b,c)", "a in (c,d)", true),
        ("a in (b,c)", "a notin (b,c)", false),
        ("a", "!a", false),
        ("a", "z=1", true),
        ("a notin (b)", "a notin (c)", true),
        ("!a", "a!=b", true),
        ("", "a=b", true),
    ] {
        let (left, right) = (Selector::parse(a).unwrap(), Selector::parse(b).unwrap());
        assert_eq!(left.overlaps(&right), expected, "{a} with {b}");
        assert_eq!(right.overlaps(&left), expected, "{b} with {a}");
    }
}
