//! DECIMAL(65,30): exact decimal numbers.
//!
//! A number is an integer and the count of digits behind its point. Nearly all of them fit 128 bits; the rest
//! go to arbitrary precision. Intermediate results may carry more places than their type shows: division
//! works in groups of nine digits as MySQL's does, so that `1 / 3 * 3` is 1.

use num_bigint::{BigInt, Sign};
use std::cmp::Ordering;
use std::fmt;

/// An exact decimal number. Equality is of representation (1.5 differs from 1.50); [`Decimal::compare`] is
/// that of numbers.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Decimal {
    /// The number without its point.
    unscaled: Unscaled,
    /// Digits after the point.
    scale: u8,
}

/// Always `Small` if it fits, so that equality can be derived.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
enum Unscaled {
    Small(i128),
    Big(Box<BigInt>),
}
use Unscaled::{Big, Small};

const POW10: [i128; 39] = {
    let mut table = [1i128; 39];
    let mut i = 1;
    while i < 39 {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

fn pow10(exponent: usize) -> BigInt {
    BigInt::from(10).pow(exponent as u32)
}

fn shrink(big: BigInt) -> Unscaled {
    match i128::try_from(&big) {
        Ok(small) => Small(small),
        Err(_) => Big(Box::new(big)),
    }
}

impl Decimal {
    /// Most digits of a DECIMAL type.
    pub const MAX_PRECISION: u8 = 65;
    /// Most digits behind the point of a DECIMAL type.
    pub const MAX_SCALE: u8 = 30;
    /// Most places that an intermediate result keeps.
    const MAX_PLACES: u8 = 72;
    /// Zero.
    pub const ZERO: Decimal = Decimal { unscaled: Small(0), scale: 0 };

    /// `unscaled / 10^scale`.
    pub const fn new(unscaled: i128, scale: u8) -> Self {
        Decimal { unscaled: Small(unscaled), scale }
    }

    fn of_big(unscaled: BigInt, scale: u8) -> Self {
        Decimal { unscaled: shrink(unscaled), scale }
    }

    fn big(&self) -> BigInt {
        match &self.unscaled {
            Small(small) => BigInt::from(*small),
            Big(big) => (**big).clone(),
        }
    }

    /// Digits behind the point.
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.unscaled == Small(0)
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        match &self.unscaled {
            Small(small) => *small < 0,
            Big(big) => big.sign() == Sign::Minus,
        }
    }

    /// The digits without sign, point and leading zeros; empty for zero.
    fn digits(&self) -> String {
        match &self.unscaled {
            Small(0) => String::new(),
            Small(small) => small.unsigned_abs().to_string(),
            Big(big) => big.magnitude().to_string(),
        }
    }

    /// Digits before the point, leading zeros not counted.
    pub fn integer_digits(&self) -> usize {
        self.digits().len().saturating_sub(self.scale.into())
    }

    /// Digits that a DECIMAL type needs to hold it.
    pub fn precision(&self) -> u8 {
        (self.integer_digits() + usize::from(self.scale)).clamp(1, 255) as u8
    }

    /// The largest number of DECIMAL(precision, scale).
    pub fn max(precision: u8, scale: u8) -> Self {
        Decimal::of_big(pow10(precision.into()) - 1, scale)
    }

    /// Whether it fits a DECIMAL type with so many digits before the point.
    pub fn fits(&self, precision: u8, scale: u8) -> bool {
        self.integer_digits() <= usize::from(precision.saturating_sub(scale))
    }

    /// Reads a whole text as a number; `None` if anything else is in it or it has too many digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, used) = Self::parse_prefix(text.as_bytes())?;
        (used == text.len()).then_some(number)
    }

    /// Reads the number that bytes begin with: sign, digits, point, digits, exponent. Returns it with the
    /// count of bytes used; `None` if there is none. A number too large for 65 digits becomes the largest or
    /// smallest, one with too many places is rounded.
    pub fn parse_prefix(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut at = 0;
        let negative = match bytes.first() {
            Some(b'-') => {
                at = 1;
                true
            }
            Some(b'+') => {
                at = 1;
                false
            }
            _ => false,
        };
        let digits_from = |start: usize| bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
        let whole = &bytes[at..at + digits_from(at)];
        at += whole.len();
        let mut fraction: &[u8] = &[];
        if bytes.get(at) == Some(&b'.') {
            let count = digits_from(at + 1);
            if count > 0 || !whole.is_empty() {
                fraction = &bytes[at + 1..at + 1 + count];
                at += 1 + count;
            }
        }
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut exponent = 0i64;
        if let Some(b'e' | b'E') = bytes.get(at) {
            let (sign, start) = match bytes.get(at + 1) {
                Some(b'-') => (-1, at + 2),
                Some(b'+') => (1, at + 2),
                _ => (1, at + 1),
            };
            if start <= bytes.len() {
                let count = digits_from(start);
                if count > 0 {
                    exponent = bytes[start..start + count]
                        .iter()
                        .fold(0i64, |n, b| (n * 10 + i64::from(b - b'0')).min(100_000));
                    exponent *= sign;
                    at = start + count;
                }
            }
        }
        let number = Self::of_digits(negative, whole, fraction, exponent);
        Some((number, at))
    }

    fn of_digits(negative: bool, whole: &[u8], fraction: &[u8], exponent: i64) -> Self {
        if exponent == 0 && whole.len() + fraction.len() <= 38 && fraction.len() <= 72 {
            let magnitude =
                whole.iter().chain(fraction).fold(0i128, |n, digit| n * 10 + i128::from(digit - b'0'));
            return Decimal::new(if negative { -magnitude } else { magnitude }, fraction.len() as u8);
        }
        let all: Vec<u8> = whole.iter().chain(fraction).copied().skip_while(|digit| *digit == b'0').collect();
        if all.is_empty() {
            return Decimal::new(0, (fraction.len() as i64 - exponent).clamp(0, 30) as u8);
        }
        // The number is 0.all × 10^point.
        let point = all.len() as i64 - fraction.len() as i64 + exponent;
        if point > 65 {
            let max = Decimal::max(65, 0);
            return if negative { max.neg() } else { max };
        }
        let mut scale = (fraction.len() as i64 - exponent).max(0);
        let mut digits = all;
        if (fraction.len() as i64) < exponent {
            digits.extend(std::iter::repeat_n(b'0', (exponent - fraction.len() as i64) as usize));
        }
        // Keep 72 places at most; one more digit decides the rounding.
        let limit = i64::from(Self::MAX_PLACES);
        if scale > limit {
            let drop = scale - limit;
            if drop > digits.len() as i64 {
                return Decimal::new(0, Self::MAX_SCALE);
            }
            let cut = digits.len() - drop as usize;
            let up = digits[cut] >= b'5';
            digits.truncate(cut);
            let mut value = BigInt::parse_bytes(&digits, 10).unwrap_or_default();
            if up {
                value += 1;
            }
            scale = limit;
            return Decimal::of_big(if negative { -value } else { value }, scale as u8);
        }
        let value = BigInt::parse_bytes(&digits, 10).unwrap_or_default();
        Decimal::of_big(if negative { -value } else { value }, scale as u8)
    }

    /// The decimal that a double prints as.
    pub fn from_f64(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let mut buffer = ryu::Buffer::new();
        Self::parse_prefix(buffer.format_finite(value).as_bytes()).map(|(number, _)| number.trimmed())
    }

    /// Without zeros at the end of the fraction.
    fn trimmed(self) -> Self {
        match self.unscaled {
            Small(mut value) => {
                let mut scale = self.scale;
                while scale > 0 && value % 10 == 0 {
                    value /= 10;
                    scale -= 1;
                }
                Decimal::new(value, scale)
            }
            Big(_) => self,
        }
    }

    /// The nearest double.
    pub fn to_f64(&self) -> f64 {
        match &self.unscaled {
            Small(value) if self.scale <= 22 && value.unsigned_abs() < 1 << 53 => {
                *value as f64 / POW10[usize::from(self.scale)] as f64
            }
            _ => self.to_string().parse().unwrap_or(0.0),
        }
    }

    /// The nearest integer, halves away from zero; saturating.
    pub fn to_i128(&self) -> i128 {
        match self.round(0).unscaled {
            Small(value) => value,
            Big(value) if value.sign() == Sign::Minus => i128::MIN,
            Big(_) => i128::MAX,
        }
    }

    /// The integer below it in magnitude; saturating.
    pub fn truncate_to_i128(&self) -> i128 {
        match self.truncate(0).unscaled {
            Small(value) => value,
            Big(value) if value.sign() == Sign::Minus => i128::MIN,
            Big(_) => i128::MAX,
        }
    }

    fn rescaled(&self, scale: u8) -> Unscaled {
        debug_assert!(scale >= self.scale);
        let up = usize::from(scale - self.scale);
        if let Small(value) = &self.unscaled {
            if *value == 0 {
                return Small(0);
            }
            if let Some(product) = POW10.get(up).and_then(|factor| value.checked_mul(*factor)) {
                return Small(product);
            }
        }
        shrink(self.big() * pow10(up))
    }

    fn aligned(&self, other: &Self) -> (Unscaled, Unscaled, u8) {
        let scale = self.scale.max(other.scale);
        (self.rescaled(scale), other.rescaled(scale), scale)
    }

    /// The order of the numbers.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (&self.unscaled, &other.unscaled) {
            (Small(a), Small(b)) if self.scale == other.scale => a.cmp(b),
            _ => match self.aligned(other) {
                (Small(a), Small(b), _) => a.cmp(&b),
                (a, b, _) => wide(a).cmp(&wide(b)),
            },
        }
    }

    /// The sum; `None` if it has more than 81 digits before the point.
    pub fn add(&self, other: &Self) -> Option<Self> {
        let sum = match self.aligned(other) {
            (Small(a), Small(b), scale) => match a.checked_add(b) {
                Some(sum) => Decimal::new(sum, scale),
                None => Decimal::of_big(BigInt::from(a) + b, scale),
            },
            (a, b, scale) => Decimal::of_big(wide(a) + wide(b), scale),
        };
        sum.bounded()
    }

    /// The difference; likewise.
    pub fn sub(&self, other: &Self) -> Option<Self> {
        self.add(&other.neg())
    }

    /// The product; likewise.
    pub fn mul(&self, other: &Self) -> Option<Self> {
        let scale = usize::from(self.scale) + usize::from(other.scale);
        let product = match (&self.unscaled, &other.unscaled) {
            (Small(a), Small(b)) => a.checked_mul(*b).map(Small),
            _ => None,
        };
        let mut unscaled = product.unwrap_or_else(|| shrink(self.big() * other.big()));
        let places = scale.min(Self::MAX_PLACES.into());
        if places < scale {
            unscaled = shrink(wide(unscaled) / pow10(scale - places));
        }
        Decimal { unscaled, scale: places as u8 }.bounded()
    }

    /// The quotient with at least `increment` more places than the dividend; `None` for a divisor of zero or
    /// too large a quotient.
    pub fn div(&self, other: &Self, increment: u8) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        // MySQL counts places in groups of nine: what rounding up adds is taken off the increment.
        let group = |places: u32| places.div_ceil(9) * 9;
        let (left, right) = (group(self.scale.into()), group(other.scale.into()));
        let spare = left - u32::from(self.scale) + right - u32::from(other.scale);
        let scale = group(left + right + u32::from(increment).saturating_sub(spare));
        let scale = (scale as u8).min(Self::MAX_PLACES);
        // (a / 10^s1) / (b / 10^s2) = a × 10^(scale + s2 - s1) / b / 10^scale
        let shift = i32::from(scale) + i32::from(other.scale) - i32::from(self.scale);
        if let (Small(a), Small(b), 0..=38) = (&self.unscaled, &other.unscaled, shift)
            && let Some(dividend) = a.checked_mul(POW10[shift as usize])
            && let Some(quotient) = dividend.checked_div(*b)
        {
            return Decimal::new(quotient, scale).bounded();
        }
        let mut dividend = self.big();
        let mut divisor = other.big();
        if shift >= 0 {
            dividend *= pow10(shift as usize);
        } else {
            divisor *= pow10(-shift as usize);
        }
        Decimal::of_big(dividend / divisor, scale).bounded()
    }

    /// The remainder with the dividend's sign; `None` for a divisor of zero.
    pub fn rem(&self, other: &Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        Some(match self.aligned(other) {
            (Small(a), Small(b), scale) => Decimal::new(a.checked_rem(b).unwrap_or(0), scale),
            (a, b, scale) => Decimal::of_big(wide(a) % wide(b), scale),
        })
    }

    fn bounded(self) -> Option<Self> {
        // MySQL computes with nine words of nine digits, so that results may outgrow the 65 digits of columns.
        let small = matches!(&self.unscaled, Small(_));
        let words = self.integer_digits().div_ceil(9) + usize::from(self.scale).div_ceil(9);
        if small || words <= 9 {
            return Some(self);
        }
        let room = (9 - self.integer_digits().div_ceil(9).min(9)) * 9;
        (self.integer_digits() <= 81).then(|| self.truncate(room as u8))
    }

    /// The number with the other sign.
    pub fn neg(&self) -> Self {
        let unscaled = match &self.unscaled {
            Small(value) => match value.checked_neg() {
                Some(value) => Small(value),
                None => shrink(-BigInt::from(*value)),
            },
            Big(value) => shrink(-(**value).clone()),
        };
        Decimal { unscaled, scale: self.scale }
    }

    /// The magnitude.
    pub fn abs(&self) -> Self {
        if self.is_negative() { self.neg() } else { self.clone() }
    }

    /// With exactly `scale` places: padded with zeros, or rounded with halves away from zero.
    pub fn round(&self, scale: u8) -> Self {
        if scale >= self.scale {
            return Decimal { unscaled: self.rescaled(scale), scale };
        }
        let drop = usize::from(self.scale - scale);
        match &self.unscaled {
            Small(value) if drop < 38 => {
                let unit = POW10[drop];
                let (quotient, rest) = (value / unit, value % unit);
                let away = if rest.abs() * 2 >= unit { value.signum() } else { 0 };
                Decimal::new(quotient + away, scale)
            }
            _ => {
                let value = self.big();
                let unit = pow10(drop);
                let half = &unit / 2;
                let moved = if value.sign() == Sign::Minus { value - half } else { value + half };
                Decimal::of_big(moved / unit, scale)
            }
        }
    }

    /// With exactly `scale` places: padded with zeros, or cut off.
    pub fn truncate(&self, scale: u8) -> Self {
        if scale >= self.scale {
            return Decimal { unscaled: self.rescaled(scale), scale };
        }
        let drop = usize::from(self.scale - scale);
        match &self.unscaled {
            Small(value) if drop < 39 => Decimal::new(value / POW10[drop], scale),
            _ => Decimal::of_big(self.big() / pow10(drop), scale),
        }
    }

    /// Rounds (or truncates) to tens, hundreds …: `places` digits before the point; no fraction remains.
    pub fn round_tens(&self, places: u32, truncate: bool) -> Self {
        if places > 80 {
            return Decimal::ZERO;
        }
        let unit = pow10(places as usize);
        let value = self.truncate(0).big();
        let mut quotient = &value / &unit;
        if !truncate {
            let rest: BigInt = (&value % &unit) * 2;
            if rest.magnitude() >= unit.magnitude() {
                quotient += if self.is_negative() { -1 } else { 1 };
            }
        }
        Decimal::of_big(quotient * unit, 0)
    }

    /// The largest integer not above it.
    pub fn floor(&self) -> Self {
        let whole = self.truncate(0);
        if self.is_negative() && whole.compare(self) != Ordering::Equal {
            return whole.add(&Decimal::new(-1, 0)).unwrap_or(whole);
        }
        whole
    }

    /// The smallest integer not below it.
    pub fn ceil(&self) -> Self {
        self.neg().floor().neg()
    }

    /// Without zeros at the end, as numbers that are equal have it: for hashing and keys.
    pub fn normalized(&self) -> Self {
        match &self.unscaled {
            Small(_) => self.clone().trimmed(),
            Big(big) => {
                let (mut value, mut scale) = ((**big).clone(), self.scale);
                while scale > 0 && (&value % 10u8) == BigInt::ZERO {
                    value /= 10u8;
                    scale -= 1;
                }
                Decimal::of_big(value, scale)
            }
        }
    }

    /// Appends the order-preserving bytes of the number.
    pub fn put_ordered(&self, out: &mut Vec<u8>) {
        let mut digits = self.digits().into_bytes();
        for digit in &mut digits {
            *digit -= b'0';
        }
        assize_codec::order::put_decimal(out, self.is_negative(), &digits, self.scale.into());
    }

    /// The number without its point as two's complement bytes, most significant first, as short as possible.
    pub(crate) fn unscaled_bytes(&self) -> Vec<u8> {
        match &self.unscaled {
            Small(value) => {
                let bytes = value.to_be_bytes();
                let sign = if *value < 0 { 0xff } else { 0 };
                let mut start = 0;
                while start < 15 && bytes[start] == sign && (bytes[start + 1] ^ sign) & 0x80 == 0 {
                    start += 1;
                }
                bytes[start..].to_vec()
            }
            Big(value) => value.to_signed_bytes_be(),
        }
    }

    /// Back from [`Decimal::unscaled_bytes`].
    pub(crate) fn from_unscaled_bytes(bytes: &[u8], scale: u8) -> Self {
        if bytes.len() <= 16 {
            let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
            let mut wide = [if negative { 0xff } else { 0 }; 16];
            wide[16 - bytes.len()..].copy_from_slice(bytes);
            return Decimal::new(i128::from_be_bytes(wide), scale);
        }
        Decimal::of_big(BigInt::from_signed_bytes_be(bytes), scale)
    }

    /// Appends the digits, with exactly `scale` places.
    pub fn write(&self, scale: u8, out: &mut Vec<u8>) {
        if scale != self.scale {
            return self.round(scale).write(scale, out);
        }
        let mut buffer = itoa::Buffer::new();
        let text;
        let digits = match &self.unscaled {
            Small(value) => {
                if *value < 0 {
                    out.push(b'-');
                }
                buffer.format(value.unsigned_abs()).as_bytes()
            }
            Big(value) => {
                if value.sign() == Sign::Minus {
                    out.push(b'-');
                }
                text = value.magnitude().to_string();
                text.as_bytes()
            }
        };
        let scale = usize::from(scale);
        if digits.len() > scale {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            out.extend_from_slice(whole);
            if scale > 0 {
                out.push(b'.');
                out.extend_from_slice(fraction);
            }
        } else {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', scale - digits.len()));
            out.extend_from_slice(digits);
        }
    }
}

