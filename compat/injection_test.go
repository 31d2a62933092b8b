package compat

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// podNamed has label app = the test's name, a container `main`, and no token of a service account.
func podNamed(t *testing.T, name, spec string) *unstructured.Unstructured {
	t.Helper()
	pod := parse(fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %q, namespace: default, labels: {app: %s}}}", name, nameOf(t)))
	pod.Object["spec"] = parseValue(spec)
	put(pod, "false", "spec", "automountServiceAccountToken")
	put(pod, playedNode, "spec", "nodeName")
	if at(pod, "spec.containers") == nil {
		put(pod, `[{name: main, image: "main:1"}]`, "spec", "containers")
	}
	return pod
}

func injected(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	pod := podNamed(t, nameOf(t), spec)
	create(t, pod)
	return pod
}

type podHash struct {
	UpdateTimestamp    string   `json:"updateTimestamp"`
	Hash               string   `json:"hash"`
	SidecarSetName     string   `json:"sidecarSetName"`
	SidecarList        []string `json:"sidecarList"`
	ControllerRevision string   `json:"controllerRevision"`
}

func hashes(t *testing.T, pod client.Object, key string) map[string]podHash {
	t.Helper()
	all := map[string]podHash{}
	if err := json.Unmarshal([]byte(pod.GetAnnotations()[key]), &all); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return all
}

func TestContainersAreInjectedInKruisesOrder(t *testing.T) {
	t.Parallel()
	created(t, `{
		containers: [{name: z-first, image: "a:1"}, {name: after, image: "a:1", podInjectPolicy: AfterAppContainer}, {name: a-second, image: "a:1"}],
		initContainers: [{name: z-init, image: "i:1"}, {name: a-init, image: "i:1"}, {name: early, image: "i:1", podInjectPolicy: BeforeAppContainer}]
	}`)
	pod := injected(t, `{initContainers: [{name: own-init, image: "i:1"}], containers: [{name: one, image: "m:1"}, {name: two, image: "m:1"}]}`)
	same(t, "containers", names(at(pod, "spec.containers")), "z-first a-second one two after")
	same(t, "init containers", names(at(pod, "spec.initContainers")), "early own-init a-init z-init")
}

func TestWhatInjectionWritesToAPod(t *testing.T) {
	t.Parallel()
	set := created(t, `{containers: [{name: b, image: "a:1"}, {name: a, image: "a:1"}], initContainers: [{name: i, image: "i:1"}, {name: native, image: "n:1", restartPolicy: Always}],
		updateStrategy: {type: NotUpdate}}`)
	pod := injected(t, `{}`)
	annotations := pod.GetAnnotations()
	if annotations[injectedListKey] != set.GetName() {
		t.Errorf("%s: %q", injectedListKey, annotations[injectedListKey])
	}
	for _, key := range []string{hashKey, hashWithoutImageKey} {
		entry, found := hashes(t, pod, key)[set.GetName()]
		if !found || entry.Hash != set.GetAnnotations()[key] || entry.SidecarSetName != set.GetName() || entry.UpdateTimestamp == "" {
			t.Errorf("%s: %s", key, annotations[key])
		}
		same(t, key+" sidecarList", entry.SidecarList, "[a, b, native]")
		if key == hashWithoutImageKey && entry.ControllerRevision != "" {
			t.Errorf("controllerRevision in %s", key)
		}
	}
	same(t, "IS_INJECTED", at(pod, "spec.containers.0.env"), `[{name: IS_INJECTED, value: "true"}]`)
	same(t, "IS_INJECTED of an init container", at(pod, "spec.initContainers[i].env"), `[{name: IS_INJECTED, value: "true"}]`)
	same(t, "the pod's own env", at(pod, "spec.containers[main].env"), "null")
}

func TestARevisionIsNamedBeforeItIsObserved(t *testing.T) {
	t.Parallel()
	set := created(t, `{containers: [{name: agent, image: "a:1"}]}`)
	pod := injected(t, `{}`)
	observed(t, set)
	if got := hashes(t, pod, hashKey)[set.GetName()].ControllerRevision; got == "" || got != at(set, "status.latestRevision") {
		t.Errorf("controllerRevision %q, latestRevision %v", got, at(set, "status.latestRevision"))
	}
}

