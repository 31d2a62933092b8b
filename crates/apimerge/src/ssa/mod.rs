//! Server-side apply (being written).