fn wide(unscaled: Unscaled) -> BigInt {
    match unscaled {
        Small(value) => BigInt::from(value),
        Big(value) => *value,
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Decimal::new(value.into(), 0)
    }
}

impl From<u64> for Decimal {
    fn from(value: u64) -> Self {
        Decimal::new(value.into(), 0)
    }
}

impl From<i128> for Decimal {
    fn from(value: i128) -> Self {
        Decimal::new(value, 0)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        self.write(self.scale, &mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dec(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn division_keeps_groups_of_nine_places() {
        assert_eq!(dec("5").div(&dec("2"), 4).unwrap().to_string(), "2.500000000");
        let third = dec("1").div(&dec("3"), 4).unwrap();
        assert_eq!(third.mul(&dec("3")).unwrap().round(4).to_string(), "1.0000");
        assert_eq!(dec("1").div(&dec("0.00"), 4), None);
    }

    #[test]
    fn rounding_is_away_from_zero() {
        for (text, scale, expected) in
            [("2.5", 0, "3"), ("-2.5", 0, "-3"), ("2.449", 1, "2.4"), ("0.05", 1, "0.1"), ("1.5", 3, "1.500")]
        {
            assert_eq!(dec(text).round(scale).to_string(), expected);
        }
        assert_eq!(dec("-1.9").truncate(0).to_string(), "-1");
        assert_eq!(dec("-1.1").floor().to_string(), "-2");
        assert_eq!(dec("-1.1").ceil().to_string(), "-1");
        assert_eq!(dec("1250").round_tens(2, false).to_string(), "1300");
    }

    #[test]
    fn more_than_81_digits_is_an_overflow() {
        let max = Decimal::max(65, 0);
        assert_eq!(max.add(&dec("1")).unwrap().integer_digits(), 66);
        assert_eq!(max.mul(&Decimal::max(17, 0)), None);
        assert_eq!(max.sub(&dec("1")).unwrap().integer_digits(), 65);
        assert_eq!(Decimal::parse("1e100"), Some(max));
    }

    proptest! {
        #[test]
        fn arithmetic_is_that_of_big_integers(a: i128, b: i128, sa in 0u8..20, sb in 0u8..20) {
            let (x, y) = (Decimal::new(a, sa), Decimal::new(b, sb));
            let scale = sa.max(sb);
            let align = |n: i128, s: u8| BigInt::from(n) * pow10(usize::from(scale - s));
            prop_assert_eq!(x.add(&y).unwrap().big(), align(a, sa) + align(b, sb));
            prop_assert_eq!(x.sub(&y).unwrap().big(), align(a, sa) - align(b, sb));
            prop_assert_eq!(x.compare(&y), align(a, sa).cmp(&align(b, sb)));
            // Places that the nine words cannot hold are cut.
            if let Some(product) = x.mul(&y).filter(|product| product.scale() == sa + sb) {
                prop_assert_eq!(product.big(), BigInt::from(a) * BigInt::from(b));
            }
            if b != 0 {
                prop_assert_eq!(x.rem(&y).unwrap().big(), align(a, sa) % align(b, sb));
            }
        }

        #[test]
        fn printing_and_bytes_round_trip(a: i128, tail in "[0-9]{0,26}", scale in 0u8..30) {
            let text = format!("{a}{tail}");
            let number = Decimal::of_big(text.parse().unwrap(), scale);
            prop_assert_eq!(Decimal::parse(&number.to_string()), Some(number.clone()));
            prop_assert_eq!(Decimal::from_unscaled_bytes(&number.unscaled_bytes(), scale), number);
        }

        #[test]
        fn order_bytes_sort_as_numbers(a: i64, b: i64, sa in 0u8..9, sb in 0u8..9) {
            let (x, y) = (Decimal::new(a.into(), sa), Decimal::new(b.into(), sb));
            let (mut kx, mut ky) = (vec![], vec![]);
            x.put_ordered(&mut kx);
            y.put_ordered(&mut ky);
            prop_assert_eq!(kx.cmp(&ky), x.compare(&y));
        }

        #[test]
        fn any_text_reads_or_is_refused(text: String, digits in "[-+0-9.eE]{0,90}") {
            let _ = Decimal::parse(&text);
            if let Some((number, used)) = Decimal::parse_prefix(digits.as_bytes()) {
                prop_assert!(used <= digits.len());
                prop_assert!(number.scale() <= Decimal::MAX_PLACES);
                let _ = (number.round(3), number.floor(), number.to_f64(), number.to_i128());
            }
        }
    }
}
