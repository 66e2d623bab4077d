//! Durations, sizes, money and shares: every amount has its unit.

use std::time::Duration;

use super::codes::{self, Code};
use super::node::{Node, Raw};
use super::print::Printed;
use super::read::{Field, Reader};
use super::shape::{Book, Shape};
use super::values::{Written, written};

/// A duration in the words of the config: `1h30m`, `500ms`.
pub fn duration_text(duration: Duration) -> String {
    let mut left = duration.as_millis();
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, ms) in UNITS.iter().rev() {
        if left / ms > 0 {
            text.push_str(&format!("{}{unit}", left / ms));
            left %= ms;
        }
    }
    text
}

const UNITS: [(&str, u128); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// Ten years: longer than anything a config says.
const LONGEST_MS: u128 = 10 * 366 * 86_400_000;

impl Written for Duration {
    const WHAT: &'static str = "a duration, like `500ms`, `10s`, `1h30m`, `1d` or `1w`";
    const PATTERN: Option<&'static str> = Some("^([0-9]+(ms|s|m|h|d|w))+$");
    const CODE: Code = codes::BAD_DURATION;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let wrong = || (format!("`{text}` is not a duration"), format!("write {}", Self::WHAT));
        let long = || (format!("`{text}` is too long"), "ten years are the most".to_owned());
        let mut total: u128 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
            let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
            rest = &rest[digits + letters..];
            if unit.is_empty() && rest.is_empty() && !number.is_empty() {
                let help = format!("write `{text}s` for seconds or `{text}m` for minutes");
                return Err((format!("`{text}` has no unit"), help));
            }
            let (_, ms) = UNITS.iter().find(|(u, _)| *u == unit).ok_or_else(wrong)?;
            if digits > 15 {
                return Err(long());
            }
            total += number.parse::<u128>().map_err(|_| wrong())? * ms;
            if total > LONGEST_MS {
                return Err(long());
            }
        }
        u64::try_from(total).map(Self::from_millis).map_err(|_| long())
    }

    fn write(&self) -> String {
        duration_text(*self)
    }

    fn blank() -> Self {
        Self::from_secs(1)
    }
}

impl Field for Duration {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Raw::Integer(_) | Raw::Float(_) = node.value {
            let number = reader.sources.text(node.at).to_owned();
            let what = format!("`{}` needs a unit", reader.key());
            let help = format!(
                "write `{} = \"{number}s\"` for seconds, `\"{number}m\"` for minutes",
                reader.key()
            );
            return reader.wrong(codes::NO_UNIT, node.at, what, help);
        }
        reader.written(node)
    }

    fn blank() -> Self {
        <Self as Written>::blank()
    }

    fn print(&self) -> Printed {
        Printed::Text(duration_text(*self))
    }

    fn shape(_: &mut Book) -> Shape {
        Shape::Text { what: <Self as Written>::WHAT, pattern: <Self as Written>::PATTERN }
    }
}

/// The memory of an instance, in MiB. `MB` and `GB` mean 1024 here, as every compute provider counts memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory(pub u32);

/// A number of bytes in storage. `KB`, `MB`, `GB`, `TB` mean 1000, `KiB`, `MiB`, `GiB`, `TiB` mean 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// Thousandths of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(pub u32);

/// An amount of money, in hundredths of its currency.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    /// Hundredths: cents.
    pub cents: u64,
    /// The currency's three letters, `USD`.
    pub currency: String,
}

/// A share, from 0 % to 100 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(pub u8);

/// `text` as its number in thousandths and the rest: `1.5GB` is 1500 and `GB`.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() > 15 || part.len() > 3 || number.ends_with('.') {
        return None;
    }
    let part: u64 = if part.is_empty() { 0 } else { format!("{part:0<3}").parse().ok()? };
    Some((whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part)?, unit.trim_start()))
}

