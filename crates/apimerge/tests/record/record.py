"""Sends random patches, applies and updates to a real API server and writes down what it answered.

    ./api_server.sh python3 record.py ../data/recorded.bin SEED...

The file is raw deflate over a JSON list of stories; a story is a list of steps on one object, each with the
request and the answer. `tests/recorded.rs` replays them: each step starts from the object that the server had.
"""
import copy, http.client, json, os, random, ssl, sys, urllib.parse, zlib

out, seeds = sys.argv[1], [int(seed) for seed in sys.argv[2:]] or [1]
R = random.Random()
url = urllib.parse.urlparse(os.environ["API"])
conn = http.client.HTTPSConnection(url.netloc, context=ssl._create_unverified_context())
MEDIA = {"apply": "application/apply-patch+yaml", "strategic": "application/strategic-merge-patch+json",
         "merge": "application/merge-patch+json", "json": "application/json-patch+json"}


def send(verb, path, body=None, media="application/json"):
    headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": media, "User-Agent": "recorder/1"}
    conn.request(verb, path, None if body is None else json.dumps(body), headers)
    answer = conn.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if text.startswith(b"{") else {"message": text.decode()}


def pick(*options): return R.choice(options)
def maybe(p=0.5): return R.random() < p
def some(options, least=0): return R.sample(options, R.randint(least, len(options)))
def labels(): return {k: pick("1", "2", "x") for k in some(["app", "tier", "zone", "v"])}


def ports(key):
    rows = [{key: 80, "name": "a"}, {key: 80, "protocol": "UDP", "name": "b"}, {key: 443, "protocol": "TCP", "name": "c"}, {key: 9, "name": "d"}]
    return [dict(p) for p in some(rows, 1)]


def env():
    return [{"name": n, "value": pick("1", "2")} if maybe(.8) else {"name": n, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
            for n in some(["A", "B", "C", "D", "E"])]


def container(name, full):
    c = {"name": name}
    if full or maybe(.97): c["image"] = pick("nginx:1", "nginx:2", "busybox")
    if maybe(.3): c["env"] = env()
    if maybe(.3): c["ports"] = ports("containerPort")
    if maybe(.3): c["args"] = some(["a", "b", "c"])
    if maybe(.3): c["resources"] = {"limits": {"cpu": pick("1", "500m", 2), "memory": "64Mi"}}
    if maybe(.2): c["securityContext"] = pick({}, {"runAsUser": 1}, {"capabilities": {"add": ["NET_ADMIN"]}})
    if maybe(.2): c["volumeMounts"] = [{"name": v, "mountPath": "/" + v} for v in some(["v1", "v2"])]
    if maybe(.2): c["livenessProbe"] = {"httpGet": {"port": pick(80, "a"), "path": "/"}}
    return c


def podspec(full):
    names = some(["a", "b", "c", "d", "e"], 1)
    R.shuffle(names)
    spec = {"containers": [container(n, full) for n in names]}
    if full or maybe(.7): spec["volumes"] = [{"name": "v1", "emptyDir": {}}, {"name": "v2", "configMap": {"name": pick("x", "y")}}]
    if maybe(.3): spec["tolerations"] = [{"key": k, "operator": "Exists"} for k in some(["a", "b"], 1)]
    if maybe(.3): spec["nodeSelector"] = labels()
    if maybe(.2): spec["terminationGracePeriodSeconds"] = pick(0, 5, 30)
    if maybe(.2): spec["hostAliases"] = [{"ip": i, "hostnames": some(["h1", "h2"], 1)} for i in some(["10.0.0.1", "10.0.0.2"], 1)]
    if maybe(.2): spec["imagePullSecrets"] = [{"name": n} for n in some(["s1", "s2", "s3"])]
    if maybe(.2): spec["topologySpreadConstraints"] = [
        {"maxSkew": 1, "topologyKey": k, "whenUnsatisfiable": pick("DoNotSchedule", "ScheduleAnyway"), "labelSelector": {"matchLabels": {"app": "x"}}} for k in some(["zone", "host"], 1)]
    if maybe(.2): spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}}
    return spec


def meta(full):
    m = {}
    if full or maybe(.4): m["labels"] = labels()
    if maybe(.4): m["annotations"] = {k: pick("1", "2") for k in some(["n/a", "n/b", "n/c"])}
    if maybe(.3): m["finalizers"] = some(["t.dev/a", "t.dev/b", "t.dev/c"])
    if maybe(.15): m["ownerReferences"] = [{"apiVersion": "v1", "kind": "Node", "name": n, "uid": n} for n in some(["n1", "n2"])]
    return m


