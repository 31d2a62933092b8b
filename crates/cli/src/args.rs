//! What can be typed. The doc comments are the help texts, the man pages and the completions.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Lets change into a Kubernetes cluster a little at a time, checks every step, and closes by itself when the
/// tide turns.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve an embedded cluster with simulated nodes until Ctrl-C, and roll the sample sidecar out on it
    Up(UpArgs),
    /// Run the operator against a cluster
    Operator(OperatorArgs),
    /// Show how far an upgrade is, and what it waits for
    Status(StatusArgs),
    /// Stop an upgrade where it is
    Pause(TargetArgs),
    /// Let a paused upgrade go on
    Resume(TargetArgs),
    /// Write an earlier revision back into the spec
    Rollback(RollbackArgs),
    /// Real Kubernetes on this machine, built from its Go modules
    Testbed {
        #[command(subcommand)]
        command: TestbedCommand,
    },
    /// Install the Helm chart into the current cluster
    Install(InstallArgs),
    /// Print a completion script for a shell
    Completion { shell: clap_complete::Shell },
    /// Write man pages into a directory
    Man { dir: PathBuf },
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Simulated nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub nodes: u32,
    /// Where the cluster's state is kept; a later start continues from it
    #[arg(long, value_name = "DIR", default_value = ".tidegate/data")]
    pub data_dir: PathBuf,
    /// Where the API is served
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7443")]
    pub listen: SocketAddr,
    /// Where an administrator's kubeconfig is written
    #[arg(long, value_name = "FILE", default_value = ".tidegate/kubeconfig")]
    pub kubeconfig: PathBuf,
    /// Start with an empty cluster
    #[arg(long)]
    pub no_sample: bool,
    /// Seed of the simulation's delays, failures and names; another one at each start, printed, unless given
    #[arg(long)]
    pub seed: Option<u64>,
}

#[derive(Debug, Args)]
pub struct OperatorArgs {
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The operator's own namespace: revisions, lease, certificates
    #[arg(long, default_value = "tidegate-system", value_parser = parse_namespace)]
    pub namespace: String,
    /// Where admission requests are answered
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:9443")]
    pub listen: SocketAddr,
    /// Where metrics and health are served
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8080")]
    pub metrics: SocketAddr,
    /// Service in our namespace that leads the API server to --listen
    #[arg(long, value_name = "NAME", conflicts_with = "webhook_url")]
    pub service: Option<String>,
    /// URL by which the API server reaches --listen, for an operator outside the cluster
    /// [default: https:// and the address of --listen, this machine's where that is a wildcard]
    #[arg(long, value_name = "URL", value_parser = parse_webhook_url)]
    pub webhook_url: Option<String>,
    /// Create the CustomResourceDefinition and the webhook configurations where they are missing
    /// [default: true, but with --service, whose Helm chart brings its own, false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub install: Option<bool>,
    /// Namespace whose pods are never touched, beside our own; repeat for several, leave empty for none
    #[arg(
        long = "exclude-namespace",
        value_name = "NAMESPACE",
        default_value = "kube-system",
        value_parser = parse_excluded
    )]
    pub excluded: Vec<String>,
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