func TestEnvironmentIsTransferred(t *testing.T) {
	t.Parallel()
	created(t, `{containers: [
		{name: agent, image: "a:1", env: [{name: OWN, value: own}, {name: B, value: mine}],
			transferEnv: [{sourceContainerName: main, envNames: [C, A], envName: B}, {sourceContainerName: main, envName: MISSING}, {sourceContainerName: nobody, envName: A},
				{sourceContainerNameFrom: {fieldRef: {fieldPath: "metadata.labels['from']"}}, sourceContainerName: main, envName: D},
				{sourceContainerNameFrom: {fieldRef: {fieldPath: "metadata.annotations['from']"}}, envName: E}]}],
		initContainers: [{name: setup, image: "i:1", transferEnv: [{sourceContainerName: main, envName: A}]}]}`)
	pod := podNamed(t, nameOf(t), `{containers: [{name: main, image: "m:1", env: [{name: A, value: a}, {name: B, value: b}, {name: C, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}}]},
		{name: other, image: "o:1", env: [{name: D, value: d}, {name: E, value: e}]}]}`)
	labels := pod.GetLabels()
	labels["from"] = "other"
	pod.SetLabels(labels)
	pod.SetAnnotations(map[string]string{"from": "other"})
	create(t, pod)
	same(t, "env", at(pod, "spec.containers[agent].env"), `[{name: OWN, value: own}, {name: B, value: mine}, {name: IS_INJECTED, value: "true"},
		{name: A, value: a}, {name: C, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}}, {name: D, value: d}, {name: E, value: e}]`)
	same(t, "env of the init container", at(pod, "spec.initContainers[setup].env"), `[{name: IS_INJECTED, value: "true"}, {name: A, value: a}]`)
}

func TestVolumesAndSecretsFollowTheirSidecars(t *testing.T) {
	t.Parallel()
	created(t, `{
		containers: [{name: agent, image: "a:1", volumeMounts: [{name: used, mountPath: /used}, {name: taken, mountPath: /taken}]}],
		volumes: [{name: used, emptyDir: {}}, {name: taken, emptyDir: {}}, {name: unused, emptyDir: {}}],
		imagePullSecrets: [{name: ours}, {name: both}]}`)
	pod := injected(t, `{volumes: [{name: taken, hostPath: {path: /x, type: ""}}], imagePullSecrets: [{name: both}, {name: theirs}]}`)
	same(t, "volumes", names(at(pod, "spec.volumes")), "taken used")
	same(t, "the pod's own volume", at(pod, "spec.volumes.0.hostPath.path"), "/x")
	same(t, "imagePullSecrets", names(at(pod, "spec.imagePullSecrets")), "both theirs ours")
}

func TestMountsAreShared(t *testing.T) {
	t.Parallel()
	created(t, `{containers: [
		{name: shares, image: "a:1", shareVolumePolicy: {type: enabled}, volumeMounts: [{name: own, mountPath: /data}]},
		{name: alone, image: "a:1"}], volumes: [{name: own, emptyDir: {}}]}`)
	pod := injected(t, `{volumes: [{name: data, emptyDir: {}}, {name: logs, emptyDir: {}}],
		initContainers: [{name: init, image: "i:1", volumeMounts: [{name: data, mountPath: /init}]}],
		containers: [{name: main, image: "m:1", env: [{name: WHERE, value: here}],
			volumeMounts: [{name: data, mountPath: /data}, {name: logs, mountPath: /logs, readOnly: true, subPathExpr: "$(WHERE)/$(NOWHERE)"}]},
			{name: second, image: "m:1", volumeMounts: [{name: data, mountPath: /logs}, {name: data, mountPath: /more}]}]}`)
	same(t, "mounts", at(pod, "spec.containers[shares].volumeMounts"), `[{name: own, mountPath: /data},
		{name: logs, mountPath: /logs, readOnly: true, subPathExpr: "$(WHERE)/$(NOWHERE)"}, {name: data, mountPath: /more}]`)
	same(t, "env of subPathExpr", at(pod, "spec.containers[shares].env"), `[{name: IS_INJECTED, value: "true"}, {name: WHERE, value: here}]`)
	same(t, "mounts of the other", at(pod, "spec.containers[alone].volumeMounts"), "null")
}