/// Thousandths as text: 1500 is `1.5`.
fn thousandths(n: u64) -> String {
    let text = format!("{}.{:03}", n / 1000, n % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Written for Memory {
    const WHAT: &'static str = "an amount of memory, like `256MB` or `1GB` (1024 MB are a GB)";
    const PATTERN: Option<&'static str> = Some(r"^[0-9]+(\.[0-9]{1,3})? ?(MB|GB|MiB|GiB)$");
    const CODE: Code = codes::BAD_SIZE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let wrong = || {
            (format!("`{text}` is not an amount of memory"), "write `256MB` or `1GB`".to_owned())
        };
        let (n, unit) = number(text).ok_or_else(wrong)?;
        let unit = match unit {
            "MB" | "MiB" => 1,
            "GB" | "GiB" => 1024,
            "" => {
                let help = format!("write `{text}MB` or `{text}GB`");
                return Err((format!("`{text}` has no unit"), help));
            }
            _ => return Err(wrong()),
        };
        let mb = n.checked_mul(unit).filter(|n| n % 1000 == 0).ok_or_else(wrong)? / 1000;
        let help = "memory goes from 1MB to 1024GB".to_owned();
        let fits = u32::try_from(mb).ok().filter(|mb| (1..=1 << 20).contains(mb));
        fits.map(Self).ok_or_else(|| (format!("`{text}` is out of range"), help))
    }

    fn write(&self) -> String {
        if self.0.is_multiple_of(1024) {
            format!("{}GB", self.0 / 1024)
        } else {
            format!("{}MB", self.0)
        }
    }

    fn blank() -> Self {
        Self(256)
    }
}

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl Written for Bytes {
    const WHAT: &'static str = "a size, like `10GB` (GB is 1000 MB, GiB is 1024 MiB)";
    const PATTERN: Option<&'static str> =
        Some(r"^[0-9]+(\.[0-9]{1,3})? ?(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$");
    const CODE: Code = codes::BAD_SIZE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let wrong = || (format!("`{text}` is not a size"), format!("write {}", Self::WHAT));
        let (n, unit) = number(text).ok_or_else(wrong)?;
        if unit.is_empty() {
            let help = format!("write `{text}B`, `{text}MB` or `{text}GB`");
            return Err((format!("`{text}` has no unit"), help));
        }
        let (_, size) = SIZES.iter().find(|(u, _)| *u == unit).ok_or_else(wrong)?;
        let bytes = u128::from(n) * u128::from(*size) / 1000;
        u64::try_from(bytes).map(Self).map_err(|_| wrong())
    }

    fn write(&self) -> String {
        let fits = |(_, size): &&(&str, u64)| self.0 >= *size && self.0.is_multiple_of(*size);
        match SIZES.iter().find(fits) {
            Some((unit, size)) => format!("{}{unit}", self.0 / size),
            None => "0B".to_owned(),
        }
    }

    fn blank() -> Self {
        Self(1)
    }
}

impl Written for Cpu {
    const WHAT: &'static str = "a number of CPUs, like `0.25` or `2`";
    const PATTERN: Option<&'static str> = Some(r"^[0-9]+(\.[0-9]{1,3})?$");
    const CODE: Code = codes::BAD_SIZE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let help = || "write `0.25` for a quarter of a CPU; 0.01 to 256 are possible".to_owned();
        let milli = number(text).filter(|(_, unit)| unit.is_empty()).map(|(n, _)| n);
        let fits = milli.and_then(|n| u32::try_from(n).ok()).filter(|n| (10..=256_000).contains(n));
        fits.map(Self).ok_or_else(|| (format!("`{text}` is not a number of CPUs"), help()))
    }

    fn write(&self) -> String {
        thousandths(u64::from(self.0))
    }

    fn blank() -> Self {
        Self(250)
    }
}

impl Field for Cpu {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let number = match &node.value {
            Raw::Integer(Some(n)) => n.to_string(),
            Raw::Float(n) => n.clone(),
            _ => return reader.written(node),
        };
        match Self::parse(&number) {
            Ok(cpu) => Some(cpu),
            Err((what, help)) => reader.wrong(Self::CODE, node.at, what, help),
        }
    }

    fn blank() -> Self {
        <Self as Written>::blank()
    }

    fn print(&self) -> Printed {
        Printed::Text(Written::write(self))
    }

    fn shape(_: &mut Book) -> Shape {
        let text = Shape::Text { what: Self::WHAT, pattern: Self::PATTERN };
        Shape::Any(vec![text, Shape::Number])
    }
}

