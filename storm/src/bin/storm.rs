//! Prints the outcome of one seed after another: `storm FIRST COUNT [calm|stormy]`.
use tidegate_storm::{faults::Rates, run};

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|a| a.parse::<u64>().ok());
    let (first, count) = (number(0).unwrap_or(0), number(1).unwrap_or(1));
    let rates = match arguments.get(2).map(String::as_str) {
        Some("stormy") => Rates::stormy(),
        _ => Rates::calm(),
    };
    let mut failed = false;
    for seed in first..first + count {
        match run(seed, &rates) {
            Ok(outcome) => println!("{seed} {outcome:?}"),
            Err(error) => {
                failed = true;
                println!("{seed} failed: {error}");
            }
        }
    }
    std::process::ExitCode::from(u8::from(failed))
}
