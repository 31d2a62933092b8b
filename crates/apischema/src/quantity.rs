//! Kubernetes quantities (`100m`, `1.5Gi`, `1e3`), exact: nano units in 128-bit integers, no floats.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
/// Larger numbers are capped, as Kubernetes does.
const LIMIT: i128 = (i64::MAX as i128) * NANO;

/// Decimal suffixes by power of ten.
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// Binary suffixes by power of 1024.
const BINARY: [(&str, u32); 6] = [("Ki", 1), ("Mi", 2), ("Gi", 3), ("Ti", 4), ("Pi", 5), ("Ei", 6)];

/// How a quantity was written, and is written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

/// An exact amount with its notation. Compares by amount alone.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Worded as Kubernetes words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Form,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The canonical form of a quantity: `1000m` is `1`, `1024Mi` is `1Gi`.
pub fn canonical(text: &str) -> Result<String, QuantityError> {
    text.parse::<Quantity>().map(|q| q.to_string())
}

impl Quantity {
    pub const ZERO: Quantity = Quantity {
        nanos: 0,
        format: Format::DecimalSi,
    };

    pub fn from_units(units: i64, format: Format) -> Self {
        Self {
            nanos: i128::from(units) * NANO,
            format,
        }
    }

    pub fn from_millis(millis: i64, format: Format) -> Self {
        Self {
            nanos: i128::from(millis) * 1_000_000,
            format,
        }
    }

    pub fn format(self) -> Format {
        self.format
    }

    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Billionths.
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// Whole units, rounded away from zero.
    pub fn value(self) -> i64 {
        i64::try_from(divide_away_from_zero(self.nanos, NANO)).unwrap_or(i64::MAX)
    }

    /// Thousandths, rounded away from zero.
    pub fn millis(self) -> i64 {
        i64::try_from(divide_away_from_zero(self.nanos, 1_000_000)).unwrap_or(i64::MAX)
    }

    #[must_use]
    pub fn rounded_up_to_millis(self) -> Self {
        let nanos = divide_away_from_zero(self.nanos, 1_000_000).saturating_mul(1_000_000);
        Self {
            nanos,
            format: self.format,
        }
    }

    /// Keeps this notation; a zero takes the other's.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, self.nanos.saturating_add(other.nanos))
    }

    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.with(other, self.nanos.saturating_sub(other.nanos))
    }

    fn with(self, other: Self, nanos: i128) -> Self {
        let format = if self.nanos == 0 {
            other.format
        } else {
            self.format
        };
        Self {
            nanos: nanos.clamp(-LIMIT, LIMIT),
            format,
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
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
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, digits, suffix) = split(text)?;
        let (scale, format) = scale_of(suffix)?;
        let magnitude = match scale {
            Scale::Ten(power) => decimal_nanos(digits, power)?,
            Scale::KibiPower(power) => binary_nanos(digits, power)?,
        };
        let capped = magnitude.min(LIMIT);
        // What is below 1 in a binary notation is written in a decimal one, as Kubernetes does.
        let format = match format {
            Format::BinarySi if capped % NANO != 0 => Format::DecimalSi,
            other => other,
        };
        Ok(Self {
            nanos: if negative { -capped } else { capped },
            format,
        })
    }
}

enum Scale {
    Ten(i32),
    KibiPower(u32),
}

fn split(text: &str) -> Result<(bool, &str, &str), QuantityError> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
        None => return Err(QuantityError::Form),
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (digits, suffix) = rest.split_at(end);
    let dots = digits.bytes().filter(|b| *b == b'.').count();
    if dots > 1 || digits.len() == dots {
        return Err(QuantityError::Form);
    }
    let known = |c: char| c.is_ascii_digit() || "eEinumkKMGTP+-".contains(c);
    if suffix.chars().all(known) {
        Ok((negative, digits, suffix))
    } else {
        Err(QuantityError::Form)
    }
}