impl Written for Money {
    const WHAT: &'static str = "an amount of money, like `5 USD`";
    const PATTERN: Option<&'static str> = Some(r"^[0-9]+(\.[0-9]{1,2})? ?[A-Z]{3}$");
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let wrong = || (format!("`{text}` is not an amount of money"), "write `5 USD`".to_owned());
        let (n, currency) = number(text).ok_or_else(wrong)?;
        if n % 10 != 0 || currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(wrong());
        }
        Ok(Self { cents: n / 10, currency: currency.to_owned() })
    }

    fn write(&self) -> String {
        format!("{} {}", thousandths(self.cents.saturating_mul(10)), self.currency)
    }

    fn blank() -> Self {
        Self { cents: 0, currency: "USD".to_owned() }
    }
}

impl Written for Percent {
    const WHAT: &'static str = "a share, like `80%`";
    const PATTERN: Option<&'static str> = Some("^[0-9]{1,3}%$");
    const CODE: Code = codes::BAD_VALUE;

    fn parse(text: &str) -> Result<Self, (String, String)> {
        let n = text.strip_suffix('%').and_then(|n| n.parse().ok()).filter(|n| *n <= 100);
        let wrong =
            || (format!("`{text}` is not a share"), "write `80%`; 100% is the most".to_owned());
        n.map(Self).ok_or_else(wrong)
    }

    fn write(&self) -> String {
        format!("{}%", self.0)
    }

    fn blank() -> Self {
        Self(100)
    }
}

written!(Memory, Bytes, Money, Percent);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: Written>(text: &str, expected: &str) {
        let said = match T::parse(text) {
            Ok(value) => value.write(),
            Err((what, help)) => format!("{what}; {help}"),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn durations_add_their_units_up() {
        check::<Duration>("90m", "1h30m");
        check::<Duration>("2h30m", "2h30m");
        check::<Duration>("1500ms", "1s500ms");
        check::<Duration>("7d", "1w");
        check::<Duration>("10", "`10` has no unit; write `10s` for seconds or `10m` for minutes");
        check::<Duration>("1000000w", "`1000000w` is too long; ten years are the most");
        let help = "write a duration, like `500ms`, `10s`, `1h30m`, `1d` or `1w`";
        check::<Duration>("ten", &format!("`ten` is not a duration; {help}"));
        check::<Duration>("-1s", &format!("`-1s` is not a duration; {help}"));
    }

    #[test]
    fn memory_counts_in_1024_and_storage_in_1000_or_1024_as_written() {
        check::<Memory>("2048MB", "2GB");
        check::<Memory>("0.5GB", "512MB");
        check::<Memory>("256", "`256` has no unit; write `256MB` or `256GB`");
        check::<Bytes>("10GB", "10GB");
        check::<Bytes>("1.5KB", "1500B");
        check::<Bytes>("1024KiB", "1MiB");
        assert_eq!(Bytes::parse("1GB"), Ok(Bytes(1_000_000_000)));
        assert_eq!(Bytes::parse("1GiB"), Ok(Bytes(1 << 30)));
    }

    #[test]
    fn cpus_money_and_shares_are_exact() {
        check::<Cpu>("0.25", "0.25");
        check::<Cpu>("2", "2");
        check::<Cpu>(
            "0",
            "`0` is not a number of CPUs; write `0.25` for a quarter of a CPU; 0.01 to 256 are possible",
        );
        check::<Money>("5 USD", "5 USD");
        check::<Money>("4.50EUR", "4.5 EUR");
        check::<Money>("5", "`5` is not an amount of money; write `5 USD`");
        check::<Percent>("80%", "80%");
        check::<Percent>("120%", "`120%` is not a share; write `80%`; 100% is the most");
    }
}