impl OperatorArgs {
    pub fn installs(&self) -> bool {
        self.install.unwrap_or(self.service.is_none())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Which cluster is meant.
#[derive(Debug, Clone, Args)]
pub struct ConnectionArgs {
    /// Kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

#[derive(Debug, Args)]
pub struct TargetArgs {
    /// sidecarset/NAME
    #[arg(value_parser = parse_target)]
    pub target: Target,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Redraw as it changes, until Ctrl-C or until nothing is left to do
    #[arg(long, short)]
    pub watch: bool,
    /// Print the API object
    #[arg(long, short, value_enum)]
    pub output: Option<Output>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Json,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// The revision number to go back to [default: the one before the current]
    #[arg(long, value_name = "N")]
    pub to_revision: Option<i64>,
    /// Print what would be moved, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub enum TestbedCommand {
    /// Start a control plane and nodes with real kubelets; prints the kubeconfig's path
    Up(TestbedArgs),
    /// Stop it and remove its state
    Down,
}

#[derive(Debug, Args)]
pub struct TestbedArgs {
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// Kubernetes version
    #[arg(long, value_name = "V", default_value = testbed::DEFAULT_VERSION, value_parser = testbed::parse_version)]
    pub version: String,
}

#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Print the YAML; needs neither helm nor a cluster. With --take-over or --give-back: print what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Where OpenKruise runs: install beside it, and take its SidecarSets over, in mid-upgrade as well. Its other
    /// kinds stay with it. Cut off, it goes on where it was when it is run again
    #[arg(long)]
    pub take_over: bool,
    /// The way back: Kruise runs the SidecarSets again, and our operator stands by
    #[arg(long, conflicts_with = "take_over")]
    pub give_back: bool,
    /// The operator's namespace; made where it is missing
    #[arg(long, default_value = "tidegate-system", value_parser = parse_namespace)]
    pub namespace: String,
    /// Image of the operator, REPOSITORY:TAG [default: the chart's]
    #[arg(long, value_name = "IMAGE", value_parser = parse_image)]
    pub image: Option<Image>,
    /// Any value of the chart, for helm; repeat for several
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "dry_run")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// An image by repository and tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub repository: String,
    pub tag: String,
}

fn parse_image(text: &str) -> Result<Image, String> {
    let odd = |letter: char| letter.is_whitespace() || letter == '"' || letter == ',';
    // A colon before a slash belongs to the registry's port.
    match text.rsplit_once(':') {
        Some((repository, tag))
            if !repository.is_empty()
                && !tag.is_empty()
                && !tag.contains(['/', '@'])
                && !text.contains(odd) =>
        {
            Ok(Image {
                repository: repository.to_owned(),
                tag: tag.to_owned(),
            })
        }
        _ => Err("expected REPOSITORY:TAG".to_owned()),
    }
}

/// A name of a namespace; the whole message where it is none.
fn parse_namespace(text: &str) -> Result<String, String> {
    let plain = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = |end: Option<&u8>| end.is_some_and(|&letter| plain(letter));
    let inside = bytes.iter().all(|&letter| plain(letter) || letter == b'-');
    if ends(bytes.first()) && ends(bytes.last()) && inside && bytes.len() <= 63 {
        Ok(text.to_owned())
    } else {
        Err("a namespace is at most 63 of a-z, 0-9 and -, with a letter or digit at both ends".to_owned())
    }
}

/// Nothing excludes none.
fn parse_excluded(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Ok(String::new())
    } else {
        parse_namespace(text)
    }
}

/// An object a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub name: String,
}

fn parse_target(text: &str) -> Result<Target, String> {
    const KINDS: [&str; 3] = ["sidecarset", "sidecarsets", "sidecarsets.apps.kruise.io"];
    match text.split_once('/') {
        Some((kind, name)) if KINDS.contains(&kind.to_ascii_lowercase().as_str()) && is_name(name) => {
            Ok(Target {
                name: name.to_owned(),
            })
        }
        Some((kind, name)) if !KINDS.contains(&kind.to_ascii_lowercase().as_str()) && is_name(name) => Err(
            format!("{kind:?} is not a kind this command knows: sidecarset/NAME"),
        ),
        _ => Err("expected sidecarset/NAME".to_owned()),
    }
}

/// What can be a part of a URL's path; the API server knows the rest.
fn is_name(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '.';
    !text.is_empty() && text.chars().all(plain)
}

/// The API server calls webhooks over HTTPS alone, and takes no query.
fn parse_webhook_url(text: &str) -> Result<String, String> {
    let url: http::Uri = text.parse().map_err(|e| format!("{e}"))?;
    let host = url.host().filter(|host| !host.is_empty());
    match (url.scheme_str(), host, url.query()) {
        (Some("https"), Some(_), None) if url.port_u16() != Some(0) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("expected https://HOST[:PORT][/PATH]".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_image_has_a_tag() {
        let image = parse_image("registry:5000/tidegate/tidegate:0.2.0").unwrap();
        assert_eq!(
            (&*image.repository, &*image.tag),
            ("registry:5000/tidegate/tidegate", "0.2.0")
        );
        for wrong in [
            "tidegate",
            "registry:5000/tidegate",
            ":1",
            "tidegate:",
            "",
            "a b:1",
            "a,b=c:1",
        ] {
            assert!(parse_image(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_target_names_its_kind() {
        assert_eq!(
            parse_target("SidecarSet/log"),
            Ok(Target {
                name: "log".to_owned()
            })
        );
        for wrong in [
            "log",
            "pod/log",
            "sidecarset/",
            "/log",
            "",
            "sidecarset/a/b",
            "sidecarset/a?b",
        ] {
            assert!(parse_target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_webhook_is_called_over_https() {
        for right in ["https://host:9443", "https://[::1]:9443/", "https://host/path"] {
            assert!(parse_webhook_url(right).is_ok(), "{right}");
        }
        for wrong in [
            "nonsense",
            "http://host:9443",
            "https://",
            "https://host?x=y",
            "https://host:0",
            "",
        ] {
            assert!(parse_webhook_url(wrong).is_err(), "{wrong}");
        }
    }
}
