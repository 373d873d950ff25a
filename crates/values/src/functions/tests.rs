use super::*;

#[test]
fn every_name_is_found_and_in_capitals() {
    let names: Vec<&str> = functions().map(|function| function.name).collect();
    assert!(names.len() > 200, "{}", names.len());
    for name in names {
        assert_eq!(name, name.to_ascii_uppercase());
        assert!(function(&name.to_ascii_lowercase()).is_some());
    }
    assert!(function("no_such_function").is_none());
}

#[test]
fn a_wrong_count_of_operands_is_error_1582() {
    let error = bind("left", &[], &EvalContext::default()).unwrap_err();
    assert_eq!(error.code.errno(), 1582);
    assert_eq!(error.message, "Incorrect parameter count in the call to native function 'LEFT'");
}

#[test]
fn no_function_panics_on_any_kind_of_operand() {
    let values = [
        Value::Null,
        Value::Int(i64::MIN),
        Value::Int(-1),
        Value::Int(3),
        Value::UInt(u64::MAX),
        Value::Double(1e308),
        Value::Decimal(Decimal::max(65, 30)),
        Value::text(""),
        Value::text("ä日本😀"),
        Value::text("2026-11-20 10:11:12.5"),
        Value::text("[1, {\"a\": 2}]"),
        Value::text("$.a[0]"),
        Value::Bytes(Bytes::from_static(b"\xff\x00a")),
        Value::Date(crate::Date::ZERO),
        Value::DateTime(crate::Date::new(9999, 12, 31).at_midnight()),
        Value::Time(Time { micros: -1 }),
        Value::Bit(5),
    ];
    let mut ctx = EvalContext { max_allowed_packet: 1 << 12, ..EvalContext::default() };
    for function in functions() {
        let most = function.max_args.unwrap_or(function.min_args + 2).min(4);
        for count in function.min_args..=most.max(function.min_args) {
            for shift in 0..values.len() * 7 {
                let args: Vec<Value> = (0..count)
                    .map(|at| values[(shift + at * (shift / values.len() + 1)) % values.len()].clone())
                    .collect();
                let types: Vec<ArgType> =
                    args.iter().map(|value| ArgType::literal(value.clone(), &ctx)).collect();
                if let Ok(bound) = function.bind(&types, &ctx)
                    && let Ok(value) = bound.eval(&mut ctx, &args)
                {
                    let mut out = Vec::new();
                    crate::format::write_text(&value, &bound.result_type, &mut out);
                    crate::format::write_binary(&value, &bound.result_type, &mut out);
                }
            }
        }
    }
}
