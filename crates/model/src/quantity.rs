//! Kubernetes quantities, exact to the nano, printed in the canonical form.
use std::cmp::Ordering;
use std::fmt;

const NANO: i128 = 1_000_000_000;
/// Far above what Kubernetes can hold, far below where sums could overflow.
const LIMIT: i128 = i128::MAX / 1_000_000;

/// An amount and the family of suffixes it is printed with.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `m`, none, `k`, `M`, ...
    DecimalSi,
    /// `Ki`, `Mi`, ...
    BinarySi,
    /// `e3`, `e6`, ...
    DecimalExponent,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error(
        "{0:?} is no quantity: want a number with one of the suffixes n u m k M G T P E Ki Mi Gi Ti Pi Ei"
    )]
    Malformed(String),
    #[error("quantity {0:?} is out of range")]
    OutOfRange(String),
}

impl Quantity {
    pub const ZERO: Quantity = Quantity {
        nano: 0,
        format: Format::DecimalSi,
    };

    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let malformed = || QuantityError::Malformed(clip(text));
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let digits_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(digits_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(malformed());
        }
        let (format, scale) = suffix_scale(suffix).ok_or_else(malformed)?;
        let magnitude =
            scaled(whole, fraction, scale).ok_or_else(|| QuantityError::OutOfRange(clip(text)))?;
        Ok(Self {
            nano: if negative { -magnitude } else { magnitude },
            format,
        })
    }

    pub fn from_milli(milli: i128, format: Format) -> Self {
        Self {
            nano: milli.clamp(-LIMIT / NANO, LIMIT / NANO) * (NANO / 1000),
            format,
        }
    }

    pub fn from_whole(whole: i64, format: Format) -> Self {
        Self {
            nano: i128::from(whole) * NANO,
            format,
        }
    }

    /// Rounded up, as Kubernetes does.
    pub fn milli(self) -> i128 {
        div_ceil(self.nano, NANO / 1000)
    }

    pub fn is_negative(self) -> bool {
        self.nano < 0
    }

    pub fn is_zero(self) -> bool {
        self.nano == 0
    }

    /// Keeps the format of `self`, unless `self` is zero.
    pub fn plus(self, other: Quantity) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self {
            nano: self.nano.saturating_add(other.nano).clamp(-LIMIT, LIMIT),
            format,
        }
    }

    pub fn minus(self, other: Quantity) -> Self {
        self.plus(Self {
            nano: -other.nano,
            ..other
        })
    }

    pub fn negated(self) -> Self {
        Self {
            nano: -self.nano,
            ..self
        }
    }

    pub fn format(self) -> Format {
        self.format
    }

    #[must_use]
    pub fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }
}

/// Amounts are compared, not formats.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

/// The canonical text: no fraction, the largest suffix that needs none.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let small = self.nano.abs() < 1024 * NANO;
        if self.format == Format::BinarySi && !small && self.nano % NANO == 0 {
            let mut number = self.nano / NANO;
            let mut suffix = 0;
            while number % 1024 == 0 && suffix < 6 {
                number /= 1024;
                suffix += 1;
            }
            return write!(f, "{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][suffix]);
        }
        let mut number = self.nano;
        let mut step = 0;
        while number % 1000 == 0 && step < 9 {
            number /= 1000;
            step += 1;
        }
        if self.format == Format::DecimalExponent && step != 3 {
            return write!(f, "{number}e{}", (step as i32 - 3) * 3);
        }
        write!(
            f,
            "{number}{}",
            ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][step]
        )
    }
}

enum Scale {
    /// Times ten to this power.
    Ten(i32),
    /// Times 1024 to this power.
    Binary(u32),
}

fn suffix_scale(suffix: &str) -> Option<(Format, Scale)> {
    let decimal = |power| Some((Format::DecimalSi, Scale::Ten(power)));
    let binary = |power| Some((Format::BinarySi, Scale::Binary(power)));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let power = suffix.strip_prefix(['e', 'E'])?;
            let power: i32 = power.parse().ok().filter(|_| !power.is_empty())?;
            Some((Format::DecimalExponent, Scale::Ten(power)))
        }
    }
}

/// `whole.fraction` times `scale`, in nanos, rounded up; `None` when out of range.
fn scaled(whole: &str, fraction: &str, scale: Scale) -> Option<i128> {
    let whole = whole.trim_start_matches('0');
    // More digits than these cannot change a nano once rounded up.
    let fraction = &fraction[..fraction.len().min(24)];
    let text = format!("{whole}{fraction}");
    let mut amount: i128 = if text.is_empty() { 0 } else { text.parse().ok()? };
    let mut power = -(fraction.len() as i32) + 9;
    match scale {
        Scale::Ten(more) => power = power.checked_add(more)?,
        Scale::Binary(times) => amount = amount.checked_mul(1024i128.pow(times))?,
    }
    if amount == 0 {
        return Some(0);
    }
    let amount = match u32::try_from(power) {
        Ok(power) => amount.checked_mul(10i128.checked_pow(power)?)?,
        Err(_) => 10i128
            .checked_pow(power.unsigned_abs())
            .map_or(1, |d| div_ceil(amount, d)),
    };
    (amount <= LIMIT).then_some(amount)
}

fn div_ceil(a: i128, b: i128) -> i128 {
    a.div_euclid(b) + i128::from(a.rem_euclid(b) != 0)
}

fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(64)].to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn quantities_print_in_the_canonical_form() {
        for (given, canonical) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0", "0"),
            ("0Gi", "0"),
            ("100", "100"),
            ("1000", "1k"),
            ("1023", "1023"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("1E", "1E"),
            ("12e6", "12e6"),
            ("0.1Mi", "104857600m"),
            ("-2", "-2"),
            ("0.0000000001", "1n"),
        ] {
            assert_eq!(Quantity::parse(given).unwrap().to_string(), canonical, "{given}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_an_error() {
        for bad in [
            "",
            "m",
            "1.2.3",
            "1K",
            "1 ",
            "--1",
            "1e",
            "1mi",
            "1e99999999999",
            "é",
        ] {
            assert!(Quantity::parse(bad).is_err(), "{bad}");
        }
        assert!(Quantity::parse(&"9".repeat(400)).is_err());
    }
}
