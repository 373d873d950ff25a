//! Functions of JSON documents.

use super::*;
use crate::json::path::{Leg, Path};
use crate::json::{Json, JsonError};
use std::sync::Arc;

pub(super) const FUNCTIONS: &[Function] = &[
    f("JSON_ARRAY", 0, 99, See, Apart, document, |c| {
        let items = (0..c.len()).map(|at| operand(c, at)).collect();
        Ok(json(Json::Array(items)))
    }),
    f("JSON_ARRAY_APPEND", 3, 99, See, Apart, document, |c| {
        change(c, |document, path, value| {
            if let Some(place) = path.find_mut(document) {
                let old = std::mem::replace(place, Json::Null);
                let mut items = match old {
                    Json::Array(items) => items,
                    scalar => vec![scalar],
                };
                items.push(value);
                *place = Json::Array(items);
            }
            Ok(())
        })
    }),
    f("JSON_ARRAY_INSERT", 3, 99, See, Apart, document, |c| {
        change(c, |document, path, value| {
            path.array_insert(document, value).ok_or_else(|| {
                SqlError::new(
                    ErrorCode::InvalidJsonPathArrayCell,
                    "A path expression is not a path to a cell in an array.",
                )
            })
        })
    }),
    f("JSON_CONTAINS", 2, 3, Propagate, Apart, boolean, |c| {
        let (document, candidate) = (c.document(0)?, c.document(1)?);
        if c.len() > 2 {
            let path = single_path(c, 2)?;
            return Ok(match path.find(&document).first() {
                Some(found) => Value::Int(found.contains(&candidate).into()),
                None => Value::Null,
            });
        }
        Ok(Value::Int(document.contains(&candidate).into()))
    }),
    f("JSON_CONTAINS_PATH", 3, 99, Propagate, Apart, boolean, |c| {
        let document = c.document(0)?;
        let all = one_or_all(c, 1)?;
        for at in 2..c.len() {
            let found = !path(c, at)?.find(&document).is_empty();
            if found != all {
                return Ok(Value::Int(found.into()));
            }
        }
        Ok(Value::Int(all.into()))
    }),
    f("JSON_DEPTH", 1, 1, Propagate, Apart, int, |c| Ok(Value::Int(c.document(0)?.depth() as i64))),
    f("JSON_EXTRACT", 2, 99, Propagate, Apart, document, |c| {
        let document = c.document(0)?;
        let paths = (1..c.len()).map(|at| path(c, at)).collect::<Result<Vec<_>, _>>()?;
        let several = paths.len() > 1 || paths.iter().any(Path::has_wildcard);
        let mut found: Vec<Json> = Vec::new();
        for path in &paths {
            found.extend(path.find(&document).into_iter().cloned());
        }
        Ok(match (several, found.pop()) {
            (_, None) => Value::Null,
            (false, Some(one)) => json(one),
            (true, Some(last)) => {
                found.push(last);
                json(Json::Array(found))
            }
        })
    }),
    f("JSON_INSERT", 3, 99, See, Apart, document, |c| {
        change(c, |document, path, value| {
            path.set(document, value, true, false);
            Ok(())
        })
    }),
    f("JSON_KEYS", 1, 2, Propagate, Apart, document, |c| {
        let document = c.document(0)?;
        let place =
            if c.len() > 1 { single_path(c, 1)?.find(&document).first().copied() } else { Some(&*document) };
        Ok(match place {
            Some(Json::Object(members)) => {
                json(Json::Array(members.iter().map(|(key, _)| Json::String(key.clone())).collect()))
            }
            _ => Value::Null,
        })
    }),
    f("JSON_LENGTH", 1, 2, Propagate, Apart, int, |c| {
        let document = c.document(0)?;
        if c.len() > 1 {
            let found = single_path(c, 1)?;
            return Ok(found.find(&document).first().map_or(Value::Null, |v| Value::Int(v.length() as i64)));
        }
        Ok(Value::Int(document.length() as i64))
    }),
    f("JSON_MERGE", 2, 99, Propagate, Apart, document, merge_preserve),
    f("JSON_MERGE_PATCH", 2, 99, See, Apart, document, merge_patch),
    f("JSON_MERGE_PRESERVE", 2, 99, Propagate, Apart, document, merge_preserve),
    f("JSON_OBJECT", 0, 99, See, Apart, document, |c| {
        if c.len() % 2 == 1 {
            return Err(wrong_count("JSON_OBJECT"));
        }
        let mut members = Vec::new();
        for at in (0..c.len()).step_by(2) {
            if c.arg(at).is_null() {
                return Err(SqlError::new(
                    ErrorCode::JsonDocumentNullKey,
                    "JSON documents may not contain NULL member names.",
                ));
            }
            members.push((c.text(at).into_owned(), operand(c, at + 1)));
        }
        Ok(json(Json::object(members)))
    }),
    f("JSON_OVERLAPS", 2, 2, Propagate, Apart, boolean, |c| {
        let (a, b) = (c.document(0)?, c.document(1)?);
        Ok(Value::Int(overlaps(&a, &b).into()))
    }),
    f("JSON_PRETTY", 1, 1, Propagate, Apart, long_text, |c| {
        let mut out = Vec::new();
        c.document(0)?.write_pretty(0, &mut out);
        Ok(Value::text(String::from_utf8_lossy(&out)))
    }),
    f("JSON_QUOTE", 1, 1, Propagate, Apart, long_text, |c| {
        if !matches!(c.arg(0), Value::Text(_) | Value::Enum(..) | Value::Set(..)) {
            return Err(wrong_type(c, 0));
        }
        let mut out = Vec::new();
        crate::json::write_quoted(&c.text(0), &mut out);
        Ok(Value::text(String::from_utf8_lossy(&out)))
    }),
    f("JSON_REMOVE", 2, 99, Propagate, Apart, document, |c| {
        let mut document = (*c.document(0)?).clone();
        for at in 1..c.len() {
            let path = single_path(c, at)?;
            if path.legs.is_empty() {
                return Err(SqlError::new(
                    ErrorCode::JsonVacuousPath,
                    "The path expression '$' is not allowed in this context.",
                ));
            }
            path.remove(&mut document);
        }
        Ok(json(document))
    }),
    f("JSON_REPLACE", 3, 99, See, Apart, document, |c| {
        change(c, |document, path, value| {
            path.set(document, value, false, true);
            Ok(())
        })
    }),
    f("JSON_SEARCH", 3, 99, See, Apart, document, search),
    f("JSON_SET", 3, 99, See, Apart, document, |c| {
        change(c, |document, path, value| {
            path.set(document, value, true, true);
            Ok(())
        })
    }),
    f("JSON_STORAGE_FREE", 1, 1, Propagate, Apart, int, |_| Ok(Value::Int(0))),
    f("JSON_STORAGE_SIZE", 1, 1, Propagate, Apart, int, |c| {
        let mut out = Vec::new();
        crate::stored::encode_value(&json((*c.document(0)?).clone()), &SqlType::Json, &mut out);
        Ok(Value::Int(out.len() as i64))
    }),
    f(
        "JSON_TYPE",
        1,
        1,
        See,
        Apart,
        |_, ctx| Ok(connection_text(51, ctx)),
        |c| {
            if c.arg(0).is_null() {
                return Ok(Value::Null);
            }
            Ok(Value::text(c.document(0)?.type_name()))
        },
    ),
    f("JSON_UNQUOTE", 1, 1, Propagate, Apart, long_text, |c| {
        if let Value::Json(document) = c.arg(0) {
            if let Json::String(text) = &**document {
                return Ok(Value::text(text.as_str()));
            }
            let mut out = Vec::new();
            document.write_unquoted(&mut out);
            return Ok(Value::text(String::from_utf8_lossy(&out)));
        }
        let text = c.text(0);
        if text.len() >= 2 && text.starts_with('"') && text.ends_with('"') {
            return match Json::parse(&text) {
                Ok(Json::String(text)) => Ok(Value::text(text)),
                Ok(_) => Ok(Value::text(text)),
                Err(error) => Err(invalid(c.name, 0, error)),
            };
        }
        Ok(Value::text(text))
    }),
    f("JSON_VALID", 1, 1, Propagate, Apart, boolean, |c| {
        Ok(Value::Int(match c.arg(0) {
            Value::Json(_) => 1,
            Value::Text(text) => Json::parse(text).is_ok().into(),
            _ => 0,
        }))
    }),
    // With the RETURNING type as the caller's CAST round it.
    f(
        "JSON_VALUE",
        2,
        2,
        Propagate,
        Apart,
        |_, ctx| Ok(connection_text(512, ctx)),
        |c| {
            let document = c.document(0)?;
            Ok(match single_path(c, 1)?.find(&document).first() {
                None | Some(Json::Null | Json::Array(_) | Json::Object(_)) => Value::Null,
                Some(scalar) => {
                    let mut out = Vec::new();
                    scalar.write_unquoted(&mut out);
                    Value::text(String::from_utf8_lossy(&out))
                }
            })
        },
    ),
    f("MEMBER OF", 2, 2, Propagate, Apart, boolean, member_of),
    f("MEMBER_OF", 2, 2, Propagate, Apart, boolean, member_of),
];

