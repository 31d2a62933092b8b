//! Image references as a container runtime reports them.
use std::fmt::Write;

use sha2::{Digest, Sha256};

/// `nginx` is `docker.io/library/nginx:latest` to the runtime.
pub(crate) fn canonical(image: &str) -> String {
    let (first, rest) = image.split_once('/').unwrap_or(("", image));
    let named_host = first.contains('.') || first.contains(':') || first == "localhost";
    let mut out = match (first, named_host) {
        ("", _) => format!("docker.io/library/{rest}"),
        (_, false) => format!("docker.io/{image}"),
        (_, true) => image.to_owned(),
    };
    let name = out.rsplit('/').next().unwrap_or_default();
    if !name.contains(':') && !name.contains('@') {
        out.push_str(":latest");
    }
    out
}

/// `docker.io/library/nginx@sha256:...`: the same for the same content.
pub(crate) fn image_id(image: &str, content: Option<&str>) -> String {
    let canonical = canonical(image);
    if let Some((name, digest)) = canonical.split_once('@') {
        return format!("{}@{digest}", repository(name));
    }
    let digest = hex(&Sha256::digest(content.unwrap_or(&canonical)));
    format!("{}@sha256:{digest}", repository(&canonical))
}

/// Whether a reference can be parsed at all.
pub(crate) fn is_valid(image: &str) -> bool {
    let name_ok = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    let repository = repository(&canonical(image)).to_owned();
    let path = repository.split_once('/').map_or("", |(_, path)| path);
    !image.is_empty() && image.chars().all(name_ok) && !path.chars().any(|c| c.is_ascii_uppercase())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

fn repository(canonical: &str) -> &str {
    let slash = canonical.rfind('/').unwrap_or(0);
    canonical[slash..]
        .find(':')
        .map_or(canonical, |colon| &canonical[..slash + colon])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed_as_a_runtime_does() {
        assert_eq!(canonical("nginx"), "docker.io/library/nginx:latest");
        assert_eq!(canonical("a/b:1"), "docker.io/a/b:1");
        assert_eq!(canonical("localhost:5000/x:1"), "localhost:5000/x:1");
    }

    #[test]
    fn two_tags_of_one_content_have_one_digest() {
        assert_eq!(image_id("app:1", Some("x")), image_id("app:2", Some("x")));
        assert_ne!(image_id("app:1", None), image_id("app:2", None));
        assert!(image_id("r.io:80/app:1", None).starts_with("r.io:80/app@sha256:"));
    }
}
