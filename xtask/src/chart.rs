//! What the chart carries of other places, and what real Helm makes of it: `tidegate install --dry-run` prints
//! that without Helm.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use testbed::{Binaries, DEFAULT_VERSION, Module};

/// Stands for the namespace asked for.
const NAMESPACE: &str = "tidegate-rendered-namespace";
const CRD: &str = "crates/model/crds/sidecarsets.apps.kruise.io.yaml";
const CRD_COPY: &str = "charts/tidegate/files/sidecarsets.apps.kruise.io.yaml";
const RENDERED: &str = "charts/rendered/default.yaml";

/// Copies the CRD into the chart and renders it; with `--check`, only says what differs.
pub fn run(args: &[String]) -> Result<(), Box<dyn Error>> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("usage: cargo xtask chart [--check]".into()),
    };
    let root = root()?;
    settle(&root, CRD_COPY, &std::fs::read(root.join(CRD))?, check)?;
    settle(&root, RENDERED, &render(&root)?, check)
}

fn root() -> Result<PathBuf, Box<dyn Error>> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(above.ok_or("xtask stands in no workspace")?.to_owned())
}

fn render(root: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let binaries = Binaries::build(&[Module::Helm], DEFAULT_VERSION, &mut |line| eprintln!("{line}"))?;
    let mut helm = Command::new(binaries.program("helm")?);
    helm.args(["template", "tidegate", "charts/tidegate", "--include-crds"]);
    let output = helm.args(["--namespace", NAMESPACE]).current_dir(root).output()?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("helm template: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

fn settle(root: &Path, file: &str, wanted: &[u8], check: bool) -> Result<(), Box<dyn Error>> {
    let path = root.join(file);
    if std::fs::read(&path).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if check {
        return Err(format!("{file} is not what its source makes: run cargo xtask chart").into());
    }
    std::fs::write(&path, wanted)?;
    println!("{file} is written");
    Ok(())
}