func TestDevicesAreShared(t *testing.T) {
	t.Parallel()
	created(t, `{containers: [{name: shares, image: "a:1", shareVolumeDevicePolicy: {type: enabled}}]}`)
	pod := injected(t, `{volumes: [{name: disk, persistentVolumeClaim: {claimName: disk}}],
		containers: [{name: main, image: "m:1", volumeDevices: [{name: disk, devicePath: /dev/x}]}]}`)
	same(t, "devices", at(pod, "spec.containers[shares].volumeDevices"), "[{name: disk, devicePath: /dev/x}]")
}

func TestResourcesAreComputed(t *testing.T) {
	t.Parallel()
	created(t, `{containers: [
		{name: sum, image: "a:1", resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {
			limits: {cpu: "max(cpu*50%, 50m)", memory: "memory*50%"}, requests: {cpu: "cpu*1.5+100m", memory: "min(memory, 200M)"}}}},
		{name: max, image: "a:1", resourcesPolicy: {targetContainersMode: max, targetContainersNameRegex: "^m.*", resourcesExpr: {limits: {cpu: cpu}, requests: {cpu: "cpu/3"}}}}]}`)
	pod := injected(t, `{containers: [{name: main, image: "m:1", resources: {limits: {cpu: "2", memory: 1Gi}, requests: {cpu: 500m, memory: 1Gi}}},
		{name: more, image: "m:1", resources: {limits: {cpu: "2", memory: 1Gi}, requests: {cpu: 500m}}}]}`)
	same(t, "sum", at(pod, "spec.containers[sum].resources"), `{limits: {cpu: "2", memory: 1Gi}, requests: {cpu: 1600m, memory: 200M}}`)
	same(t, "max", at(pod, "spec.containers[max].resources"), `{limits: {cpu: "2"}, requests: {cpu: 166m}}`)
}

func TestALimitThatOneTargetLacksIsNotSet(t *testing.T) {
	t.Parallel()
	created(t, `{containers: [{name: agent, image: "a:1", resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {limits: {cpu: cpu, memory: "100Mi"}, requests: {cpu: cpu}}}}]}`)
	pod := injected(t, `{containers: [{name: main, image: "m:1", resources: {limits: {cpu: "1"}}}, {name: more, image: "m:1"}]}`)
	same(t, "resources", at(pod, "spec.containers[agent].resources"), `{requests: {cpu: "1"}}`)
}

func TestAPodWithoutTargetsIsDenied(t *testing.T) {
	t.Parallel()
	set := created(t, `{containers: [{name: agent, image: "a:1", resourcesPolicy: {targetContainersMode: sum, targetContainersNameRegex: "^nobody$", resourcesExpr: {limits: {cpu: cpu}}}}]}`)
	refused(t, api.Create(ctx, podNamed(t, nameOf(t), `{}`)), 500, "denied the request", set.GetName())
}

