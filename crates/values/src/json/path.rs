//! JSON paths: `$.key."quoted key"[0][last-1][1 to 3].*[*]**.key`.

use super::Json;

/// One step of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Leg {
    /// `.key`
    Key(String),
    /// `[3]`
    Cell(Index),
    /// `[1 to 3]`
    Range(Index, Index),
    /// `.*`
    AnyKey,
    /// `[*]`
    AnyCell,
    /// `**`
    Anywhere,
}

/// A place in an array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Index {
    /// Counted from the start.
    First(usize),
    /// Counted back from `last`.
    Last(usize),
}

impl Index {
    /// The ordinal within an array of this length; `None` if it lies before the start.
    fn ordinal(self, length: usize) -> Option<usize> {
        match self {
            Index::First(at) => Some(at),
            Index::Last(back) => length.checked_sub(1)?.checked_sub(back),
        }
    }
}

/// A path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// Its steps.
    pub legs: Vec<Leg>,
}

/// Where text stops to be a path (character position, from 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathError(pub usize);

impl Path {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Path, PathError> {
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        let skip = |at: &mut usize| {
            while chars.get(*at).is_some_and(|c| c.is_ascii_whitespace()) {
                *at += 1;
            }
        };
        skip(&mut at);
        if chars.get(at) != Some(&'$') {
            return Err(PathError(at + 1));
        }
        at += 1;
        let mut legs = Vec::new();
        loop {
            skip(&mut at);
            match chars.get(at) {
                None => break,
                Some('.') => {
                    at += 1;
                    skip(&mut at);
                    match chars.get(at) {
                        Some('*') => {
                            at += 1;
                            legs.push(Leg::AnyKey);
                        }
                        Some('"') => {
                            let start = at;
                            at += 1;
                            while chars.get(at).is_some_and(|c| *c != '"') {
                                at += if chars[at] == '\\' { 2 } else { 1 };
                            }
                            if chars.get(at) != Some(&'"') {
                                return Err(PathError(start + 1));
                            }
                            at += 1;
                            let quoted: String = chars[start..at].iter().collect();
                            match Json::parse(&quoted) {
                                Ok(Json::String(key)) => legs.push(Leg::Key(key)),
                                _ => return Err(PathError(start + 1)),
                            }
                        }
                        _ => {
                            let start = at;
                            while chars.get(at).is_some_and(|c| {
                                c.is_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii()
                            }) {
                                at += 1;
                            }
                            if start == at || chars[start].is_ascii_digit() {
                                return Err(PathError(start + 1));
                            }
                            legs.push(Leg::Key(chars[start..at].iter().collect()));
                        }
                    }
                }
                Some('[') => {
                    at += 1;
                    skip(&mut at);
                    if chars.get(at) == Some(&'*') {
                        at += 1;
                        legs.push(Leg::AnyCell);
                    } else {
                        let from = index(&chars, &mut at)?;
                        skip(&mut at);
                        if chars.get(at) == Some(&'t') && chars.get(at + 1) == Some(&'o') {
                            at += 2;
                            skip(&mut at);
                            let to = index(&chars, &mut at)?;
                            legs.push(Leg::Range(from, to));
                        } else {
                            legs.push(Leg::Cell(from));
                        }
                    }
                    skip(&mut at);
                    if chars.get(at) != Some(&']') {
                        return Err(PathError(at + 1));
                    }
                    at += 1;
                }
                Some('*') if chars.get(at + 1) == Some(&'*') => {
                    at += 2;
                    legs.push(Leg::Anywhere);
                }
                Some(_) => return Err(PathError(at + 1)),
            }
        }
        if legs.last() == Some(&Leg::Anywhere) {
            return Err(PathError(chars.len()));
        }
        Ok(Path { legs })
    }

    /// Whether it may lead to several places.
    pub fn has_wildcard(&self) -> bool {
        self.legs.iter().any(|leg| !matches!(leg, Leg::Key(_) | Leg::Cell(_)))
    }

