//! `APIResourceList`s as `ResourceInfo`s.

use std::error::Error;

use apischema::{ResourceInfo, SubresourceInfo};
use serde_json::Value;

pub fn resources(lists: &[Value]) -> Result<Vec<ResourceInfo>, Box<dyn Error>> {
    let mut out: Vec<ResourceInfo> = Vec::new();
    for list in lists {
        let group_version = text(list, "groupVersion");
        let (group, version) = group_version.split_once('/').unwrap_or(("", &group_version));
        let entries = list["resources"]
            .as_array()
            .ok_or("a resource list without resources")?;
        for entry in entries.iter().filter(|e| !text(e, "name").contains('/')) {
            let plural = text(entry, "name");
            out.push(ResourceInfo {
                group: group.to_owned(),
                version: version.to_owned(),
                kind: text(entry, "kind"),
                singular: text(entry, "singularName"),
                short_names: texts(entry, "shortNames"),
                categories: texts(entry, "categories"),
                namespaced: entry["namespaced"].as_bool().unwrap_or(false),
                verbs: texts(entry, "verbs"),
                storage_version_hash: text(entry, "storageVersionHash"),
                subresources: subresources(entries, &plural, group, version),
                plural,
            });
        }
    }
    Ok(out)
}

fn subresources(entries: &[Value], plural: &str, group: &str, version: &str) -> Vec<SubresourceInfo> {
    let mut out = Vec::new();
    for entry in entries {
        let name = text(entry, "name");
        let Some((parent, sub)) = name.split_once('/') else {
            continue;
        };
        if parent != plural {
            continue;
        }
        // Discovery names group and version only where they differ from the list's.
        let own = entry.get("version").is_some();
        out.push(SubresourceInfo {
            name: sub.to_owned(),
            group: if own {
                text(entry, "group")
            } else {
                group.to_owned()
            },
            version: if own {
                text(entry, "version")
            } else {
                version.to_owned()
            },
            kind: text(entry, "kind"),
            verbs: texts(entry, "verbs"),
        });
    }
    out
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    let items = value[key].as_array().into_iter().flatten();
    items.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}
