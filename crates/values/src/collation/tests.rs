use super::*;
use proptest::prelude::*;

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

proptest! {
    #[test]
    fn sort_keys_are_ordered_as_the_texts(
        a in "[a-cA-CäÄß \t_中😀\u{301}\u{ac00}0]{0,6}",
        b in "[a-cA-CäÄß \t_中😀\u{301}\u{ac00}0]{0,6}",
    ) {
        for info in COLLATIONS {
            if matches!(info.scale, Scale::Latin1(_)) && !(a.is_ascii() && b.is_ascii()) {
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
