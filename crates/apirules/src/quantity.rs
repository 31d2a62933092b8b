//! Kubernetes quantities: exact, in billionths.

use std::cmp::Ordering;

const NANO: i128 = 1_000_000_000;

/// A parsed quantity. Finer digits than 1e-9 are rounded up, as Kubernetes does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.nanos.cmp(&other.nanos))
    }
}

impl Quantity {
    pub const ZERO: Quantity = Quantity {
        nanos: 0,
        format: Format::Decimal,
    };

    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (digits, suffix) = rest.split_at(end);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || digits.len() > 60 {
            return None;
        }
        let (multiplier, divisor, format) = scale(suffix)?;
        let mut value: i128 = format!("{whole}{fraction}").parse().ok()?;
        let mut below = i128::from(10_u8).checked_pow(u32::try_from(fraction.len()).ok()?)?;
        value = value.checked_mul(multiplier)?.checked_mul(NANO)?;
        below = below.checked_mul(divisor)?;
        let mut nanos = value / below;
        if value % below != 0 {
            nanos += 1;
        }
        Some(Self {
            nanos: if negative { -nanos } else { nanos },
            format,
        })
    }

    pub fn from_int(value: i64) -> Self {
        Self {
            nanos: i128::from(value) * NANO,
            format: Format::Decimal,
        }
    }

    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    pub fn plus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self {
            nanos: self.nanos.saturating_add(other.nanos),
            format,
        }
    }

    pub fn minus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self {
            nanos: self.nanos.saturating_sub(other.nanos),
            format,
        }
    }

    pub fn max(self, other: Self) -> Self {
        if other.nanos > self.nanos { other } else { self }
    }

    /// Thousandths, rounded up.
    pub fn milli(self) -> i128 {
        self.nanos.div_euclid(1_000_000) + i128::from(self.nanos.rem_euclid(1_000_000) != 0)
    }

    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == Format::Binary && self.nanos % NANO == 0 && (self.nanos / NANO).abs() >= 1024 {
            let mut value = self.nanos / NANO;
            let mut index = 0;
            while value % 1024 == 0 && index < BINARY.len() - 1 {
                value /= 1024;
                index += 1;
            }
            return write!(f, "{value}{}", BINARY[index]);
        }
        let mut value = self.nanos;
        let mut index = 0;
        while value % 1000 == 0 && index < DECIMAL.len() - 1 {
            value /= 1000;
            index += 1;
        }
        if self.format == Format::Exponent {
            let power = (i32::try_from(index).unwrap_or(0) - 3) * 3;
            return if power == 0 {
                write!(f, "{value}")
            } else {
                write!(f, "{value}e{power}")
            };
        }
        write!(f, "{value}{}", DECIMAL[index])
    }
}

const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

fn scale(suffix: &str) -> Option<(i128, i128, Format)> {
    if let Some(power) = BINARY.iter().position(|s| *s == suffix).filter(|p| *p > 0) {
        return Some((1_i128 << (10 * power), 1, Format::Binary));
    }
    if let Some(index) = DECIMAL.iter().position(|s| *s == suffix) {
        let power = i32::try_from(index).ok()? - 3;
        return Some(ten_to(power * 3, Format::Decimal));
    }
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-30..=18)
        .contains(&power)
        .then(|| ten_to(power, Format::Exponent))
}

fn ten_to(power: i32, format: Format) -> (i128, i128, Format) {
    let value = 10_i128.pow(power.unsigned_abs());
    if power >= 0 {
        (value, 1, format)
    } else {
        (1, value, format)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Quantity;

    #[test]
    fn quantities_print_in_their_canonical_form() {
        for (given, shown) in [
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1e3"),
            ("12000", "12k"),
            ("0", "0"),
            ("-1", "-1"),
        ] {
            assert_eq!(Quantity::parse(given).unwrap().to_string(), shown, "{given}");
        }
        for bad in ["", "x", "1x", ".", "1..2", "1 Gi", "--1"] {
            assert!(Quantity::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn quantities_of_different_forms_compare_by_value() {
        let parse = |s| Quantity::parse(s).unwrap();
        assert!(parse("1Gi") > parse("1G"));
        assert_eq!(parse("1").minus(parse("1000m")).to_string(), "0");
        assert_eq!(parse("100Mi").plus(parse("28Mi")).to_string(), "128Mi");
    }
}