fn long_text(_: &[ArgType], _: &EvalContext) -> Result<SqlType, SqlError> {
    Ok(SqlType::Text { size: crate::BlobSize::Long, collation: Collation::UTF8MB4_BIN })
}

fn json(value: Json) -> Value {
    Value::Json(Arc::new(value))
}

fn wrong_type(c: &Call<'_>, at: usize) -> SqlError {
    let name = c.name.to_ascii_lowercase();
    SqlError::new(
        ErrorCode::InvalidTypeForJson,
        format!(
            "Invalid data type for JSON data in argument {} to function {name}; \
             a JSON string or JSON type is required.",
            at + 1
        ),
    )
}

fn invalid(name: &str, at: usize, error: JsonError) -> SqlError {
    let name = name.to_ascii_lowercase();
    match error {
        JsonError::Syntax(what, position) => SqlError::new(
            ErrorCode::InvalidJsonTextInParam,
            format!(
                "Invalid JSON text in argument {} to function {name}: \"{what}\" at position {position}.",
                at + 1
            ),
        ),
        JsonError::TooDeep => cast::too_deep(),
    }
}

impl<'a> Call<'a> {
    /// An operand as a document: JSON as it is, text read.
    fn document(&self, at: usize) -> Result<Cow<'a, Json>, SqlError> {
        match self.arg(at) {
            Value::Json(document) => Ok(Cow::Borrowed(&**document)),
            Value::Text(text) => match Json::parse(text) {
                Ok(document) => Ok(Cow::Owned(document)),
                Err(error) => Err(invalid(self.name, at, error)),
            },
            Value::Enum(..) | Value::Set(..) => match Json::parse(&self.text(at)) {
                Ok(document) => Ok(Cow::Owned(document)),
                Err(error) => Err(invalid(self.name, at, error)),
            },
            _ => Err(wrong_type(self, at)),
        }
    }
}

