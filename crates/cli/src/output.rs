//! What commands print. Nobody reading any more (`| head`) is no failure, and ends no work half way.

use std::fmt::{Arguments, Display};
use std::io::{self, ErrorKind, Write as _};

/// The answer a command was asked for; a reader that is gone has enough of it.
pub fn answer(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// A line about what is being done, which goes on whether it can be read or not. Whether it could.
pub fn line(text: Arguments<'_>) -> bool {
    writeln!(io::stdout().lock(), "{text}").is_ok()
}

/// As `println!`, which panics where nobody reads.
macro_rules! say {
    ($($text:tt)*) => {{
        $crate::output::line(format_args!($($text)*));
    }};
}
pub(crate) use say;
