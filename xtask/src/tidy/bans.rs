//! What clippy cannot see: names that say nothing, the client outside its crate, clocks in pure crates.

use super::Source;

/// Crates whose code takes time and randomness as arguments.
const PURE: [&str; 6] = [
    "model",
    "workload",
    "apischema",
    "apimerge",
    "apirules",
    "apiextensions",
];

struct Ban {
    pattern: &'static str,
    why: &'static str,
    applies: fn(&str) -> bool,
}

const BANS: [Ban; 6] = [
    Ban {
        pattern: "SystemTime::now",
        why: "deciders get `now` as an argument",
        applies: is_pure,
    },
    Ban {
        pattern: "Instant::now",
        why: "deciders get `now` as an argument",
        applies: is_pure,
    },
    Ban {
        pattern: "Timestamp::now",
        why: "time comes from a Clock",
        applies: outside_clocks,
    },
    Ban {
        pattern: "rand::rng()",
        why: "randomness is an argument, so that a seed repeats a run",
        applies: is_pure,
    },
    Ban {
        pattern: "async fn",
        why: "deciders are not async",
        applies: is_pure,
    },
    Ban {
        pattern: "kube::Client",
        why: "only `cluster` speaks to Kubernetes",
        applies: outside_cluster,
    },
];

const EMPTY_NAMES: [&str; 5] = ["utils", "util", "helper", "helpers", "common"];

pub fn check(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources
        .iter()
        .filter(|s| !s.is_test() && !s.path.starts_with("xtask/"))
    {
        let file = source
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs");
        if EMPTY_NAMES.contains(&file) {
            findings.push(format!("{}: a file's name says what is in it", source.path));
        }
        let code = source.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for ban in BANS.iter().filter(|b| (b.applies)(&source.path)) {
            for (index, _) in code
                .lines()
                .enumerate()
                .filter(|(_, l)| l.contains(ban.pattern) && !is_comment(l))
            {
                findings.push(format!(
                    "{}:{}: `{}`: {}",
                    source.path,
                    index + 1,
                    ban.pattern,
                    ban.why
                ));
            }
        }
    }
    findings
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn is_pure(path: &str) -> bool {
    PURE.iter()
        .any(|krate| path.starts_with(&format!("crates/{krate}/src/")))
}

fn outside_clocks(path: &str) -> bool {
    path.starts_with("crates/") && !path.ends_with("/clock.rs")
}

fn outside_cluster(path: &str) -> bool {
    path.starts_with("crates/") && !path.starts_with("crates/cluster/")
}