func TestAHotUpgradeContainerGetsTwoSlots(t *testing.T) {
	t.Parallel()
	set := created(t, `{containers: [{name: mesh, image: "mesh:1", upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: "empty:1"}}]}`)
	pod := injected(t, `{}`)
	same(t, "containers", names(at(pod, "spec.containers")), "mesh-1 mesh-2 main")
	same(t, "images", []any{at(pod, "spec.containers.0.image"), at(pod, "spec.containers.1.image")}, `["mesh:1", "empty:1"]`)
	for key, want := range map[string]string{
		"version.sidecarset.kruise.io/mesh-1": "1", "version.sidecarset.kruise.io/mesh-2": "0",
		"versionalt.sidecarset.kruise.io/mesh-1": "0", "versionalt.sidecarset.kruise.io/mesh-2": "1",
		"kruise.io/sidecarset-working-hotupgrade-container": `{"mesh":"mesh-1"}`,
	} {
		if got := pod.GetAnnotations()[key]; got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	same(t, "env", at(pod, "spec.containers.1.env"), `[{name: IS_INJECTED, value: "true"},
		{name: SIDECARSET_VERSION, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: "metadata.annotations['version.sidecarset.kruise.io/mesh-2']"}}},
		{name: SIDECARSET_VERSION_ALT, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: "metadata.annotations['versionalt.sidecarset.kruise.io/mesh-2']"}}}]`)
	same(t, "sidecarList", hashes(t, pod, hashKey)[set.GetName()].SidecarList, "[mesh]")
}

func TestAnnotationsArePatchedByPolicy(t *testing.T) {
	t.Parallel()
	allowAnnotations(t, "^patched-")
	set := created(t, `{containers: [{name: agent, image: "a:1"}], patchPodMetadata: [
		{annotations: {patched-retained: ours, patched-added: ours}, patchPolicy: Retain},
		{annotations: {patched-overwritten: ours}, patchPolicy: Overwrite},
		{annotations: {patched-merged: '{"a": 1, "b": null}', patched-set: '{"x": 1}'}, patchPolicy: MergePatchJson}]}`)
	pod := podNamed(t, nameOf(t), `{}`)
	pod.SetAnnotations(map[string]string{"patched-retained": "theirs", "patched-overwritten": "theirs", "patched-merged": `{"b":2,"c":3}`})
	create(t, pod)
	for key, want := range map[string]string{
		"patched-retained": "theirs", "patched-added": "ours", "patched-overwritten": "ours", "patched-merged": `{"a":1,"c":3}`, "patched-set": `{"x": 1}`,
	} {
		if got := pod.GetAnnotations()[key]; got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	broken := podNamed(t, nameOf(t)+"-broken", `{}`)
	broken.SetAnnotations(map[string]string{"patched-merged": "not json"})
	refused(t, api.Create(ctx, broken), 500, set.GetName())
}

// The whitelist of patchPodMetadata, as Kruise's users write it.
func allowAnnotations(t *testing.T, expression string) {
	t.Helper()
	rules := fmt.Sprintf(`{"rules":[{"allowedAnnotationKeyExprs":[%q]}]}`, expression)
	list := parse(fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: kruise-configuration, namespace: %s}}", operatorNamespace))
	list.Object["data"] = map[string]any{"SidecarSet_PatchPodMetadata_WhiteList": rules}
	create(t, list)
	until(t, "the whitelist is read", func() error {
		return api.Create(ctx, newSidecarSet(t, `{containers: [{name: agent, image: "a:1"}], patchPodMetadata: [{annotations: {patched-probe: x}}]}`), client.DryRunAll)
	})
	outside := newSidecarSet(t, `{containers: [{name: agent, image: "a:1"}], patchPodMetadata: [{annotations: {other: x}}]}`)
	refused(t, api.Create(ctx, outside, client.DryRunAll), 500, "patchPodMetadata")
}

func TestInjectionCanBePaused(t *testing.T) {
	t.Parallel()
	set := created(t, `{containers: [{name: agent, image: "a:1"}]}`)
	setSpec(t, set, "{paused: true}", "injectionStrategy")
	until(t, "pods are left alone", func() error {
		pod := podNamed(t, nameOf(t), `{}`)
		if err := api.Create(ctx, pod, client.DryRunAll); err != nil {
			return err
		}
		if got := names(at(pod, "spec.containers")); got != "main" {
			return fmt.Errorf("containers %s", got)
		}
		return nil
	})
}

func TestNewPodsGetThePinnedRevision(t *testing.T) {
	t.Parallel()
	set := created(t, `{containers: [{name: agent, image: "a:1"}], customVersion: one}`)
	observed(t, set)
	first := at(set, "status.latestRevision").(string)
	change(t, set, func() {
		put(set, `[{name: agent, image: "a:2"}]`, "spec", "containers")
		put(set, "two", "spec", "customVersion")
		put(set, "{revision: {customVersion: one, policy: Always}}", "spec", "injectionStrategy")
	})
	observed(t, set)
	pod := injected(t, `{}`)
	same(t, "image by customVersion", at(pod, "spec.containers[agent].image"), "a:1")
	if got := hashes(t, pod, hashKey)[set.GetName()]; got.ControllerRevision != first || got.Hash == set.GetAnnotations()[hashKey] {
		t.Errorf("hash entry %+v, first revision %s", got, first)
	}
	setSpec(t, set, fmt.Sprintf("{revision: {revisionName: %s, policy: Always}}", at(set, "status.latestRevision")), "injectionStrategy")
	until(t, "the named revision is injected", func() error {
		pod := podNamed(t, nameOf(t)+"-2", `{}`)
		if err := api.Create(ctx, pod, client.DryRunAll); err != nil {
			return err
		}
		if got := at(pod, "spec.containers[agent].image"); got != "a:2" {
			return fmt.Errorf("image %v", got)
		}
		return nil
	})
	refusedChange(t, set, "injectionStrategy", "{revision: {customVersion: three}}", "injectionStrategy.revision")
}

func TestPartialPinsPodsTheUpdateSelectorDoesNotName(t *testing.T) {
	t.Parallel()
	set := created(t, `{containers: [{name: agent, image: "a:1"}], customVersion: one}`)
	observed(t, set)
	change(t, set, func() {
		put(set, `[{name: agent, image: "a:2"}]`, "spec", "containers")
		put(set, "two", "spec", "customVersion")
		put(set, "{type: RollingUpdate, selector: {matchLabels: {canary: 'true'}}}", "spec", "updateStrategy")
		put(set, "{revision: {customVersion: one, policy: Partial}}", "spec", "injectionStrategy")
	})
	observed(t, set)
	stable := injected(t, `{}`)
	same(t, "image of a pod outside", at(stable, "spec.containers[agent].image"), "a:1")
	canary := podNamed(t, nameOf(t)+"-canary", `{}`)
	canary.SetLabels(map[string]string{"app": nameOf(t), "canary": "true"})
	create(t, canary)
	same(t, "image of a canary", at(canary, "spec.containers[agent].image"), "a:2")
}

func TestNamespacesAreSelected(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"compat-inside", "compat-outside"} {
		space := parse("{apiVersion: v1, kind: Namespace, metadata: {name: " + name + ", labels: {team: " + strings.TrimPrefix(name, "compat-") + "}}}")
		if err := api.Create(ctx, space); err != nil {
			t.Fatal(err)
		}
		account := parse("{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: " + name + "}}")
		if err := client.IgnoreAlreadyExists(api.Create(ctx, account)); err != nil {
			t.Fatal(err)
		}
	}
	created(t, `{namespaceSelector: {matchLabels: {team: inside}}, containers: [{name: agent, image: "a:1"}]}`)
	for name, want := range map[string]string{"compat-inside": "agent main", "compat-outside": "main", "default": "main"} {
		pod := podNamed(t, nameOf(t), `{}`)
		pod.SetNamespace(name)
		create(t, pod)
		same(t, name, names(at(pod, "spec.containers")), want)
	}
}

