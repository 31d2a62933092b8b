//! What a program said, where it succeeded.

use std::process::Output;

pub fn checked(output: Output, arguments: &[&str]) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}{errors}");
    text
}
