"""Tries to change every field of the objects in bases.yaml on a real API server and writes down what it answered.

    TIDEGATE_TESTBED_BIN=DIR WITHOUT= ../../../apimerge/tests/record/api_server.sh \
        python3 record.py ../data/recorded.json.zlib

The file is zlib over {"bases": [...], "cases": [[base, operation, subresource, path, value, answer]]}; every change is
a dry run of an update, of a subresource, or of a new object. `tests/recorded.rs` replays them. Answers of decoding
(400) and of admission (403) are left out: they are not this crate's.
"""
import copy, http.client, json, os, ssl, sys, urllib.parse, zlib

import yaml

URL = urllib.parse.urlparse(os.environ["API"])
CONNECTION = http.client.HTTPSConnection(URL.netloc, context=ssl._create_unverified_context())
NAMESPACE = "rules"
PREFIXES = {
    "": ["pods", "services", "configmaps", "secrets"],
    "apps/v1": ["deployments", "replicasets", "statefulsets", "daemonsets", "controllerrevisions"],
    "batch/v1": ["jobs", "cronjobs"],
    "policy/v1": ["poddisruptionbudgets"],
    "coordination.k8s.io/v1": ["leases"],
    "rbac.authorization.k8s.io/v1": ["roles", "rolebindings"],
}
PATHS = {
    resource: (f"/apis/{prefix}" if prefix else "/api/v1") + f"/namespaces/{NAMESPACE}/{resource}"
    for prefix, resources in PREFIXES.items() for resource in resources
} | {
    "nodes": "/api/v1/nodes",
    "namespaces": "/api/v1/namespaces",
    "priorityclasses": "/apis/scheduling.k8s.io/v1/priorityclasses",
}
THE_SERVERS = {"uid", "resourceVersion", "creationTimestamp", "managedFields", "apiVersion", "kind", "generation"}


def send(verb, path, body=None):
    headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "application/json"}
    CONNECTION.request(verb, path, None if body is None else json.dumps(body), headers)
    answer = CONNECTION.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if text else {}


def places(value, path=()):
    """Every place in an object but its root."""
    if path:
        yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in inner:
        yield from places(child, path + (step,))


def at(value, path):
    for step in path:
        value = value[step]
    return value


def changed(value, path, new):
    value = copy.deepcopy(value)
    holder = at(value, path[:-1])
    if new is None:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return value


def variants(value):
    if isinstance(value, bool):
        return [not value, None]
    if isinstance(value, int):
        return [value + 1, -1, 0, 99999, None]
    if isinstance(value, str):
        return ["changed", "Bad_Value!", "", None]
    if isinstance(value, list):
        return [None] + ([value + [value[0]]] if value else []) + ([value[::-1]] if len(value) > 1 else [])
    return [None]


def took(answer, path, new):
    """Whether a change that was accepted is there: defaults and pruning undo some."""
    try:
        return at(answer, path) == new
    except (KeyError, IndexError, TypeError):
        return new is None


class Recorder:
    def __init__(self):
        self.bases, self.cases = [], []

    def note(self, case, code, answer):
        if code in (400, 404, 405, 409) or code == 403 and answer.get("reason") == "Forbidden":
            return
        wanted = {"code": code}
        if code >= 300:
            wanted["message"] = answer.get("message", "")
        elif "generation" in answer.get("metadata", {}):
            wanted["generation"] = answer["metadata"]["generation"]
        self.cases.append(case + [wanted])

    def try_update(self, base, stored, url, subresource, path, new):
        target = url + ("/" + subresource if subresource else "")
        code, answer = send("PUT", target + "?dryRun=All", changed(stored, path, new))
        if code < 300:
            answer["metadata"].pop("managedFields", None)
            if new is None and answer == stored or new is not None and not subresource and not took(answer, path, new):
                return
        self.note([base, "update", subresource, list(path), new], code, answer)

    def record(self, given):
        resource, extra = given.pop("resource"), given.pop("extra", [])
        subresources, status = given.pop("subs", []), given.pop("setstatus", None)
        name, collection = given["metadata"]["name"], PATHS[resource]
        url = f"{collection}/{name}"
        code, stored = send("POST", collection, given)
        if code >= 300:
            sys.exit(f"{resource} {name}: {stored.get('message')}")
        if status:
            stored["status"].update(status)
            code, stored = send("PUT", url + "/status", stored)
        if "ephemeral" in name:
            stored["spec"]["ephemeralContainers"] = [{"name": "dbg", "image": "busybox"}]
            code, stored = send("PUT", url + "/ephemeralcontainers", stored)
        stored["metadata"].pop("managedFields", None)
        base = len(self.bases)
        self.bases.append({"resource": resource, "object": stored})
        fresh = copy.deepcopy(stored)
        for field in ("uid", "resourceVersion", "creationTimestamp", "generation"):
            fresh["metadata"].pop(field, None)
        fresh["metadata"]["name"] = name + "-new"
        fresh.pop("status", None)
        changes = [(path, new) for path, value in places(stored)
                   if not THE_SERVERS.intersection(s for s in path if isinstance(s, str)) for new in variants(value)]
        changes += [(tuple(path), new) for path, new in extra]
        for path, new in changes:
            of_status = path[0] == "status"
            if of_status and "status" not in subresources:
                continue
            targets = ([] if of_status else [""]) + [s for s in subresources if s != "status" or of_status]
            for subresource in targets:
                try:
                    self.try_update(base, stored, url, subresource, path, new)
                except (KeyError, IndexError, TypeError):
                    continue
            if not of_status:
                try:
                    code, answer = send("POST", collection + "?dryRun=All", changed(fresh, path, new))
                except (KeyError, IndexError, TypeError):
                    continue
                if code >= 300 or took(answer, path, new):
                    self.note([base, "create", "", list(path), new], code, answer)


send("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
send("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}})
recorder = Recorder()
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "bases.yaml")) as bases:
    for document in yaml.safe_load_all(bases):
        if document:
            recorder.record(document)
print(f"{len(recorder.bases)} objects, {len(recorder.cases)} cases")
text = json.dumps({"bases": recorder.bases, "cases": recorder.cases}, separators=(",", ":"))
with open(sys.argv[1], "wb") as out:
    out.write(zlib.compress(text.encode(), 9))
