//! Numbers and text: reading the number that a text begins with, printing doubles as MySQL does, rounding.

/// A number read from the beginning of a text.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Prefix<T> {
    /// The number; 0 if there is none.
    pub value: T,
    /// Bytes that it took, spaces before it included.
    pub used: usize,
    /// There was a number.
    pub found: bool,
    /// It was too large for its kind, and is the largest.
    pub clipped: bool,
}

impl<T> Prefix<T> {
    /// Whether anything but spaces follows, or nothing was a number.
    pub fn truncated(&self, bytes: &[u8]) -> bool {
        !self.found || !bytes[self.used..].trim_ascii_end().is_empty()
    }
}

/// Reads the double that bytes begin with.
pub fn parse_f64(bytes: &[u8]) -> Prefix<f64> {
    let start = bytes.len() - bytes.trim_ascii_start().len();
    let rest = &bytes[start..];
    let mut at = usize::from(matches!(rest.first(), Some(b'-' | b'+')));
    let digits = |from: usize| rest[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(at);
    at += whole;
    let mut places = 0;
    if rest.get(at) == Some(&b'.') {
        places = digits(at + 1);
        if whole + places > 0 {
            at += 1 + places;
        }
    }
    if whole + places == 0 {
        return Prefix { value: 0.0, used: 0, found: false, clipped: false };
    }
    if let Some(b'e' | b'E') = rest.get(at) {
        let sign = usize::from(matches!(rest.get(at + 1), Some(b'-' | b'+')));
        let exponent = if at + 1 + sign <= rest.len() { digits(at + 1 + sign) } else { 0 };
        if exponent > 0 {
            at += 1 + sign + exponent;
        }
    }
    let text = std::str::from_utf8(&rest[..at]).unwrap_or("0");
    let value: f64 = text.parse().unwrap_or(0.0);
    // Infinity is no value in SQL: clip as MySQL does.
    Prefix {
        value: value.clamp(f64::MIN, f64::MAX),
        used: start + at,
        found: true,
        clipped: value.is_infinite(),
    }
}

/// Reads the integer that bytes begin with; saturating.
pub fn parse_int(bytes: &[u8]) -> Prefix<i128> {
    let start = bytes.len() - bytes.trim_ascii_start().len();
    let rest = &bytes[start..];
    let negative = rest.first() == Some(&b'-');
    let sign = usize::from(matches!(rest.first(), Some(b'-' | b'+')));
    let count = rest[sign..].iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 {
        return Prefix { value: 0, used: 0, found: false, clipped: false };
    }
    let magnitude = rest[sign..sign + count]
        .iter()
        .fold(0i128, |n, b| n.saturating_mul(10).saturating_add(i128::from(b - b'0')));
    let value = if negative { -magnitude } else { magnitude };
    Prefix { value, used: start + sign + count, found: true, clipped: magnitude == i128::MAX }
}

/// Appends a double in the shortest form that reads back: plain between 1e-15 and 1e15, else with an exponent.
pub fn write_f64(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        // No expression makes one; stored bytes might.
        out.extend_from_slice(if value.is_nan() { b"NULL" } else { b"inf" });
        return;
    }
    if value == value.trunc() && value.abs() < 1e15 {
        // Keeps the sign of -0, as MySQL does.
        if value == 0.0 && value.is_sign_negative() {
            out.push(b'-');
        }
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
        return;
    }
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format_finite(value.abs());
    write_digits(value < 0.0, shortest, out);
}

/// Appends a float: six significant digits at most.
pub fn write_f32(value: f32, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return write_f64(value.into(), out);
    }
    if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
        return;
    }
    let six = format!("{:.5e}", value.abs());
    write_digits(value < 0.0, &six, out);
}

/// Lays the digits of `d.ddde±x` (or plain `ddd.ddd`) out in MySQL's form.
fn write_digits(negative: bool, shortest: &str, out: &mut Vec<u8>) {
    let (mantissa, exponent) = match shortest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().unwrap_or(0)),
        None => (shortest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let leading = all.iter().take_while(|b| **b == b'0').count();
    let mut point = whole.len() as i32 + exponent - leading as i32;
    let mut digits = &all[leading..];
    while let [head @ .., b'0'] = digits {
        digits = head;
    }
    if digits.is_empty() {
        digits = b"0";
        point = 1;
    }
    if negative {
        out.push(b'-');
    }
    let count = digits.len() as i32;
    if !(-14..=15).contains(&point) {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.push(b'e');
        out.extend_from_slice(itoa::Buffer::new().format(point - 1).as_bytes());
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', -point as usize));
        out.extend_from_slice(digits);
    } else if count <= point {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', (point - count) as usize));
    } else {
        out.extend_from_slice(&digits[..point as usize]);
        out.push(b'.');
        out.extend_from_slice(&digits[point as usize..]);
    }
}

/// Appends a double with exactly so many places.
pub fn write_fixed(value: f64, places: u8, out: &mut Vec<u8>) {
    use std::io::Write;
    let places = usize::from(places.min(30));
    // Writing to a vector cannot fail.
    let _ = write!(out, "{value:.places$}");
}

/// Rounds a double to so many places (tens, hundreds … if negative), or truncates it.
pub fn round_f64(value: f64, places: i64, truncate: bool) -> f64 {
    let power = 10f64.powi(places.unsigned_abs().min(400) as i32);
    let whole = |x: f64| if truncate { x.trunc() } else { x.round_ties_even() };
    if places < 0 {
        if power.is_infinite() {
            return 0.0;
        }
        return whole(value / power) * power;
    }
    let scaled = value * power;
    if !scaled.is_finite() {
        return value;
    }
    whole(scaled) / power
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(value: f64) -> String {
        let mut out = vec![];
        write_f64(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_print_as_mysql_prints_them() {
        for (value, expected) in [
            (1e14, "100000000000000"),
            (1e15, "1e15"),
            (123456789012345678.0, "1.2345678901234568e17"),
            (0.1, "0.1"),
            (1e-15, "0.000000000000001"),
            (1.5e-16, "1.5e-16"),
            (-2.5, "-2.5"),
            (1e300, "1e300"),
            (123456.789e3, "123456789"),
            (0.0, "0"),
            (-0.0, "-0"),
        ] {
            assert_eq!(show(value), expected);
        }
        let mut out = vec![];
        write_f32(16_777_216.0, &mut out);
        out.push(b' ');
        write_f32(0.1, &mut out);
        assert_eq!(out, b"16777200 0.1");
    }

    #[test]
    fn the_number_at_the_beginning_counts() {
        let text = b" 10abc";
        let number = parse_f64(text);
        assert_eq!((number.value, number.truncated(text)), (10.0, true));
        assert_eq!(parse_f64(b"1e5 ").value, 1e5);
        assert_eq!(parse_f64(b".5e").used, 2);
        assert!(!parse_f64(b"-").found);
        assert_eq!(parse_f64(b"1e999").value, f64::MAX);
        assert_eq!(parse_int(b"-12.7").value, -12);
    }

    proptest! {
        #[test]
        fn shortest_form_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                prop_assert_eq!(show(value).parse::<f64>().unwrap(), value);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let number = parse_f64(&bytes);
            let _ = number.truncated(&bytes);
            let number = parse_int(&bytes);
            let _ = number.truncated(&bytes);
        }
    }
}
