//! Data files: what separators, quotes and escapes mean, and that it does not matter how a file is cut into pieces.

use assize_values::infile::{FileFormat, RecordReader, RecordTooLong, Step};
use proptest::collection::vec;
use proptest::prelude::*;

/// Fields (NULL is `None`), and whether the line goes on behind them.
type Rows = Vec<(Vec<Option<Vec<u8>>>, bool)>;

const BYTES_MAX: usize = 1 << 20;

fn read_pieces<'a>(
    format: &FileFormat,
    width: usize,
    skip: u64,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Rows, RecordTooLong> {
    let mut reader = RecordReader::new(format.clone(), width, skip, BYTES_MAX);
    let mut pieces = pieces.into_iter();
    let mut rows = Vec::new();
    loop {
        match reader.step()? {
            Step::More => match pieces.next() {
                Some(piece) => reader.feed(piece),
                None => reader.end(),
            },
            Step::Record => {
                let record = reader.record();
                let field = |at| record.field(at).unwrap().map(<[u8]>::to_vec);
                rows.push(((0..record.len()).map(field).collect(), record.is_cut));
            }
            Step::End => return Ok(rows),
        }
    }
}

fn read(format: &FileFormat, width: usize, skip: u64, file: &[u8]) -> Rows {
    read_pieces(format, width, skip, [file]).unwrap()
}

/// As text: fields parted by `|`, NULL as `~`, a line that goes on with `…`.
fn shown(format: &FileFormat, width: usize, skip: u64, file: &str) -> Vec<String> {
    let show = |(fields, is_cut): (Vec<Option<Vec<u8>>>, bool)| {
        let text = |f: &Option<Vec<u8>>| {
            f.as_ref().map_or("~".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        fields.iter().map(text).collect::<Vec<_>>().join("|") + if is_cut { "…" } else { "" }
    };
    read(format, width, skip, file.as_bytes()).into_iter().map(show).collect()
}

fn csv() -> FileFormat {
    FileFormat { field_end: b",".to_vec(), quote: Some(b'"'), ..FileFormat::default() }
}

#[test]
fn the_default_format_is_that_of_dumps() {
    let format = FileFormat::default();
    let file = "1\ta\\tb\\nc\n2\t\\N\n3\t\\\\\\0\\Z\\b\\r\\x\n\n4\n5\tNULL\textra\n6\tlast";
    let rows = ["1|a\tb\nc", "2|~", "3|\\\0\u{1a}\u{8}\rx", "", "4", "5|NULL…", "6|last"];
    assert_eq!(shown(&format, 2, 0, file), rows);
    assert_eq!(shown(&format, 2, 5, file), rows[5..]);
    assert_eq!(shown(&format, 2, 99, file), [""; 0]);
    assert_eq!(shown(&format, 2, 0, ""), [""; 0]);
    // An escaped line end is none, also where lines are only passed by.
    assert_eq!(shown(&format, 1, 1, "head\\\nmore\nx\\\ny\n"), ["x\ny"]);
}

#[test]
fn quotes_enclose_separators_and_are_doubled_or_escaped() {
    let file = "1,\"a,b\"\n2,\"x\"\"y\\\"z\nw\"\n3,NULL\n4,\"NULL\"\n5,\\N\n6,\"half\n7,in\"side\"\n";
    let rows = ["1|a,b", "2|x\"y\"z\nw", "3|~", "4|NULL", "5|~", "6|half\n7,in\"side"];
    assert_eq!(shown(&csv(), 2, 0, file), rows);
    // A quote that nothing closes belongs to the field, and a word behind a closing quote does, too.
    assert_eq!(shown(&csv(), 2, 0, "1,\"open"), ["1|\"open"]);
    assert_eq!(shown(&csv(), 2, 0, "1,\"a\"b\"\n2,\"\"\n"), ["1|a\"b", "2|"]);
    assert_eq!(shown(&csv(), 2, 0, "1,\"end\""), ["1|end"]);
    let by_quote = FileFormat { escape: Some(b'"'), ..csv() };
    assert_eq!(shown(&by_quote, 2, 0, "1,\"fie\"\"ld\\n\"\n2,a\"b\n"), ["1|fie\"ld\\n", "2|a\"b"]);
    let no_escape = FileFormat { escape: None, ..csv() };
    assert_eq!(shown(&no_escape, 2, 0, "1,\\N\n2,\\\n"), ["1|\\N", "2|\\"]);
}

#[test]
fn separators_may_be_long_alike_or_missing() {
    let dos = FileFormat { line_end: b"\r\n".to_vec(), ..csv() };
    assert_eq!(shown(&dos, 2, 0, "1,\"a\"\r\n2,b\rc\n\r\n"), ["1|a", "2|b\rc\n"]);
    let long = FileFormat { field_end: b"<>".to_vec(), line_end: b"<<>".to_vec(), ..FileFormat::default() };
    assert_eq!(shown(&long, 2, 0, "1<>a<b<<>2<><<<>"), ["1|a<b", "2|<"]);
    let prefixed = FileFormat { line_start: b"xxx".to_vec(), ..csv() };
    let file = "xxxabc,1\nsomething xxxdef,2\nghi,3\nxxxxjkl,4\n";
    assert_eq!(shown(&prefixed, 2, 0, file), ["abc|1", "def|2", "xjkl|4"]);
    let alike = FileFormat { field_end: b"\n".to_vec(), ..FileFormat::default() };
    assert_eq!(shown(&alike, 2, 0, "1\na\n2\nb\n3"), ["1|a", "2|b", "3"]);
    assert_eq!(shown(&alike, 2, 1, "1\na\n2\nb\n"), ["2|b"]);
    let no_lines = FileFormat { line_end: Vec::new(), ..csv() };
    assert_eq!(shown(&no_lines, 2, 0, "1,a,2,b\n,"), ["1|a", "2|b\n"]);
}

#[test]
fn a_record_that_does_not_end_is_refused() {
    let endless = vec![b'x'; 4096];
    let pieces = std::iter::repeat_n(&endless[..], 1000);
    assert_eq!(read_pieces(&csv(), 2, 0, pieces), Err(RecordTooLong));
    // What is only passed by may be as long as it likes.
    let surplus = std::iter::once(&b"1,2,"[..]).chain(std::iter::repeat_n(&endless[..], 1000));
    let rows = read_pieces(&csv(), 2, 0, surplus).unwrap();
    assert_eq!(rows.len(), 1);
}

fn separator() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b",".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"aab".to_vec()),
        Just(Vec::new()),
    ]
}