/// An operand as a member of a document: text is a string.
fn operand(c: &Call<'_>, at: usize) -> Json {
    cast::scalar_json(c.arg(at), c.arg_type(at), c.ctx)
}

fn path(c: &Call<'_>, at: usize) -> Result<Path, SqlError> {
    Path::parse(&c.text(at)).map_err(|error| {
        SqlError::new(
            ErrorCode::InvalidJsonPath,
            format!("Invalid JSON path expression. The error is around character position {}.", error.0),
        )
    })
}

fn single_path(c: &Call<'_>, at: usize) -> Result<Path, SqlError> {
    let path = path(c, at)?;
    if path.has_wildcard() {
        return Err(SqlError::new(
            ErrorCode::InvalidJsonPathWildcard,
            "In this situation, path expressions may not contain the * and ** tokens or an array range.",
        ));
    }
    Ok(path)
}

/// Applies a change at each of the pairs of path and value behind the document.
fn change(
    c: &mut Call<'_>,
    apply: fn(&mut Json, &Path, Json) -> Result<(), SqlError>,
) -> Result<Value, SqlError> {
    if c.len().is_multiple_of(2) {
        return Err(wrong_count(c.name));
    }
    if c.arg(0).is_null() || (1..c.len()).step_by(2).any(|at| c.arg(at).is_null()) {
        return Ok(Value::Null);
    }
    let mut document = c.document(0)?.into_owned();
    for at in (1..c.len()).step_by(2) {
        let path = single_path(c, at)?;
        apply(&mut document, &path, operand(c, at + 1))?;
    }
    if document.depth() > crate::json::MAX_DEPTH {
        return Err(cast::too_deep());
    }
    Ok(json(document))
}

fn one_or_all(c: &Call<'_>, at: usize) -> Result<bool, SqlError> {
    let word = c.text(at);
    if word.eq_ignore_ascii_case("all") {
        Ok(true)
    } else if word.eq_ignore_ascii_case("one") {
        Ok(false)
    } else {
        let name = c.name.to_ascii_lowercase();
        Err(SqlError::new(
            ErrorCode::JsonBadOneOrAll,
            format!("The oneOrAll argument to {name} may take these values: 'one' or 'all'."),
        ))
    }
}

fn merge_preserve(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let mut merged = c.document(0)?.into_owned();
    for at in 1..c.len() {
        merged = merged.merge_preserve(c.document(at)?.into_owned());
    }
    Ok(json(merged))
}