def deployment(full):
    spec = {}
    if full: spec["selector"] = {"matchLabels": {"app": "x"}}
    if maybe(.4): spec["replicas"] = pick(0, 1, 3)
    if maybe(.3): spec["strategy"] = pick({"type": "Recreate"}, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": pick(1, "10%")}}, {"rollingUpdate": {"maxUnavailable": 2}})
    if maybe(.2): spec["paused"] = pick(True, False)
    if maybe(.2): spec["minReadySeconds"] = pick(0, 3)
    if full or maybe(.8):
        t = meta(False); t.pop("finalizers", None); t.pop("ownerReferences", None)
        t["labels"] = dict(labels(), app="x")
        spec["template"] = {"metadata": t, "spec": podspec(full)}
    return {"metadata": meta(full), "spec": spec}


def service(full):
    spec = {}
    if full or maybe(.6): spec["ports"] = ports("port")
    if maybe(.4): spec["selector"] = labels()
    if maybe(.2): spec["type"] = pick("ClusterIP", "NodePort")
    if maybe(.2): spec["sessionAffinity"] = pick("None", "ClientIP")
    if maybe(.2): spec["externalIPs"] = some(["1.2.3.4", "1.2.3.5"])
    return {"metadata": meta(full), "spec": spec}


def configmap(full):
    o = {"metadata": meta(full)}
    if full or maybe(.7): o["data"] = {k: pick("1", "2", "a<b>&c") for k in some(["a", "b", "c.d", "e-f"])}
    if maybe(.2): o["binaryData"] = {"z": pick("AAEC", "/w==")}
    return o


def pod(full):
    m = meta(full)
    if full: return {"metadata": m, "spec": podspec(True)}
    spec = {}
    if maybe(.5): spec["containers"] = [{"name": n, "image": pick("nginx:1", "nginx:3")} for n in some(["a", "b", "c"], 1)]
    if maybe(.3): spec["activeDeadlineSeconds"] = pick(100, 50)
    if maybe(.3): spec["tolerations"] = [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]
    return {"metadata": m, "spec": spec} if spec else {"metadata": m}


def widget(full):
    spec = {}
    if full or maybe(.6): spec["keyed"] = [dict({"name": n, "port": pick(1, 2)}, **({"proto": pick("TCP", "UDP")} if maybe() else {}), note=pick("x", "y")) for n in some(["a", "b", "c"])]
    if maybe(.5): spec["set"] = some(["a", "b", "c", "<d>"])
    if maybe(.4): spec["atomic"] = [{"k": pick(1, 2)} for _ in range(R.randint(0, 2))]
    if maybe(.4): spec["whole"] = {k: pick("1", "2") for k in some(["a", "b"])}
    if maybe(.4): spec["free"] = pick({"a": {"b": pick(1, 2)}}, {"a": [1, pick(2, 3)]}, {"l": {"x": 1}, "n": pick(1.5, 2)})
    if maybe(.3): spec["text"] = pick("x", "")
    if maybe(.3): spec["count"] = pick(0, 1, 5)
    o = {"metadata": meta(full), "spec": spec}
    if maybe(.3): o["status"] = {"phase": pick("A", "B")}
    return o


KINDS = {
    "Deployment": ("apps/v1", "/apis/apps/v1/namespaces/default/deployments", deployment, True),
    "Service": ("v1", "/api/v1/namespaces/default/services", service, True),
    "ConfigMap": ("v1", "/api/v1/namespaces/default/configmaps", configmap, True),
    "Pod": ("v1", "/api/v1/namespaces/default/pods", pod, True),
    "Widget": ("t.dev/v1", "/apis/t.dev/v1/namespaces/default/widgets", widget, False),
}
CRD = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.t.dev"},
       "spec": {"group": "t.dev", "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
                "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {
                        "spec": {"type": "object", "properties": {
                            "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "proto"], "items": {"type": "object", "required": ["name"], "properties": {
                                "name": {"type": "string"}, "proto": {"type": "string", "default": "TCP"}, "port": {"type": "integer"}, "note": {"type": "string"}}}},
                            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                            "atomic": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "integer"}}}},
                            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
                            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            "text": {"type": "string"}, "count": {"type": "integer"}}},
                        "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}}}}]}}


