use super::*;
use proptest::prelude::*;
use std::borrow::Cow;

fn collation(name: &str) -> Collation {
    Collation::find(name).unwrap()
}

fn sign(name: &str, a: &str, b: &str) -> i8 {
    collation(name).compare(a, b) as i8
}

#[test]
fn the_list_is_sorted_by_id() {
    assert!(COLLATIONS.windows(2).all(|pair| pair[0].id < pair[1].id));
    for charset in Charset::all() {
        assert_eq!(charset.charset.info().name, charset.name);
        assert!(charset.default_collation.info().default);
        assert_eq!(charset.default_collation.charset(), charset.charset);
    }
}

#[test]
fn case_and_accents_count_as_each_collation_says() {
    let ai = "utf8mb4_0900_ai_ci";
    assert_eq!(sign(ai, "Straße", "STRASSE"), 0);
    assert_eq!(sign(ai, "resume", "Résumé"), 0);
    assert_eq!(sign(ai, "e\u{301}", "é"), 0);
    assert_eq!(sign(ai, "a", "b"), -1);
    assert_eq!(sign(ai, "a", "a "), -1);
    assert_eq!(sign(ai, "a\u{1}", "a"), 0);
    assert_eq!(sign(ai, "中", "国"), -1);
    assert_eq!(sign(ai, "😀", "😁"), -1);
    assert_eq!(sign(ai, "10", "9"), -1);
    assert_eq!(sign(ai, "_", "a"), -1);
    assert_eq!(sign("utf8mb4_0900_as_cs", "a", "A"), -1);
    assert_eq!(sign("utf8mb4_0900_as_cs", "A", "á"), -1);
    assert_eq!(sign("utf8mb4_0900_as_ci", "a", "A"), 0);
    assert_eq!(sign("utf8mb4_0900_as_ci", "a", "á"), -1);
    assert_eq!(sign("utf8mb4_general_ci", "ß", "s"), 0);
    assert_eq!(sign("utf8mb4_general_ci", "Ä ", "a"), 0);
    assert_eq!(sign("utf8mb4_general_ci", "a\t", "a"), -1);
    assert_eq!(sign("utf8mb4_unicode_ci", "ß", "ss  "), 0);
    assert_eq!(sign("utf8mb4_bin", "a", "a  "), 0);
    assert_eq!(sign("utf8mb4_bin", "A", "a"), -1);
    assert_eq!(sign("utf8mb4_0900_bin", "a", "a "), -1);
    assert_eq!(sign("latin1_swedish_ci", "Å", "å"), 0);
    assert_eq!(sign("latin1_swedish_ci", "z", "å"), -1);
    assert_eq!(sign("latin1_bin", "a", "a "), 0);
}

#[test]
fn names_are_found_in_any_case_and_by_their_aliases() {
    assert_eq!(collation("UTF8MB4_BIN").0, 46);
    assert_eq!(collation("utf8_general_ci").0, 33);
    assert_eq!(collation("utf8mb4_uca1400_ai_ci").0, 255);
    assert_eq!(collation("utf8mb4_de_pb_0900_ai_ci").0, 255);
    assert_eq!(Collation::find("klingon_ci").unwrap_err().code.errno(), 1273);
    assert_eq!(Charset::find("utf8"), Ok(Charset::Utf8mb3));
    assert_eq!(Charset::find("x").unwrap_err().code.errno(), 1115);
}

#[test]
fn collations_meet_by_coercibility() {
    use Coercibility::*;
    let of = |name: &str, coercibility| Derivation::new(collation(name), coercibility);
    let column = of("utf8mb4_general_ci", Implicit);
    let other = of("utf8mb4_unicode_ci", Implicit);
    let literal = of("utf8mb4_0900_ai_ci", Coercible);
    let explicit = of("utf8mb4_bin", Explicit);
    assert_eq!(aggregate_for_comparison(&[literal, column], "="), Ok(column.collation));
    assert_eq!(aggregate_for_comparison(&[explicit, column], "="), Ok(explicit.collation));
    let error = aggregate_for_comparison(&[column, other], "=").unwrap_err();
    assert_eq!(error.code.errno(), 1267);
    assert_eq!(
        error.message,
        "Illegal mix of collations (utf8mb4_general_ci,IMPLICIT) and (utf8mb4_unicode_ci,IMPLICIT) \
         for operation '='"
    );
    assert_eq!(aggregate(&[column, other], "concat").unwrap().collation.name(), "utf8mb4_bin");
    let latin = of("latin1_swedish_ci", Implicit);
    assert_eq!(aggregate_for_comparison(&[latin, literal], "="), Ok(latin.collation));
    assert_eq!(aggregate_for_comparison(&[latin, column], "="), Ok(column.collation));
}

#[test]
fn text_converts_to_smaller_sets_with_marks() {
    assert_eq!(encode("aä€😀", Charset::Latin1).0.as_ref(), b"a\xe4\x80?");
    assert_eq!(encode("aä😀", Charset::Ascii), (b"a??".to_vec().into(), true));
    assert_eq!(decode(b"a\xe4\x80", Charset::Latin1).unwrap(), "aä€");
    let error = decode(b"a\xff\xfe", Charset::Utf8mb4).unwrap_err();
    assert_eq!(error.message, "Invalid utf8mb4 character string: '\\xFF\\xFE'");
}

