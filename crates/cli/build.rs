//! The chart is part of the binary: a change of it is a reason to build again.
fn main() {
    println!("cargo:rerun-if-changed=../../charts");
}