fn any_format() -> impl Strategy<Value = FileFormat> {
    let sign = || prop_oneof![Just(None), Just(Some(b'"')), Just(Some(b'\\')), Just(Some(b'a'))];
    (separator(), separator(), prop_oneof![3 => Just(Vec::new()), 1 => Just(b"ab".to_vec())], sign(), sign())
        .prop_map(|(field_end, line_end, line_start, quote, escape)| FileFormat {
            field_end,
            line_end,
            line_start,
            quote,
            escape,
        })
}

fn any_file() -> impl Strategy<Value = Vec<u8>> {
    vec(proptest::sample::select(b"ab,\"\\\r\nN1".to_vec()), 0..80)
}

/// A field as SELECT … INTO OUTFILE writes it: signs and separators within it are escaped, NULL is `\N`.
fn written(field: Option<&[u8]>, format: &FileFormat, out: &mut Vec<u8>) {
    let escape = format.escape.unwrap();
    let Some(bytes) = field else {
        return out.extend([escape, b'N']);
    };
    out.extend(format.quote);
    for byte in bytes {
        let ends = [format.field_end[0], format.line_end[0]];
        match byte {
            0 => out.extend([escape, b'0']),
            byte if *byte == escape || Some(*byte) == format.quote => out.extend([escape, *byte]),
            byte if format.quote.is_none() && ends.contains(byte) => out.extend([escape, *byte]),
            byte => out.push(*byte),
        }
    }
    out.extend(format.quote);
}

proptest! {
    #[test]
    fn the_rows_do_not_depend_on_how_the_file_is_cut(
        format in any_format(),
        file in any_file(),
        width in 1usize..4,
        skip in 0u64..3,
        cuts in vec(1usize..6, 1..40),
    ) {
        let whole = read(&format, width, skip, &file);
        let mut rest = &file[..];
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        prop_assert_eq!(read_pieces(&format, width, skip, pieces).unwrap(), whole);
    }

    #[test]
    fn what_into_outfile_writes_is_read_back(
        quoted in any::<bool>(),
        dos in any::<bool>(),
        rows in vec(vec(proptest::option::of(vec(any::<u8>(), 0..12)), 3), 0..12),
        step in 1usize..20,
    ) {
        let format = FileFormat {
            field_end: if quoted { b",".to_vec() } else { b"\t".to_vec() },
            line_end: if dos { b"\r\n".to_vec() } else { b"\n".to_vec() },
            quote: quoted.then_some(b'"'),
            ..FileFormat::default()
        };
        let mut file = Vec::new();
        for row in &rows {
            for (at, field) in row.iter().enumerate() {
                if at > 0 {
                    file.extend_from_slice(&format.field_end);
                }
                written(field.as_deref(), &format, &mut file);
            }
            file.extend_from_slice(&format.line_end);
        }
        let expected: Rows = rows.into_iter().map(|row| (row, false)).collect();
        prop_assert_eq!(read_pieces(&format, 3, 0, file.chunks(step)).unwrap(), expected);
    }
}