#[test]
fn texts_of_other_character_sets_are_read_and_written() {
    for (charset, text, bytes) in [
        (Charset::Cp1251, "Ёж №1", &b"\xa8\xe6 \xb91"[..]),
        (Charset::Koi8r, "Привет", b"\xf0\xd2\xc9\xd7\xc5\xd4"),
        (Charset::Cp866, "Привет", b"\x8f\xe0\xa8\xa2\xa5\xe2"),
        (Charset::Latin2, "Łódź", b"\xa3\xf3d\xbc"),
        (Charset::Cp1250, "€ž", b"\x80\x9e"),
        (Charset::Greek, "Ωμέγα", b"\xd9\xec\xdd\xe3\xe1"),
        (Charset::Gbk, "中文a", b"\xd6\xd0\xce\xc4a"),
        (Charset::Gb18030, "中😀", b"\xd6\xd0\x949\xfc6"),
        (Charset::Big5, "中文", b"\xa4\xa4\xa4\xe5"),
        (Charset::Sjis, "日本ｱ", b"\x93\xfa\x96{\xb1"),
        (Charset::Ujis, "日本", b"\xc6\xfc\xcb\xdc"),
        (Charset::Euckr, "한국", b"\xc7\xd1\xb1\xb9"),
    ] {
        let name = charset.name();
        assert_eq!(encode(text, charset), (Cow::Borrowed(bytes), false), "{name}");
        assert_eq!(decode(bytes, charset).unwrap(), text, "{name}");
        assert!(text.chars().all(|c| charset.has(c)), "{name}");
        assert_eq!(encode("a\u{1f9ff}", charset).1, charset != Charset::Gb18030, "{name}");
        assert!(Charset::Utf8mb4.includes(charset) && charset.includes(Charset::Ascii));
    }
    let error = |bytes: &[u8], charset| decode(bytes, charset).unwrap_err().message;
    assert_eq!(error(b"a\x98", Charset::Cp1251), "Invalid cp1251 character string: '\\x98'");
    assert_eq!(error(b"a\xd6\xd0\xff", Charset::Gbk), "Invalid gbk character string: '\\xFF'");
    assert_eq!(error(b"ab\x93", Charset::Sjis), "Invalid sjis character string: '\\x93'");
}

#[test]
fn every_byte_of_a_set_of_one_byte_each_is_its_own_or_nothing() {
    for info in Charset::all().iter().filter(|info| info.max_length == 1 && info.charset != Charset::Binary) {
        for byte in 0..=255u8 {
            if let Ok(text) = decode(&[byte], info.charset) {
                assert_eq!(encode(&text, info.charset), (Cow::Borrowed(&[byte][..]), false), "{}", info.name);
            }
        }
    }
}

#[test]
fn other_character_sets_have_their_own_order() {
    // As MariaDB 10.11 answers.
    assert_eq!(sign("cp1251_general_ci", "ПРИВЕТ", "привет "), 0);
    assert_eq!(sign("cp1251_general_ci", "е", "Ё"), -1);
    assert_eq!(sign("cp1251_general_ci", "Ё", "ж"), -1);
    assert_eq!(sign("cp1251_general_cs", "А", "а"), -1);
    assert_eq!(sign("cp1251_bin", "а", "Б"), 1);
    assert_eq!(sign("koi8r_general_ci", "ю", "А"), 1);
    // By code and not by letter.
    assert_eq!(sign("koi8r_bin", "ю", "А"), -1);
    assert_eq!(sign("latin5_turkish_ci", "I", "ı"), 0);
    assert_eq!(sign("latin5_turkish_ci", "I", "i"), -1);
    assert_eq!(sign("latin1_danish_ci", "z", "æ"), -1);
    assert_eq!(sign("latin2_general_ci", "ł", "Ł"), 0);
    assert_eq!(sign("gbk_chinese_ci", "a中", "A中 "), 0);
    // As it is spoken: a, ba, ... zuo; by code points it would be the other way round.
    assert_eq!(sign("gbk_chinese_ci", "啊", "中"), -1);
    assert_eq!(sign("gbk_bin", "a", "A"), 1);
    assert_eq!(sign("sjis_japanese_ci", "ｱ", "日"), 1);
    assert!(collation("koi8r_bin").is_bin() && !collation("gbk_chinese_ci").is_bin());
}

proptest! {
    #[test]
    fn sort_keys_are_ordered_as_the_texts(
        a in "[a-cA-CäÄß \t_中😀\u{301}\u{ac00}0]{0,6}",
        b in "[a-cA-CäÄß \t_中😀\u{301}\u{ac00}0]{0,6}",
    ) {
        for info in COLLATIONS {
            if matches!(info.scale, Scale::Bytes(_) | Scale::Table(_)) && !(a.is_ascii() && b.is_ascii()) {
                continue;
            }
            let (mut x, mut y) = (vec![], vec![]);
            info.id.sort_key(&a, &mut x);
            info.id.sort_key(&b, &mut y);
            prop_assert_eq!(x.cmp(&y), info.id.compare(&a, &b), "{}", info.name);
            prop_assert_eq!(info.id.compare(&a, &b), info.id.compare(&b, &a).reverse(), "{}", info.name);
        }
    }

    #[test]
    fn any_text_has_a_key(text: String) {
        for info in COLLATIONS {
            let mut key = vec![];
            info.id.sort_key(&text, &mut key);
            prop_assert!(info.id.compare(&text, &text).is_eq());
        }
    }
}
