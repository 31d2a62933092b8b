#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

fn run(resource: Resource, variable: &str, text: &str) -> Result<String, ExpressionError> {
    let variable = Quantity::parse(variable).unwrap();
    Expression::parse(text)?
        .evaluate(resource, variable)
        .map(|q| q.to_string())
}

fn cpu(variable: &str, text: &str) -> Result<String, ExpressionError> {
    run(Resource::Cpu, variable, text)
}

fn memory(variable: &str, text: &str) -> Result<String, ExpressionError> {
    run(Resource::Memory, variable, text)
}

#[test]
fn the_recorded_results_are_met() {
    for (text, result) in [
        ("cpu/3", "333m"),
        ("cpu*1.5+100m", "1600m"),
        ("max(cpu*50%, 50m)", "500m"),
        ("cpu-1", "0"),
    ] {
        assert_eq!(cpu("1", text).unwrap(), result, "{text}");
    }
    for (text, result) in [
        ("memory*50%", "512Mi"),
        ("memory/3", "357913941333m"),
        ("min(memory, 200M)", "200M"),
        ("0.7", "700m"),
    ] {
        assert_eq!(memory("1Gi", text).unwrap(), result, "{text}");
    }
}

#[test]
fn operators_bind_left_to_right_and_products_first() {
    assert_eq!(cpu("1", "10-3-2").unwrap(), "5");
    assert_eq!(cpu("1", "8/2/2").unwrap(), "2");
    assert_eq!(cpu("1", "1+2*3").unwrap(), "7");
    assert_eq!(cpu("1", "-(1-3)").unwrap(), "2");
    assert_eq!(cpu("2", "MAX(Cpu, 1e0)").unwrap(), "2");
    assert_eq!(memory("1Gi", "MEMORY").unwrap(), "1Gi");
}

#[test]
fn what_cannot_be_computed_is_an_error() {
    assert!(matches!(cpu("1", "cpu*cpu"), Err(ExpressionError::Type(_))));
    assert!(matches!(cpu("1", "2/cpu"), Err(ExpressionError::Type(_))));
    assert!(matches!(cpu("1", "cpu/0"), Err(ExpressionError::DivisionByZero)));
    assert!(matches!(cpu("1", "memory"), Err(ExpressionError::UnknownName(_))));
    assert!(matches!(cpu("1", "cpu-2"), Err(ExpressionError::Negative(_))));
    assert!(matches!(cpu("1", "1e30"), Err(ExpressionError::TooLarge)));
    for bad in [
        "",
        "max(1)",
        "max(1,2,3)",
        "(1",
        "1)",
        "1 2",
        "cpu cpu",
        "*",
        "1..2",
        "é",
    ] {
        assert!(
            matches!(cpu("1", bad), Err(ExpressionError::Syntax { .. })),
            "{bad}"
        );
    }
    assert!(cpu("1", &"(".repeat(100_000)).is_err());
    assert!(cpu("1", &"-".repeat(1000)).is_err());
}

#[test]
fn other_suffixes_count_as_zero_and_are_named() {
    let e = Expression::parse("1n + 5K + 1E + 100m").unwrap();
    assert_eq!(e.odd_literals(), ["1n", "5K", "1E"]);
    assert_eq!(
        e.evaluate(Resource::Cpu, Quantity::ZERO).unwrap().to_string(),
        "100m"
    );
}

#[test]
fn only_a_negative_result_depends_on_the_pod() {
    let check = |resource, text: &str| Expression::parse(text).unwrap().check(resource);
    assert!(check(Resource::Cpu, "cpu-2").is_ok());
    assert!(check(Resource::Memory, "memory-100Mi").is_ok());
    assert!(check(Resource::Cpu, "cpu*cpu").is_err());
    assert!(check(Resource::Cpu, "2/cpu").is_err());
    assert!(check(Resource::Cpu, "memory").is_err());
}
