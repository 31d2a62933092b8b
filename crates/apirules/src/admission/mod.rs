//! Built-in admission.
