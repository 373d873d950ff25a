//! Join tokens: what a new node shows to be taken into a cluster.

use std::fmt;

/// Bytes of randomness in a token.
const RANDOM: usize = 32;

/// A secret that lets a node join. Never printed by accident: `Debug` hides it.
#[derive(Clone)]
pub struct JoinToken(String);

impl JoinToken {
    /// A new one, which nobody can foresee.
    pub fn random() -> JoinToken {
        let bytes: [u8; RANDOM] = rand::random();
        JoinToken(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// One that was written to a file; white space round it does not count. `None` if nothing is left: an empty secret
    /// would let everybody in.
    pub fn from_text(text: &str) -> Option<JoinToken> {
        let text = text.trim();
        (!text.is_empty()).then(|| JoinToken(text.into()))
    }

    /// Its text, to be written to a file or shown to whom it is for.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether this is the same token. Takes as long whatever was guessed.
    pub fn matches(&self, shown: &str) -> bool {
        constant_time_eq(self.0.as_bytes(), shown.trim().as_bytes())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(…)")
    }
}

/// Whether two secrets are equal, in a time that depends on their lengths alone.
pub fn constant_time_eq(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let difference = one.iter().zip(other).fold(0u8, |difference, (a, b)| difference | (a ^ b));
    // Keeps the optimiser from leaving the loop at the first difference.
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_itself_alone() {
        let token = JoinToken::random();
        assert!(token.matches(token.secret()));
        assert!(token.matches(&format!("{}\n", token.secret())));
        assert!(!token.matches(""));
        assert!(!token.matches(&token.secret()[1..]));
        assert!(!token.matches(JoinToken::random().secret()));
        assert_eq!(token.secret().len(), 64);
        assert!(JoinToken::from_text(" \n").is_none());
        assert!(!format!("{token:?}").contains(token.secret()));
    }
}