def directives(kind, live, patch):
    """Spices a strategic patch."""
    spec = patch.get("spec", {})
    spec = spec.get("template", {}).get("spec", spec)
    if "containers" in spec:
        names = [c["name"] for c in live.get("spec", {}).get("template", live).get("spec", {}).get("containers", [])] or ["a"]
        if maybe(.3): spec["containers"].append({"name": pick(*names), "$patch": "delete"})
        if maybe(.1): spec["containers"].append({"$patch": "replace"})
        if maybe(.3):
            order = [{"name": n} for n in names if maybe(.8)] + [{"name": c["name"]} for c in spec["containers"] if "name" in c and "$patch" not in c]
            R.shuffle(order)
            spec["$setElementOrder/containers"] = order
        if maybe(.1): spec["containers"].append({"image": "x"})
        if maybe(.1): spec["containers"][0]["$patch"] = pick("merge", "nonsense")
    if "volumes" in spec and maybe(.3): spec["volumes"] = [{"name": "v2", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}]
    if "strategy" in patch.get("spec", {}) and maybe(.5): patch["spec"]["strategy"] = {"$retainKeys": pick(["type"], []), "type": "Recreate"}
    if maybe(.4): patch.setdefault("metadata", {})["$deleteFromPrimitiveList/finalizers"] = some(["t.dev/a", "t.dev/b"], 1)
    # What is both added and deleted ends as Go happens to walk the patch.
    gone = patch.get("metadata", {}).get("$deleteFromPrimitiveList/finalizers", [])
    if patch.get("metadata", {}).get("finalizers"): patch["metadata"]["finalizers"] = [f for f in patch["metadata"]["finalizers"] if f not in gone]
    if maybe(.2): patch.setdefault("metadata", {})["$setElementOrder/finalizers"] = some(["t.dev/a", "t.dev/b", "t.dev/c"])
    if maybe(.1): patch.setdefault("metadata", {})["labels"] = {"$patch": pick("replace", "delete"), "app": "x"}
    if maybe(.05): patch["spec"] = {"$patch": "nonsense"}
    return patch


def nulls(value):
    if isinstance(value, dict):
        for key in list(value):
            if key in ("name", "containerPort", "port") or key.startswith("$"): continue
            if maybe(.04): value[key] = None
            else: nulls(value[key])
    elif isinstance(value, list):
        for item in value: nulls(item)
    return value


def pointers(value, at=""):
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items: yield from pointers(below, at + "/" + str(key).replace("~", "~0").replace("/", "~1"))