    /// Everything it leads to.
    pub fn find<'a>(&self, document: &'a Json) -> Vec<&'a Json> {
        let mut found = Vec::new();
        walk(document, &self.legs, &mut found);
        found
    }

    /// The place it leads to, to change it.
    pub fn find_mut<'a>(&self, document: &'a mut Json) -> Option<&'a mut Json> {
        legs_mut(document, &self.legs)
    }

    /// Changes a document as JSON_SET (`insert` and `replace`), JSON_INSERT or JSON_REPLACE do.
    pub fn set(&self, document: &mut Json, value: Json, insert: bool, replace: bool) {
        let Some((last, parents)) = self.legs.split_last() else {
            if replace {
                *document = value;
            }
            return;
        };
        let Some(parent) = legs_mut(document, parents) else { return };
        match (last, parent) {
            (Leg::Key(key), Json::Object(members)) => {
                let exists = members.iter().any(|(name, _)| name == key);
                if exists && replace || !exists && insert {
                    Json::put(members, key, value);
                }
            }
            (Leg::Cell(index), Json::Array(items)) => match index.ordinal(items.len()) {
                Some(at) if at < items.len() && replace => items[at] = value,
                Some(at) if at >= items.len() && insert => items.push(value),
                None if insert => items.insert(0, value),
                _ => {}
            },
            // A scalar is an array of one.
            (Leg::Cell(index), scalar) => match index.ordinal(1) {
                Some(0) if replace => *scalar = value,
                Some(1..) if insert => {
                    let old = std::mem::replace(scalar, Json::Null);
                    *scalar = Json::Array(vec![old, value]);
                }
                None if insert => {
                    let old = std::mem::replace(scalar, Json::Null);
                    *scalar = Json::Array(vec![value, old]);
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// Takes the place out of the document.
    pub fn remove(&self, document: &mut Json) {
        let Some((last, parents)) = self.legs.split_last() else { return };
        match (last, legs_mut(document, parents)) {
            (Leg::Key(key), Some(Json::Object(members))) => members.retain(|(name, _)| name != key),
            (Leg::Cell(index), Some(Json::Array(items))) => {
                if let Some(at) = index.ordinal(items.len())
                    && at < items.len()
                {
                    items.remove(at);
                }
            }
            _ => {}
        }
    }

    /// JSON_ARRAY_INSERT: puts a value before a cell; `None` if the path does not end in a cell.
    pub fn array_insert(&self, document: &mut Json, value: Json) -> Option<()> {
        let Some((Leg::Cell(index), parents)) = self.legs.split_last() else { return None };
        if let Some(Json::Array(items)) = legs_mut(document, parents) {
            let at = match index {
                Index::First(at) => (*at).min(items.len()),
                Index::Last(back) => items.len().saturating_sub(1).saturating_sub(*back),
            };
            items.insert(at.min(items.len()), value);
        }
        Some(())
    }
}

fn index(chars: &[char], at: &mut usize) -> Result<Index, PathError> {
    let number = |at: &mut usize| -> Option<usize> {
        let start = *at;
        while chars.get(*at).is_some_and(char::is_ascii_digit) {
            *at += 1;
        }
        let digits: String = chars[start..*at].iter().collect();
        digits.parse::<u32>().ok().map(|n| n as usize)
    };
    if chars[(*at).min(chars.len())..].starts_with(&['l', 'a', 's', 't']) {
        *at += 4;
        let mut ahead = *at;
        while chars.get(ahead).is_some_and(|c| c.is_ascii_whitespace()) {
            ahead += 1;
        }
        if chars.get(ahead) != Some(&'-') {
            return Ok(Index::Last(0));
        }
        *at = ahead + 1;
        while chars.get(*at).is_some_and(|c| c.is_ascii_whitespace()) {
            *at += 1;
        }
        return number(at).map(Index::Last).ok_or(PathError(*at + 1));
    }
    number(at).map(Index::First).ok_or(PathError(*at + 1))
}

fn walk<'a>(value: &'a Json, legs: &[Leg], found: &mut Vec<&'a Json>) {
    let Some((leg, rest)) = legs.split_first() else {
        // `**` may reach a place in several ways.
        if !found.iter().any(|known| std::ptr::eq(*known, value)) {
            found.push(value);
        }
        return;
    };
    match (leg, value) {
        (Leg::Key(key), Json::Object(_)) => {
            if let Some(member) = value.get(key) {
                walk(member, rest, found);
            }
        }
        (Leg::AnyKey, Json::Object(members)) => {
            for (_, member) in members {
                walk(member, rest, found);
            }
        }
        (Leg::Cell(index), Json::Array(items)) => {
            if let Some(item) = index.ordinal(items.len()).and_then(|at| items.get(at)) {
                walk(item, rest, found);
            }
        }
        (Leg::Range(from, to), Json::Array(items)) => {
            let start = from.ordinal(items.len()).unwrap_or(0);
            if let Some(end) = to.ordinal(items.len()) {
                for item in items.iter().skip(start).take((end + 1).saturating_sub(start)) {
                    walk(item, rest, found);
                }
            }
        }
        (Leg::AnyCell, Json::Array(items)) => {
            for item in items {
                walk(item, rest, found);
            }
        }
        (Leg::Cell(index), _) if index.ordinal(1) == Some(0) => walk(value, rest, found),
        (Leg::Range(from, to), _) if from.ordinal(1).unwrap_or(0) == 0 && to.ordinal(1).is_some() => {
            walk(value, rest, found);
        }
        (Leg::Anywhere, _) => {
            walk(value, rest, found);
            match value {
                Json::Array(items) => items.iter().for_each(|item| walk(item, legs, found)),
                Json::Object(members) => members.iter().for_each(|(_, item)| walk(item, legs, found)),
                _ => {}
            }
        }
        _ => {}
    }
}

fn legs_mut<'a>(value: &'a mut Json, legs: &[Leg]) -> Option<&'a mut Json> {
    let Some((leg, rest)) = legs.split_first() else { return Some(value) };
    match (leg, value) {
        (Leg::Key(key), Json::Object(members)) => {
            let member = members.iter_mut().find(|(name, _)| name == key)?;
            legs_mut(&mut member.1, rest)
        }
        (Leg::Cell(index), Json::Array(items)) => {
            let at = index.ordinal(items.len())?;
            legs_mut(items.get_mut(at)?, rest)
        }
        (Leg::Cell(index), scalar) if index.ordinal(1) == Some(0) => legs_mut(scalar, rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_lead_to_places() {
        let document = Json::parse(r#"{"a": [1, 2, {"b": 3}], "b c": {"b": 4}, "d": 5}"#).unwrap();
        for (path, expected) in [
            ("$", r#"{"a": [1, 2, {"b": 3}], "d": 5, "b c": {"b": 4}}"#),
            ("$.a[0]", "1"),
            ("$.a[last]", r#"{"b": 3}"#),
            ("$.a[last - 1]", "2"),
            ("$.a[0 to 1]", "1 2"),
            ("$.\"b c\".b", "4"),
            ("$**.b", "3 4"),
            ("$.a[*]", r#"1 2 {"b": 3}"#),
            ("$.d[0]", "5"),
            ("$.*.b", "4"),
            ("$.x", ""),
        ] {
            let found = Path::parse(path).unwrap().find(&document);
            let printed: Vec<String> = found.iter().map(|v| v.to_string()).collect();
            assert_eq!(printed.join(" "), expected, "{path}");
        }
        for path in ["", "a", "$.", "$[", "$[a]", "$**", "$.1a", "$.\"x"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, near in "\\$[-.\\[\\]*a-t0-9 \"\\\\]{0,20}") {
            for text in [text, near] {
                if let Ok(path) = Path::parse(&text) {
                    let mut document = Json::parse(r#"{"a": [1, {"b": [2]}], "b": 3}"#).unwrap();
                    let _ = path.find(&document);
                    path.set(&mut document, Json::Null, true, true);
                    path.remove(&mut document);
                }
            }
        }
    }
}