fn merge_patch(c: &mut Call<'_>) -> Result<Value, SqlError> {
    // NULL is unknown; a later operand that is no object replaces everything before it.
    let mut merged = None;
    for at in 0..c.len() {
        merged = if c.arg(at).is_null() {
            None
        } else {
            let patch = c.document(at)?.into_owned();
            match (merged.take(), &patch) {
                (Some(Json::Null), _) if at == 0 => Some(patch),
                (Some(document), _) => Some(Json::merge_patch(document, patch)),
                (None, Json::Object(_)) if at > 0 => None,
                (None, _) => Some(patch),
            }
        };
    }
    Ok(merged.map_or(Value::Null, json))
}

fn overlaps(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Array(x), Json::Array(y)) => {
            x.iter().any(|item| y.iter().any(|other| item.compare(other).is_eq()))
        }
        (Json::Array(items), other) | (other, Json::Array(items)) => {
            items.iter().any(|item| item.compare(other).is_eq())
        }
        (Json::Object(x), Json::Object(_)) => {
            x.iter().any(|(key, value)| b.get(key).is_some_and(|other| other.compare(value).is_eq()))
        }
        _ => a.compare(b).is_eq(),
    }
}

fn member_of(c: &mut Call<'_>) -> Result<Value, SqlError> {
    let wanted = operand(c, 0);
    let document = c.document(1)?;
    Ok(Value::Int(match &*document {
        Json::Array(items) => items.iter().any(|item| item.compare(&wanted).is_eq()).into(),
        scalar => scalar.compare(&wanted).is_eq().into(),
    }))
}

/// JSON_SEARCH(document, 'one' | 'all', pattern [, escape [, path …]]).
fn search(c: &mut Call<'_>) -> Result<Value, SqlError> {
    if [0, 1, 2].iter().any(|at| c.arg(*at).is_null()) {
        return Ok(Value::Null);
    }
    let document = c.document(0)?;
    let all = one_or_all(c, 1)?;
    let escape = if c.len() > 3 && !c.arg(3).is_null() { c.text(3).chars().next() } else { Some('\\') };
    let like = crate::compare::Like::new(&c.text(2), escape, Collation::UTF8MB4_BIN);
    let mut found = Vec::new();
    let paths = (4..c.len()).map(|at| path(c, at)).collect::<Result<Vec<_>, _>>()?;
    let mut here = Vec::new();
    walk(&document, &mut here, &mut |place: &[Leg], text| {
        let within = |path: &Path| path.legs.len() <= place.len() && path_covers(path, place);
        if like.matches(text) && (paths.is_empty() || paths.iter().any(within)) {
            let printed = print_path(place);
            if !found.contains(&printed) {
                found.push(printed);
            }
        }
    });
    if !all {
        found.truncate(1);
    }
    Ok(match found.len() {
        0 => Value::Null,
        1 => json(Json::String(found.remove(0))),
        _ => json(Json::Array(found.into_iter().map(Json::String).collect())),
    })
}

fn path_covers(path: &Path, place: &[Leg]) -> bool {
    fn covers(legs: &[Leg], place: &[Leg]) -> bool {
        let Some((leg, rest)) = legs.split_first() else { return true };
        if let Leg::Anywhere = leg {
            return (0..=place.len()).any(|skip| covers(rest, &place[skip..]));
        }
        let Some((own, below)) = place.split_first() else { return false };
        let same = match (leg, own) {
            (Leg::AnyKey, Leg::Key(_)) | (Leg::AnyCell, Leg::Cell(_)) => true,
            (a, b) => a == b,
        };
        same && covers(rest, below)
    }
    covers(&path.legs, place)
}

fn walk(value: &Json, here: &mut Vec<Leg>, found: &mut dyn FnMut(&[Leg], &str)) {
    match value {
        Json::String(text) => found(here, text),
        Json::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                here.push(Leg::Cell(crate::json::path::Index::First(at)));
                walk(item, here, found);
                here.pop();
            }
        }
        Json::Object(members) => {
            for (key, item) in members {
                here.push(Leg::Key(key.clone()));
                walk(item, here, found);
                here.pop();
            }
        }
        _ => {}
    }
}

fn print_path(legs: &[Leg]) -> String {
    let mut out = String::from("$");
    for leg in legs {
        match leg {
            Leg::Key(key) => {
                let plain = key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
                    && key.chars().next().is_some_and(|c| !c.is_ascii_digit());
                if plain {
                    out.push('.');
                    out.push_str(key);
                } else {
                    let mut quoted = Vec::new();
                    crate::json::write_quoted(key, &mut quoted);
                    out.push('.');
                    out.push_str(&String::from_utf8_lossy(&quoted));
                }
            }
            Leg::Cell(crate::json::path::Index::First(at)) => out.push_str(&format!("[{at}]")),
            _ => {}
        }
    }
    out
}
