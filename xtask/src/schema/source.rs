//! Where the facts come from: a real API server, and the Go program beside this file.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testbed::{ApiServer, ApiServerOptions};

const KUBERNETES: &str = "v1.36.3";
const STAGING: &str = "v0.36.3";
const GO_SOURCES: [(&str, &str); 4] = [
    ("main.go", include_str!("go/main.go")),
    ("types.go", include_str!("go/types.go")),
    ("defaults.go", include_str!("go/defaults.go")),
    ("corpus.go", include_str!("go/corpus.go")),
];

/// Raw material of the tables.
pub struct Facts {
    pub types: Value,
    pub defaults: Value,
    pub corpus: Vec<u8>,
    /// `APIResourceList`s in the server's order of groups.
    pub discovery: Vec<Value>,
    pub openapi_v2: Vec<u8>,
    pub openapi_v3: BTreeMap<String, (String, Vec<u8>)>,
}

pub fn work_dir() -> Result<PathBuf, Box<dyn Error>> {
    let cache = std::env::var_os("TIDEGATE_CACHE").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(".cache/tidegate"))
    });
    let dir = cache
        .ok_or("neither TIDEGATE_CACHE nor HOME is set")?
        .join("schema");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Starts an API server, reads it, stops it, and runs the Go program.
pub fn record(work: &Path) -> Result<Facts, Box<dyn Error>> {
    let server_dir = work.join("server");
    if server_dir.exists() {
        std::fs::remove_dir_all(&server_dir)?;
    }
    let server = ApiServer::start(&ApiServerOptions::in_dir(&server_dir))?;
    let discovery = read_discovery(&server)?;
    let openapi_v2 = get(&server, "/openapi/v2")?;
    let openapi_v3 = read_openapi_v3(&server)?;
    drop(server);

    let openapi_file = work.join("openapi_v2.json");
    std::fs::write(&openapi_file, &openapi_v2)?;
    let group_versions: Vec<&str> = discovery
        .iter()
        .filter_map(|list| list["groupVersion"].as_str())
        .collect();
    let out = run_go(work, &openapi_file, &group_versions.join(","))?;
    Ok(Facts {
        types: serde_json::from_slice(&std::fs::read(out.join("types.json"))?)?,
        defaults: serde_json::from_slice(&std::fs::read(out.join("defaults.json"))?)?,
        corpus: std::fs::read(out.join("corpus.json"))?,
        discovery,
        openapi_v2,
        openapi_v3,
    })
}

fn read_discovery(server: &ApiServer) -> Result<Vec<Value>, Box<dyn Error>> {
    let mut lists = vec![serde_json::from_slice(&get(server, "/api/v1")?)?];
    let groups: Value = serde_json::from_slice(&get(server, "/apis")?)?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        for version in group["versions"].as_array().into_iter().flatten() {
            let path = format!("/apis/{}", version["groupVersion"].as_str().unwrap_or_default());
            lists.push(serde_json::from_slice(&get(server, &path)?)?);
        }
    }
    Ok(lists)
}

/// By group version: the hash the server names it by, and the document.
type Documents = BTreeMap<String, (String, Vec<u8>)>;

fn read_openapi_v3(server: &ApiServer) -> Result<Documents, Box<dyn Error>> {
    let index: Value = serde_json::from_slice(&get(server, "/openapi/v3")?)?;
    let mut documents = BTreeMap::new();
    for (path, entry) in index["paths"].as_object().into_iter().flatten() {
        let url = entry["serverRelativeURL"].as_str().unwrap_or_default();
        let hash = url.split_once("hash=").map_or("", |(_, hash)| hash);
        documents.insert(path.clone(), (hash.to_owned(), get(server, url)?));
    }
    Ok(documents)
}

fn get(server: &ApiServer, path: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let output = server.kubectl().args(["get", "--raw", path]).output()?;
    if !output.status.success() {
        return Err(format!("GET {path}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(output.stdout)
}

fn run_go(work: &Path, openapi: &Path, group_versions: &str) -> Result<PathBuf, Box<dyn Error>> {
    let dir = work.join("go");
    std::fs::create_dir_all(&dir)?;
    for (name, text) in GO_SOURCES {
        std::fs::write(dir.join(name), text)?;
    }
    write_go_mod(&dir)?;
    go(&dir, &["mod", "tidy"])?;
    go(
        &dir,
        &["build", "-trimpath", "-ldflags", "-s -w", "-o", "schema", "."],
    )?;
    let out = work.join("out");
    std::fs::create_dir_all(&out)?;
    let mut command = Command::new(dir.join("schema"));
    command
        .arg("-openapi")
        .arg(openapi)
        .args(["-group-versions", group_versions])
        .arg("-out")
        .arg(&out);
    finish(&mut command)?;
    Ok(out)
}

/// Kubernetes' own go.mod names its staging modules as v0.0.0; ours names the released ones.
fn write_go_mod(dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut text = format!("module schema\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes {KUBERNETES}\n");
    std::fs::write(dir.join("go.mod"), &text)?;
    let module = format!("k8s.io/kubernetes@{KUBERNETES}");
    let described: Value = serde_json::from_str(&go(dir, &["mod", "download", "-json", &module])?)?;
    let go_mod = std::fs::read_to_string(
        described["GoMod"]
            .as_str()
            .ok_or("go mod download names no go.mod")?,
    )?;
    for line in go_mod.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some("v0.0.0")) = (words.next(), words.next())
            && name.starts_with("k8s.io/")
        {
            text.push_str(&format!("require {name} {STAGING}\n"));
        }
    }
    std::fs::write(dir.join("go.mod"), text)?;
    Ok(())
}

fn go(dir: &Path, args: &[&str]) -> Result<String, Box<dyn Error>> {
    finish(
        Command::new("go")
            .args(args)
            .current_dir(dir)
            .env("CGO_ENABLED", "0"),
    )
}

fn finish(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}