fn scale_of(suffix: &str) -> Result<(Scale, Format), QuantityError> {
    if let Some((_, power)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Ok((Scale::Ten(*power), Format::DecimalSi));
    }
    if let Some((_, power)) = BINARY.iter().find(|(s, _)| *s == suffix) {
        return Ok((Scale::KibiPower(*power), Format::BinarySi));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
    let power = exponent.parse::<i32>().map_err(|_| QuantityError::Suffix)?;
    Ok((Scale::Ten(power), Format::DecimalExponent))
}

/// `digits * 10^power` in nanos, rounded up.
fn decimal_nanos(digits: &str, power: i32) -> Result<i128, QuantityError> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all = format!("{whole}{fraction}");
    let all = all.trim_start_matches('0');
    if all.is_empty() {
        return Ok(0);
    }
    let fraction_digits = i32::try_from(fraction.len()).map_err(|_| QuantityError::Form)?;
    let shift = power.saturating_add(9).saturating_sub(fraction_digits);
    let length = i32::try_from(all.len()).map_err(|_| QuantityError::Form)?;
    if length.saturating_add(shift) > 30 {
        return Ok(LIMIT);
    }
    if length.saturating_add(shift) < 1 {
        return Ok(1);
    }
    if shift >= 0 {
        let value: i128 = all.parse().map_err(|_| QuantityError::Form)?;
        let factor = 10i128.pow(u32::try_from(shift).unwrap_or(0));
        return Ok(value.saturating_mul(factor));
    }
    let cut = all.len() - usize::try_from(-shift).unwrap_or(0);
    let kept: i128 = all[..cut].parse().map_err(|_| QuantityError::Form)?;
    let rest = all[cut..].bytes().any(|b| b != b'0');
    Ok(kept + i128::from(rest))
}

fn binary_nanos(digits: &str, power: u32) -> Result<i128, QuantityError> {
    // 18 decimal places before scaling are more than any notation of nanos needs.
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    if whole.len() > 19 {
        return Ok(LIMIT);
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| QuantityError::Form)?
    };
    let factor = 1024i128.pow(power);
    let integral = whole.saturating_mul(factor).saturating_mul(NANO);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        return Ok(integral);
    }
    let places = fraction.len().min(9);
    let part: i128 = fraction[..places].parse().map_err(|_| QuantityError::Form)?;
    let unit = 10i128.pow(u32::try_from(places).unwrap_or(0));
    let scaled = part.saturating_mul(factor).saturating_mul(NANO / unit);
    Ok(integral.saturating_add(scaled))
}

fn divide_away_from_zero(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 {
        quotient
    } else {
        quotient + value.signum()
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        match self.format {
            Format::BinarySi if self.nanos.abs() >= 1024 * NANO && self.nanos % NANO == 0 => {
                self.write_binary(f)
            }
            Format::DecimalExponent => self.write_exponent(f),
            _ => self.write_decimal(f),
        }
    }
}

impl Quantity {
    fn write_binary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.nanos / NANO;
        let mut power = 0;
        while value % 1024 == 0 && power < BINARY.len() {
            value /= 1024;
            power += 1;
        }
        let suffix = if power == 0 { "" } else { BINARY[power - 1].0 };
        write!(f, "{value}{suffix}")
    }

    fn write_decimal(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, thousands) = self.thousands();
        write!(f, "{value}{}", DECIMAL[thousands].0)
    }

    fn write_exponent(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, thousands) = self.thousands();
        match DECIMAL[thousands].1 {
            0 => write!(f, "{value}"),
            power => write!(f, "{value}e{power}"),
        }
    }

    /// The shortest integer and the power of 1000 it is to be multiplied by, as an index of `DECIMAL`.
    fn thousands(&self) -> (i128, usize) {
        let (mut value, mut power) = (self.nanos, 0);
        while value % 1000 == 0 && power + 1 < DECIMAL.len() {
            value /= 1000;
            power += 1;
        }
        (value, power)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn canonical_forms_are_those_of_kubernetes() {
        for (from, to) in [
            ("0", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("100n", "100n"),
            ("1024", "1024"),
            ("1000", "1k"),
            ("1500k", "1500k"),
            ("0.1Ki", "102400m"),
            ("100Ki", "100Ki"),
            ("0.0000000001", "1n"),
            ("12345678901234", "12345678901234"),
            ("-5", "-5"),
            ("+7", "7"),
            ("1E", "1E"),
            ("3000000000000000000000", "9223372036854775807"),
            (".5", "500m"),
            ("5.", "5"),
        ] {
            assert_eq!(canonical(from).unwrap(), to, "{from}");
        }
    }

    #[test]
    fn bad_quantities_are_refused_in_kubernetes_words() {
        for text in ["", "x", "1x", ".", "1.2.3", " 1", "1 "] {
            assert_eq!(canonical(text), Err(QuantityError::Form), "{text}");
        }
        for text in ["1Kii", "1mm", "1e", "1ee"] {
            assert_eq!(canonical(text), Err(QuantityError::Suffix), "{text}");
        }
    }

    #[test]
    fn amounts_compare_and_add_across_notations() {
        let gi: Quantity = "1Gi".parse().unwrap();
        let g: Quantity = "1G".parse().unwrap();
        assert!(gi > g);
        assert_eq!(gi.plus("512Mi".parse().unwrap()).to_string(), "1536Mi");
        assert_eq!(
            "250m"
                .parse::<Quantity>()
                .unwrap()
                .plus("750m".parse().unwrap())
                .to_string(),
            "1"
        );
        assert_eq!("1m".parse::<Quantity>().unwrap().value(), 1);
    }
}
