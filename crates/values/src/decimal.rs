//! DECIMAL(65,30).

/// An exact decimal number.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Decimal {
    /// The number without its point.
    pub(crate) unscaled: i128,
    /// Digits after the point.
    pub(crate) scale: u8,
}
