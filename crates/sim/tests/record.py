#!/usr/bin/env python3
"""Plays the stories on a real cluster and writes the sequence of pod statuses seen into traces/.

    KUBECONFIG=... record.py [--kubectl kubectl] [--node node1] [STORY ...]
"""
import argparse, json, os, pathlib, subprocess, threading, time

HERE = pathlib.Path(__file__).parent
NAMESPACE = "sim-traces"


def state_text(state):
    for kind, what in (state or {}).items():
        if kind == "running":
            return "running"
        if kind == "waiting":
            return "waiting " + what.get("reason", "")
        return f"terminated {what.get('reason', '')} {what['exitCode']}"
    return ""


class Ordinals:
    """Names things by the order in which they were first seen, per container."""

    def __init__(self):
        self.seen = {}

    def of(self, scope, what):
        if not what:
            return ""
        known = self.seen.setdefault(scope, [])
        if what not in known:
            known.append(what)
        return f"#{known.index(what) + 1}"


def normalised(pod, ordinals):
    status = pod.get("status", {})
    out = {"phase": status.get("phase", ""), "conditions": {}, "containers": {}}
    out["behind"] = pod["metadata"].get("generation", 0) - status.get("observedGeneration", 0)
    out["deleting"] = "deletionTimestamp" in pod["metadata"]
    out["ip"] = bool(status.get("podIP"))
    for c in status.get("conditions", []):
        text = c["status"]
        for extra in ("reason", "message"):
            if c.get(extra):
                text += "; " + c[extra]
        out["conditions"][c["type"]] = text
    for field in ("initContainerStatuses", "containerStatuses"):
        for c in status.get(field, []):
            out["containers"][c["name"]] = {
                "state": state_text(c.get("state")),
                "last": state_text(c.get("lastState")),
                "ready": c["ready"],
                "started": c.get("started"),
                "restarts": c["restartCount"],
                "image": c["image"],
                "id": ordinals.of(c["name"] + "/id", c.get("containerID")),
                "imageID": ordinals.of(c["name"] + "/image", c.get("imageID")),
                "cpuLimit": c.get("resources", {}).get("limits", {}).get("cpu"),
            }
    return out


def holds(what, seen):
    if what == "gone":
        return seen == "gone"
    if seen is None or seen == "gone":
        return False
    if what == "ready":
        return seen["conditions"].get("Ready", "").startswith("True") and seen["behind"] == 0
    if what == "observed":
        return seen["behind"] == 0
    (kind, value), = what.items()
    if kind == "terminated":
        return seen["containers"].get(value, {}).get("state", "").startswith("terminated")
    if kind == "phase":
        return seen["phase"] == value
    if kind == "running":
        return seen["containers"].get(value, {}).get("state") == "running"
    (name, wanted), = value.items()
    if kind == "condition":
        return seen["conditions"].get(name, "").startswith(wanted)
    container = seen["containers"].get(name, {})
    if kind == "restarts":
        return container.get("restarts") == wanted
    if kind == "waiting":
        return container.get("state") == "waiting " + wanted
    if kind == "cpuLimit":
        return container.get("cpuLimit") == wanted
    raise SystemExit(f"unknown condition {what}")


class Story(threading.Thread):
    def __init__(self, path, options):
        super().__init__()
        self.story = json.loads(path.read_text())
        self.options = options
        self.seen, self.trace, self.changed = None, [], threading.Condition()
        self.problem = None

    def kubectl(self, *args, **kwargs):
        return [self.options.kubectl, "-n", NAMESPACE, *args]

    def watch(self):
        name = self.story["name"]
        command = self.kubectl("get", "pods", "--field-selector", f"metadata.name={name}", "-w",
                               "-o", "json", "--output-watch-events")
        self.watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        decoder, text, ordinals = json.JSONDecoder(), "", Ordinals()
        while chunk := os.read(self.watcher.stdout.fileno(), 1 << 16).decode():
            text = (text + chunk).lstrip()
            while text:
                try:
                    event, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:].lstrip()
                with self.changed:
                    if event["type"] == "DELETED":
                        self.seen = "gone"
                    else:
                        self.seen = normalised(event["object"], ordinals)
                    if not self.trace or self.trace[-1] != self.seen:
                        self.trace.append(self.seen)
                    self.changed.notify_all()

    def run(self):
        try:
            self.play()
        except Exception as problem:  # told at the end, with the story's name
            self.problem = repr(problem)
        finally:
            self.watcher.terminate()

    def play(self):
        threading.Thread(target=self.watch, daemon=True).start()
        time.sleep(1.5)
        name = self.story["name"]
        spec = dict(self.story["pod"], automountServiceAccountToken=False, nodeName=self.options.node)
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        subprocess.run(self.kubectl("create", "-f", "-"), input=json.dumps(body), text=True, check=True,
                       stdout=subprocess.DEVNULL)
        for step in self.story["steps"]:
            self.do(name, step)
        (HERE / "traces" / f"{name}.json").write_text(json.dumps(self.trace, indent=1) + "\n")

    def do(self, name, step):
        (kind, value), = step.items()
        if kind == "until":
            with self.changed:
                if not self.changed.wait_for(lambda: holds(value, self.seen), timeout=150):
                    raise TimeoutError(f"{value}: {json.dumps(self.seen)}")
        elif kind == "delete":
            subprocess.run(self.kubectl("delete", "pod", name, "--wait=false"), check=True,
                           stdout=subprocess.DEVNULL)
        else:
            containers, extra = [], []
            patch = {"spec": {}}
            for field in ("containers", "initContainers"):
                own = [c["name"] for c in self.story["pod"].get(field, [])]
                changes = [{"name": c, ("image" if kind == "image" else "resources"): v}
                           for c, v in value.items() if c in own]
                if changes:
                    patch["spec"][field] = changes
            extra = ["--subresource=resize"] if kind == "resize" else []
            subprocess.run(self.kubectl("patch", "pod", name, "-p", json.dumps(patch), *extra), check=True,
                           stdout=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubectl", default="kubectl")
    parser.add_argument("--node", default="node1")
    parser.add_argument("--at-once", type=int, default=6)
    parser.add_argument("stories", nargs="*")
    options = parser.parse_args()
    paths = sorted((HERE / "stories").glob("*.json"))
    wanted = [Story(p, options) for p in paths if not options.stories or p.stem in options.stories]
    for start in range(0, len(wanted), options.at_once):
        group = wanted[start:start + options.at_once]
        for story in group:
            story.start()
        for story in group:
            story.join()
            print(story.story["name"], story.problem or f"{len(story.trace)} statuses", flush=True)


main()
