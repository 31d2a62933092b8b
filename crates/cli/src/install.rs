//! `tidegate install`: the Helm chart that is part of this binary, by the helm on PATH.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use include_dir::{Dir, include_dir};

use crate::args::{Image, InstallArgs};
use crate::output::answer;

static CHART: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../charts/tidegate");

/// What real Helm makes of the chart with its default values for [`RENDERED_NAMESPACE`];
/// `cargo xtask chart` writes it, and the test that installs the chart holds it against Helm.
const RENDERED: &str = include_str!("../../../charts/rendered/default.yaml");
const RENDERED_NAMESPACE: &str = "tidegate-rendered-namespace";

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(
        "helm is not on PATH. Install it (version 3.18 or later, or 4), or apply the YAML yourself: \
         tidegate install --dry-run | kubectl apply -f -"
    )]
    NoHelm,
    #[error(
        "helm could not install the chart ({0}); what it says stands above. Is the cluster reachable? Where OpenKruise \
         is installed, the CustomResourceDefinition is its own: use --take-over"
    )]
    Helm(ExitStatus),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

pub fn run(args: &InstallArgs) -> Result<(), InstallError> {
    if args.dry_run {
        return answer(render(args)).map_err(|source| InstallError::Io {
            what: "printing the YAML".to_owned(),
            source,
        });
    }
    install(args, &[])
}

/// With Kruise's CRD left as it is: it is of Kruise's release, and its conversion is Kruise's until it is taken over.
pub fn beside_kruise(args: &InstallArgs) -> Result<(), InstallError> {
    install(args, &["--set", "crd.create=false"])
}

fn install(args: &InstallArgs, values: &[&str]) -> Result<(), InstallError> {
    let chart = unpack()?;
    let outcome = helm(args, &chart, values);
    // The copy is ours alone; a leftover in the temporary directory harms nobody.
    fs::remove_dir_all(&chart).ok();
    outcome
}

fn render(args: &InstallArgs) -> String {
    let namespace = &args.namespace;
    let mut chart = RENDERED.replace(RENDERED_NAMESPACE, namespace);
    if let Some(Image { repository, tag }) = &args.image {
        let default = concat!("image: \"tidegate/tidegate:", env!("CARGO_PKG_VERSION"), "\"");
        chart = chart.replace(default, &format!("image: \"{repository}:{tag}\""));
    }
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n{chart}")
}

fn helm(args: &InstallArgs, chart: &Path, values: &[&str]) -> Result<(), InstallError> {
    let mut helm = Command::new("helm");
    // What an earlier install was given stays, whatever this one is given: a CRD that is Kruise's above all.
    helm.args(["upgrade", "--install", "--reset-then-reuse-values", "tidegate"])
        .arg(chart)
        .args(values);
    helm.args([
        "--namespace",
        &args.namespace,
        "--create-namespace",
        "--wait",
        "--timeout",
        "3m",
    ]);
    if let Some(Image { repository, tag }) = &args.image {
        helm.args([
            "--set-string",
            &format!("image.repository={repository},image.tag={tag}"),
        ]);
    }
    for value in &args.set {
        helm.args(["--set", value]);
    }
    if let Some(kubeconfig) = &args.connection.kubeconfig {
        helm.arg("--kubeconfig").arg(kubeconfig);
    }
    if let Some(context) = &args.connection.context {
        helm.arg("--kube-context").arg(context);
    }
    let status = helm.status().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => InstallError::NoHelm,
        _ => InstallError::Io {
            what: "starting helm".to_owned(),
            source,
        },
    })?;
    if status.success() {
        Ok(())
    } else {
        Err(InstallError::Helm(status))
    }
}

fn unpack() -> Result<PathBuf, InstallError> {
    let dir = std::env::temp_dir().join(format!("tidegate-chart-{}", std::process::id()));
    let failed = |source| InstallError::Io {
        what: format!("writing the chart to {}", dir.display()),
        source,
    };
    fs::create_dir_all(&dir).map_err(failed)?;
    CHART.extract(&dir).map_err(failed)?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_rendered_yaml_names_only_the_namespace_and_the_image_asked_for() {
        let args = InstallArgs {
            dry_run: true,
            namespace: "elsewhere".to_owned(),
            image: Some(Image {
                repository: "registry.example.com/t".to_owned(),
                tag: "v2".to_owned(),
            }),
            set: Vec::new(),
            take_over: false,
            give_back: false,
            connection: crate::args::ConnectionArgs {
                kubeconfig: None,
                context: None,
            },
        };
        let yaml = render(&args);
        assert!(yaml.contains("namespace: elsewhere"));
        assert!(!yaml.contains(RENDERED_NAMESPACE));
        assert!(
            yaml.contains("image: \"registry.example.com/t:v2\"") && !yaml.contains("tidegate/tidegate:")
        );
    }

    #[test]
    fn the_binary_carries_the_whole_chart() {
        for file in [
            "Chart.yaml",
            "values.yaml",
            "values.schema.json",
            "templates/operator.yaml",
        ] {
            assert!(CHART.get_file(file).is_some(), "{file}");
        }
    }

    #[test]
    fn the_chart_brings_the_sidecarsets_we_know() {
        let copy = CHART.get_file("files/sidecarsets.apps.kruise.io.yaml").unwrap();
        assert!(
            copy.contents_utf8() == Some(model::sidecarset::CRD),
            "cargo xtask chart copies it"
        );
    }

    #[test]
    fn webhook_configurations_are_in_the_release_and_say_nothing_of_what_the_operator_fills_in() {
        let documents: Vec<serde_json::Value> = serde_yaml_ng::Deserializer::from_str(RENDERED)
            .map(|d| serde::Deserialize::deserialize(d).unwrap())
            .collect();
        let of = |kind: &str| documents.iter().find(|d| d["kind"] == kind).unwrap();
        let options = operators::Options::new(RENDERED_NAMESPACE);
        for (kind, name) in [
            ("MutatingWebhookConfiguration", options.mutating_configuration),
            ("ValidatingWebhookConfiguration", options.validating_configuration),
        ] {
            assert_eq!(of(kind)["metadata"]["name"], name);
            assert_eq!(of(kind).get("webhooks"), None);
        }
        let client = &of("CustomResourceDefinition")["spec"]["conversion"]["webhook"]["clientConfig"];
        assert_eq!(client["service"]["namespace"], RENDERED_NAMESPACE);
        assert_eq!(client.get("caBundle"), None);
    }
}
