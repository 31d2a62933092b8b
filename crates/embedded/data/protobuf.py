#!/usr/bin/env python3
"""Writes protobuf.txt: field numbers of the built-in kinds, from the .proto files of Kubernetes' modules.

Usage: protobuf.py MODULE_DIR... > protobuf.txt     (k8s.io/api and k8s.io/apimachinery of one version)
A line is `MESSAGE` or, indented, `NUMBER NAME TYPE`: s string, b bool, i integer, y bytes, d double, or a
message; `*` before it repeats, `%` is a map from strings.
"""
import json, os, re, sys

messages = {}
for root in sys.argv[1:]:
    for folder, _, files in os.walk(root):
        if "generated.proto" not in files:
            continue
        text = re.sub(r"//[^\n]*", "", open(os.path.join(folder, "generated.proto")).read())
        package = re.search(r"^package ([\w.]+);", text, re.M).group(1)
        for name, body in re.findall(r"^message (\w+) \{(.*?)^\}", text, re.M | re.S):
            fields = []
            for label, kind, field, number in re.findall(
                r"^\s*(optional|repeated)?\s*(map<\s*string\s*,\s*[\w.]+\s*>|[\w.]+)\s+(\w+) = (\d+)", body, re.M
            ):
                mark = "*" if label == "repeated" else ""
                if kind.startswith("map"):
                    mark, kind = "%", re.search(r",\s*([\w.]+)", kind).group(1)
                fields.append((int(number), field, mark, kind.lstrip("."), package))
            messages[package + "." + name] = fields

SCALARS = {"string": "s", "bool": "b", "bytes": "y", "double": "d"}
SCALARS.update({k: "i" for k in ("int32", "int64", "uint32", "uint64", "sint32", "sint64")})

def resolve(kind, package):
    for candidate in (kind, package + "." + kind):
        if candidate in messages:
            return candidate
    raise SystemExit(f"unknown type {kind} in {package}")

def short(name):
    return name.replace("k8s.io.apimachinery.pkg.", "~").replace("k8s.io.api.", "")

here = os.path.dirname(os.path.abspath(__file__))
todo = ["k8s.io.apimachinery.pkg.apis.meta.v1.DeleteOptions"]
for version in json.load(open(os.path.join(here, "resources.json"))):
    package = (version["group"] or "core").split(".")[0]
    for resource in version["resources"]:
        kinds = [(package, version["version"], resource["responseKind"]["kind"])]
        for sub in resource.get("subresources", []):
            kind = sub.get("responseKind") or {}
            group = (kind.get("group") or version["group"] or "core").split(".")[0]
            kinds.append((group, kind.get("version") or version["version"], kind.get("kind", "")))
        todo += [f"k8s.io.api.{g}.{v}.{k}" for g, v, k in kinds if f"k8s.io.api.{g}.{v}.{k}" in messages]

seen = {}
while todo:
    name = todo.pop()
    if name in seen:
        continue
    seen[name] = []
    for number, field, mark, kind, package in messages[name]:
        if kind in SCALARS:
            code = SCALARS[kind]
        else:
            target = resolve(kind, package)
            todo.append(target)
            code = short(target)
        seen[name].append(f" {number} {field} {mark}{code}")
for name in sorted(seen):
    print(short(name))
    print("\n".join(seen[name]) if seen[name] else "", end="\n" if seen[name] else "")
