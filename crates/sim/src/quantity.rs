//! Resource quantities, as far as scheduling needs them.

/// `500m`, `2`, `1Gi`, `1e3` in thousandths; nothing for what cannot be read.
pub(crate) fn milli(text: &str) -> Option<i128> {
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let factor: f64 = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "Pi" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let value = number * factor * 1000.0;
    // Rounded up, as quantities are; bounded, so that the cast says what it means.
    (value.is_finite() && value.abs() < 1e30).then(|| value.ceil() as i128)
}

#[cfg(test)]
mod tests {
    #[test]
    fn quantities_are_read() {
        assert_eq!(super::milli("500m"), Some(500));
        assert_eq!(super::milli("2"), Some(2000));
        assert_eq!(super::milli("1Ki"), Some(1_024_000));
        assert_eq!(super::milli("1e3"), Some(1_000_000));
        assert_eq!(super::milli("x"), None);
    }
}
