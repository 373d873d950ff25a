//! Bytes of a format as a test keeps them: in a file that is checked in, each line of which says what it is and has its bytes in
//! hexadecimal digits. Whoever changes a format, and whether he means to or not, learns of it there.
//!
//! Only tests use this. It is here because the formats of all crates are written with this one.

use std::fmt::Write;

/// What is encoded now, to be compared with the file.
#[derive(Default, Debug)]
pub struct Samples {
    lines: String,
}

impl Samples {
    /// Adds the bytes of something.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        assert!(!name.contains([' ', '\n']), "{name:?} is one word");
        self.lines.push_str(name);
        self.lines.push(' ');
        for byte in bytes {
            write!(self.lines, "{byte:02x}").expect("a string takes everything");
        }
        self.lines.push('\n');
    }

    /// Compares with the file's text; lines that begin with `#` are for people.
    ///
    /// # Panics
    /// If today's encoders give other bytes.
    #[track_caller]
    pub fn are(&self, stored: &str) {
        let stored: Vec<&str> = lines(stored).collect();
        let encoded: Vec<&str> = lines(&self.lines).collect();
        let changed: Vec<&&str> = encoded.iter().filter(|line| !stored.contains(line)).collect();
        assert!(
            stored == encoded,
            "a format has changed: raise its version, keep reading the one before, and keep its sample; {} lines are new, of \
             these bytes:\n{}",
            changed.len(),
            self.lines
        );
    }
}

/// The samples of a file, each with its name.
///
/// # Panics
/// If the text is not one of samples.
pub fn parse(stored: &str) -> impl Iterator<Item = (&str, Vec<u8>)> {
    lines(stored).map(|line| {
        let (name, digits) = line.split_once(' ').expect("a name, a space, bytes");
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
        (name, (0..digits.len()).step_by(2).map(byte).collect())
    })
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_file_is_what_was_added() {
        let mut samples = Samples::default();
        samples.add("one", b"\x00\xff");
        samples.add("nothing", b"");
        let stored = "# version 1\none 00ff\nnothing \n";
        samples.are(stored);
        let parsed: Vec<(&str, Vec<u8>)> = parse(stored).collect();
        assert_eq!(parsed, [("one", vec![0, 0xff]), ("nothing", vec![])]);
    }

    #[test]
    #[should_panic(expected = "a format has changed")]
    fn other_bytes_are_noticed() {
        let mut samples = Samples::default();
        samples.add("one", b"\x01");
        samples.are("one 00\n");
    }
}
