//! Counts or percentages of a rolling update.
use serde_json::Value;

/// A count, or a percentage of `total`, rounded up or down.
pub(super) fn resolve(value: &Value, default: &str, total: usize, up: bool) -> usize {
    let of_text = |text: &str| -> Option<usize> {
        match text.strip_suffix('%') {
            Some(percent) => {
                let parts = percent.parse::<usize>().ok()?.saturating_mul(total);
                Some(if up { parts.div_ceil(100) } else { parts / 100 })
            }
            None => text.parse().ok(),
        }
    };
    if let Some(count) = value.as_u64() {
        return usize::try_from(count).unwrap_or(usize::MAX);
    }
    of_text(value.as_str().unwrap_or(default)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::resolve;
    use serde_json::json;

    #[test]
    fn percentages_round_as_asked() {
        assert_eq!(resolve(&json!("25%"), "", 10, true), 3);
        assert_eq!(resolve(&json!("25%"), "", 10, false), 2);
        assert_eq!(resolve(&json!(null), "25%", 4, true), 1);
        assert_eq!(resolve(&json!(7), "", 4, true), 7);
    }
}