def json_ops(live, wish):
    places = [p for p in pointers({k: v for k, v in live.items() if k in ("metadata", "spec", "data")}) if "managedFields" not in p and p.count("/") > 1]
    ops = []
    if maybe(.6):
        ops = [{"op": "add", "path": "/metadata/labels", "value": labels()}, {"op": "test", "path": "/metadata/name", "value": live["metadata"]["name"]}]
        if "template" in live.get("spec", {}): ops += [
            {"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "new", "image": "x"}}, {"op": "replace", "path": "/spec/template/spec/containers/-1/image", "value": "y"}]
        if "ports" in live.get("spec", {}): ops += [{"op": "remove", "path": "/spec/ports/%d" % pick(0, -1)}]
        if maybe(.3): ops += [{"op": "copy", "from": "/metadata/labels", "path": "/metadata/annotations"}]
        return ops
    for _ in range(R.randint(1, 2)):
        path = pick(*places) if places else "/metadata/labels"
        kind = pick("add", "remove", "replace", "test", "copy", "move")
        op = {"op": kind, "path": pick(path, "/metadata/labels/new", path + "/nope/deeper", "/metadata/finalizers/-", "/spec/template/spec/containers/-1/image")}
        if kind in ("add", "replace", "test"): op["value"] = pick("x", "nginx:9", {"a": "b"}, ["t.dev/z"], 5)
        if kind in ("copy", "move"): op["from"] = path
        ops.append(op)
    if maybe(.05): return {"op": "add"}
    if maybe(.05): ops.append({"op": "nonsense", "path": "/x"})
    if maybe(.05): ops.append({"op": "add"})
    return ops


def spoil(config):
    """Now and then an applied configuration that does not fit."""
    if maybe(.04): config["metadata"]["managedFields"] = [{"manager": "x"}]
    if maybe(.04): config["nonsense"] = 1
    if maybe(.04) and "spec" in config: config["spec"]["replicas"] = "three"
    if maybe(.04): config["metadata"]["labels"] = pick("text", ["l"], {"a": 1})
    if maybe(.04): config["metadata"]["finalizers"] = ["t.dev/a", "t.dev/a"]
    if maybe(.03): config["kind"] = "Nonsense"
    return config


def story(kind, number):
    api_version, base, make, strategic = KINDS[kind]
    name = f"{kind.lower()}-{number}"
    steps, live = [], None

    def step(how, manager, body, sub="", force=False):
        nonlocal live
        query = urllib.parse.urlencode({"fieldManager": manager, **({"force": "true"} if force else {})})
        path = f"{base}/{name}{'/' + sub if sub else ''}?{query}"
        if how == "create": status, answer = send("POST", f"{base}?{query}", body)
        elif how == "update": status, answer = send("PUT", path, body)
        else: status, answer = send("PATCH", path, body, MEDIA[how])
        row = {"how": how, "manager": manager, "body": body, "status": status}
        if sub: row["sub"] = sub
        if force: row["force"] = True
        if status < 300: row["object"] = live = answer
        else: row["error"] = {k: answer.get(k) for k in ("reason", "message", "details") if k in answer}
        steps.append(row)

    def whole(o, full=False):
        o.update(apiVersion=api_version, kind=kind)
        o["metadata"]["name"] = name
        return o

    first = whole(make(True))
    if maybe(.6): step("create", pick("m1", "kubectl-create", "kubectl-client-side-apply"), first)
    else: step("apply", pick("m1", "m2", "kubectl"), first)
    if live is None: return steps
    for _ in range(R.randint(8, 14)):
        how = pick("apply", "apply", "apply", "strategic", "merge", "json", "update", "status")
        manager = pick("m1", "m2", "m3", "kubectl", "u%d" % R.randint(1, 14))
        if how == "strategic" and not strategic: how = "merge"
        if how == "apply":
            own = [s for s in steps if s["how"] == "apply" and s["manager"] == manager and s["status"] < 300 and "sub" not in s]
            config = copy.deepcopy(own[-1]["body"]) if own and maybe(.4) else whole(make(maybe(.3)))
            if own and maybe(.5) and "spec" in config and config["spec"]:
                gone = pick(*config["spec"]); value = config["spec"][gone]
                if isinstance(value, list) and value and maybe(): value.pop(R.randrange(len(value)))
                elif gone != "selector": del config["spec"][gone]
            step("apply", manager, spoil(config), force=maybe(.4))
        elif how == "strategic": step(how, manager, nulls(directives(kind, live, make(False))))
        elif how == "merge": step(how, manager, nulls(make(False)))
        elif how == "json": step(how, manager, json_ops(live, None))
        elif how == "update":
            new = copy.deepcopy(live)
            change = make(False)
            for part in ("spec", "data"):
                if part in change and part in new: new[part].update({k: v for k, v in change[part].items() if k != "selector"})
            if maybe(.3): new["metadata"]["labels"] = labels()
            if maybe(.2): new["metadata"].pop("managedFields", None)
            elif maybe(.1): new["metadata"]["managedFields"] = pick([], [{}])
            step(how, manager, new)
        elif kind in ("Deployment", "Widget"):
            body = {"status": {"replicas": pick(1, 2), "observedGeneration": 1} if kind == "Deployment" else {"phase": pick("A", "B")}}
            if maybe(.5): body["spec"] = {"replicas": 7}
            if maybe(.3): step("apply", manager, whole({"metadata": {}, "status": body["status"]}), "status", maybe())
            else: step("merge", manager, body, "status")
    return steps


while send("GET", "/api/v1/namespaces/default")[0] != 200: pass
send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD)
while send("GET", KINDS["Widget"][1])[0] != 200: pass
stories = []
KIND_OF = ["Deployment"] * 22 + ["Service"] * 10 + ["ConfigMap"] * 8 + ["Pod"] * 8 + ["Widget"] * 14
for seed, (number, kind) in ((seed, row) for seed in seeds for row in enumerate(KIND_OF)):
    if number == 0: R.seed(seed)
    stories.append({"kind": kind, "steps": story(kind, f"{seed}-{number}")})
packer = zlib.compressobj(9, zlib.DEFLATED, -15)
data = packer.compress(json.dumps(stories, separators=(",", ":"), sort_keys=True).encode()) + packer.flush()
open(out, "wb").write(data)
rows = [s for st in stories for s in st["steps"]]
print(len(rows), "steps,", sum(s["status"] < 300 for s in rows), "accepted,", len(data), "bytes")