func TestTwoSidecarSetsInjectOnePod(t *testing.T) {
	t.Parallel()
	pinned := sidecarSetNamed("z-pinned", `{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}, selector: {matchLabels: {app: `+nameOf(t)+`}}, containers: [{name: by-pinned, image: "a:1"}]}`)
	create(t, pinned)
	set := sidecarSetNamed("a-general", `{selector: {matchLabels: {app: `+nameOf(t)+`}}, containers: [{name: by-general, image: "a:1"}]}`)
	create(t, set)
	// Before that each of them is asked for by an entry of its own, in the order of the entries.
	for _, each := range []*unstructured.Unstructured{pinned, set} {
		until(t, "asked for together", func() error {
			get(t, each)
			if found := condition(each, "InjectionReady"); found["status"] != "True" {
				return fmt.Errorf("condition %v", found)
			}
			return nil
		})
	}
	pod := injected(t, `{}`)
	same(t, "containers", names(at(pod, "spec.containers")), "by-pinned by-general main")
	if got := pod.GetAnnotations()[injectedListKey]; got != "a-general,z-pinned" {
		t.Errorf("%s: %q", injectedListKey, got)
	}
}

func TestARunningPodIsNeverInjected(t *testing.T) {
	t.Parallel()
	pod := injected(t, `{}`)
	set := created(t, `{containers: [{name: agent, image: "a:1"}]}`)
	observed(t, set)
	change(t, pod, func() { pod.SetLabels(map[string]string{"app": nameOf(t), "touched": "yes"}) })
	same(t, "containers", names(at(pod, "spec.containers")), "main")
	if status(set, "matchedPods") != 0 {
		t.Errorf("matchedPods %d", status(set, "matchedPods"))
	}
}
