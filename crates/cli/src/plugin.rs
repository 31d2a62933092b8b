//! `kubectl tidegate`: kubectl runs `kubectl-tidegate` from PATH, and asks `kubectl_complete-tidegate` what may
//! come next. Both are this program under another name.

use std::ffi::OsString;
use std::path::Path;

use clap_complete::engine::complete;

use crate::output::answer;

/// The name we were called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvokedAs {
    Tidegate,
    Plugin,
    PluginCompletion,
}

impl InvokedAs {
    pub fn of(argv0: Option<&OsString>) -> Self {
        let name = argv0
            .and_then(|a| Path::new(a).file_name())
            .and_then(|n| n.to_str());
        match name {
            Some("kubectl-tidegate") => Self::Plugin,
            Some("kubectl_complete-tidegate") => Self::PluginCompletion,
            _ => Self::Tidegate,
        }
    }
}

/// What cobra calls ShellCompDirectiveNoFileComp: only what is printed, no file names.
const NO_FILES: &str = ":4";

/// Prints what may stand in the last argument's place, as kubectl's own completion expects it.
pub fn print_completions(mut command: clap::Command, arguments: Vec<OsString>) -> std::io::Result<()> {
    let last = arguments.len().saturating_sub(1);
    let candidates = complete(&mut command, arguments, last, None)?;
    let mut out = String::new();
    for candidate in candidates {
        let value = candidate.get_value().to_string_lossy();
        match candidate.get_help() {
            Some(help) => out += &format!("{value}\t{help}\n"),
            None => out += &format!("{value}\n"),
        }
    }
    answer(out + NO_FILES + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_tells_who_asks() {
        let of = |name: &str| InvokedAs::of(Some(&OsString::from(name)));
        assert_eq!(of("/usr/local/bin/kubectl-tidegate"), InvokedAs::Plugin);
        assert_eq!(of("kubectl_complete-tidegate"), InvokedAs::PluginCompletion);
        assert_eq!(of("target/release/tidegate"), InvokedAs::Tidegate);
        assert_eq!(InvokedAs::of(None), InvokedAs::Tidegate);
    }
}
