package compat

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	kruise "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func typed(t *testing.T) *kruise.SidecarSet {
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": nameOf(t)}}
	return &kruise.SidecarSet{
		ObjectMeta: metav1.ObjectMeta{Name: nameOf(t)},
		Spec: kruise.SidecarSetSpec{Selector: selector, Containers: []kruise.SidecarContainer{
			{Container: corev1.Container{Name: "agent", Image: "agent:1"}}}},
	}
}

// asBeta reads the same object in the stored version.
func asBeta(t *testing.T, object client.Object) *unstructured.Unstructured {
	t.Helper()
	set := sidecarSetNamed(object.GetName(), "{}")
	get(t, set)
	return set
}

func TestAV1alpha1ClientOfKruiseWorks(t *testing.T) {
	t.Parallel()
	set := typed(t)
	set.Spec.Namespace = "default"
	set.Labels = map[string]string{customVersionLabel: "one", "team": "a"}
	create(t, set)
	if set.Spec.UpdateStrategy.Partition.IntValue() != 0 || set.Spec.UpdateStrategy.MaxUnavailable.IntValue() != 1 ||
		*set.Spec.RevisionHistoryLimit != 10 || set.Spec.Containers[0].PodInjectPolicy != kruise.BeforeAppContainerType {
		t.Errorf("defaults: %+v", set.Spec)
	}
	stored := asBeta(t, set)
	observed(t, stored)
	same(t, "namespaceSelector", at(stored, "spec.namespaceSelector"), "{matchLabels: {kubernetes.io/metadata.name: default}}")
	same(t, "namespace", at(stored, "spec.namespace"), "null")
	same(t, "customVersion", at(stored, "spec.customVersion"), "one")
	same(t, "labels", stored.GetLabels(), "{team: a}")

	get(t, set)
	if set.Labels[customVersionLabel] != "one" {
		t.Errorf("labels in v1alpha1: %v", set.Labels)
	}
	before := set.Annotations[hashKey]
	change(t, set, func() {
		set.Spec.Containers[0].Image = "agent:2"
		set.Labels[customVersionLabel] = "two"
	})
	if set.Annotations[hashKey] == before {
		t.Error("the hash did not follow the image")
	}
	stored = asBeta(t, set)
	same(t, "customVersion", at(stored, "spec.customVersion"), "two")
	same(t, "image", at(stored, "spec.containers.0.image"), "agent:2")
	same(t, "namespaceSelector", at(stored, "spec.namespaceSelector"), "{matchLabels: {kubernetes.io/metadata.name: default}}")
}

func TestEveryFieldComesThroughBothVersions(t *testing.T) {
	t.Parallel()
	set := created(t, `{
		containers: [{name: agent, image: "agent:1", podInjectPolicy: AfterAppContainer, shareVolumePolicy: {type: enabled}, shareVolumeDevicePolicy: {type: disabled},
			transferEnv: [{sourceContainerName: main, envNames: [A, B]}]},
			{name: sized, image: "agent:1", resourcesPolicy: {targetContainersMode: max, targetContainersNameRegex: "^m", resourcesExpr: {limits: {cpu: "cpu"}}}}],
		initContainers: [{name: setup, image: "setup:1"}], volumes: [{name: scratch, emptyDir: {}}], imagePullSecrets: [{name: pull}],
		namespaceSelector: {matchExpressions: [{key: team, operator: In, values: [a, b]}]},
		injectionStrategy: {paused: true}, revisionHistoryLimit: 3, customVersion: v7,
		updateStrategy: {type: RollingUpdate, paused: true, partition: "50%", maxUnavailable: "20%",
			priorityStrategy: {weightPriority: [{weight: 30, matchSelector: {matchLabels: {tier: one}}}]}, scatterStrategy: [{key: zone, value: "*"}]}}`)
	observed(t, set)
	old := &unstructured.Unstructured{}
	old.SetAPIVersion(alpha)
	old.SetKind("SidecarSet")
	old.SetName(set.GetName())
	get(t, old)
	if old.GetLabels()[customVersionLabel] != "v7" {
		t.Errorf("labels in v1alpha1: %v", old.GetLabels())
	}
	for _, field := range []string{"selector", "containers", "initContainers", "volumes", "imagePullSecrets", "namespaceSelector",
		"injectionStrategy", "revisionHistoryLimit", "updateStrategy"} {
		same(t, field, at(old, "spec."+field), asJSON(at(set, "spec."+field)))
	}
	change(t, old, func() {})
	back := asBeta(t, set)
	same(t, "spec after a round trip", at(back, "spec"), asJSON(at(set, "spec")))
	if back.GetGeneration() != set.GetGeneration() {
		t.Errorf("generation %d became %d without a change", set.GetGeneration(), back.GetGeneration())
	}
}

// The hash as Kruise computes it from its own types.
func TestTheHashIsKruises(t *testing.T) {
	t.Parallel()
	set := typed(t)
	set.Spec.Containers = append(set.Spec.Containers, kruise.SidecarContainer{
		Container: corev1.Container{Name: "second", Image: "second:1", Command: []string{"a", "b<c>&d"},
			Env:   []corev1.EnvVar{{Name: "X", Value: "1"}},
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}},
		TransferEnv: []kruise.TransferEnvVar{{SourceContainerName: "main", EnvName: "A"}},
	})
	create(t, set)
	if got, want := set.Annotations[hashKey], kruisesHash(set.Spec.Containers); got != want {
		t.Errorf("hash %s, Kruise's %s", got, want)
	}
	for index := range set.Spec.Containers {
		set.Spec.Containers[index].Image = ""
	}
	if got, want := set.Annotations[hashWithoutImageKey], kruisesHash(set.Spec.Containers); got != want {
		t.Errorf("hash without image %s, Kruise's %s", got, want)
	}
}

func kruisesHash(containers []kruise.SidecarContainer) string {
	encoded, _ := json.Marshal(map[string]any{"containers": containers})
	sum := sha256.Sum256(encoded)
	letters := []byte(hex.EncodeToString(sum[:]))
	for index, letter := range letters {
		const alphabet = "bcdfghjklmnpqrstvwxz2456789"
		letters[index] = alphabet[int(letter)%len(alphabet)]
	}
	return string(letters)
}

func TestNamespaceOfV1alpha1BesideASelectorIsNotLost(t *testing.T) {
	t.Parallel()
	set := typed(t)
	set.Spec.Namespace = "default"
	set.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	if err := api.Create(ctx, set, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "namespace") {
		t.Errorf("accepted, or for another reason: %v", err)
	}
}

func TestAProblemIsToldInTheVersionThatWasWritten(t *testing.T) {
	t.Parallel()
	set := typed(t)
	set.Spec.Namespace = "no namespace"
	refused(t, api.Create(ctx, set, client.DryRunAll), 500, `spec.namespace: Invalid value: "no namespace"`)
}

func TestColumnsAreKruises(t *testing.T) {
	t.Parallel()
	set := created(t, "{"+oneContainer+"}")
	for _, version := range []string{"v1beta1", "v1alpha1"} {
		options := rest.CopyConfig(config)
		options.GroupVersion = &schema.GroupVersion{Group: "apps.kruise.io", Version: version}
		options.APIPath = "/apis"
		options.NegotiatedSerializer = serializer.WithoutConversionCodecFactory{CodecFactory: clientgoscheme.Codecs}
		rests, err := rest.RESTClientFor(options)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := rests.Get().Resource("sidecarsets").Name(set.GetName()).
			SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(ctx)
		if err != nil {
			t.Fatal(err)
		}
		table := metav1.Table{}
		if err := json.Unmarshal(raw, &table); err != nil {
			t.Fatal(err)
		}
		var columns []string
		for _, column := range table.ColumnDefinitions {
			if column.Priority == 0 {
				columns = append(columns, strings.ToUpper(column.Name))
			}
		}
		if got := strings.Join(columns, " "); got != "NAME MATCHED UPDATED READY AGE" {
			t.Errorf("%s: %s", version, got)
		}
	}
}

func TestDiscoveryIsKruises(t *testing.T) {
	t.Parallel()
	disco := discovery.NewDiscoveryClientForConfigOrDie(config)
	for _, version := range []string{"v1beta1", "v1alpha1"} {
		list, err := disco.ServerResourcesForGroupVersion("apps.kruise.io/" + version)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]metav1.APIResource{}
		for _, resource := range list.APIResources {
			found[resource.Name] = resource
		}
		sets := found["sidecarsets"]
		if sets.Kind != "SidecarSet" || sets.Namespaced || sets.SingularName != "sidecarset" || len(sets.ShortNames) != 0 {
			t.Errorf("%s: %+v", version, sets)
		}
		if _, ok := found["sidecarsets/status"]; !ok {
			t.Errorf("%s has no status subresource", version)
		}
		if _, ok := found["sidecarsets/scale"]; ok {
			t.Errorf("%s has a scale subresource", version)
		}
	}
}

func TestPatchesOfEachKind(t *testing.T) {
	t.Parallel()
	set := created(t, `{containers: [{name: agent, image: "agent:1"}, {name: other, image: "other:1"}]}`)
	image := func(want string) {
		t.Helper()
		get(t, set)
		same(t, "image", at(set, "spec.containers[agent].image"), want)
		same(t, "containers", names(at(set, "spec.containers")), "agent other")
	}
	merge := `{"spec":{"containers":[{"name":"agent","image":"agent:2"},{"name":"other","image":"other:1"}]}}`
	if err := api.Patch(ctx, set, client.RawPatch(types.MergePatchType, []byte(merge))); err != nil {
		t.Fatal(err)
	}
	image("agent:2")
	steps := `[{"op":"test","path":"/spec/containers/0/name","value":"agent"},{"op":"replace","path":"/spec/containers/0/image","value":"agent:3"}]`
	if err := api.Patch(ctx, set, client.RawPatch(types.JSONPatchType, []byte(steps))); err != nil {
		t.Fatal(err)
	}
	image("agent:3")
	err := api.Patch(ctx, set, client.RawPatch(types.StrategicMergePatchType, []byte(merge)))
	if !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("a strategic patch of a custom resource: %v", err)
	}
	stale := set.DeepCopy()
	setSpec(t, set, "{paused: true}", "updateStrategy")
	put(stale, "5", "spec", "revisionHistoryLimit")
	if err := api.Update(ctx, stale); !apierrors.IsConflict(err) {
		t.Errorf("an update of a stale object: %v", err)
	}
}

func TestServerSideApply(t *testing.T) {
	t.Parallel()
	apply := func(owner, spec string, options ...client.ApplyOption) error {
		wanted := newSidecarSet(t, spec)
		return api.Apply(ctx, client.ApplyConfigurationFromUnstructured(wanted), append(options, client.FieldOwner(owner))...)
	}
	spec := `{containers: [{name: agent, image: "agent:%d"}], updateStrategy: {maxUnavailable: 2}}`
	if err := apply("gitops", fmt.Sprintf(spec, 1)); err != nil {
		t.Fatal(err)
	}
	set := asBeta(t, newSidecarSet(t, "{}"))
	t.Cleanup(func() { remove(t, set) })
	version := set.GetResourceVersion()
	observed(t, set)
	if err := apply("gitops", fmt.Sprintf(spec, 1)); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := apply("gitops", fmt.Sprintf(spec, 2)); err != nil {
		t.Errorf("another image: %v", err)
	}
	get(t, set)
	same(t, "image", at(set, "spec.containers.0.image"), "agent:2")
	if set.GetGeneration() != 2 || set.GetResourceVersion() == version {
		t.Errorf("generation %d", set.GetGeneration())
	}
	if err := apply("somebody", `{containers: [{name: agent, image: "agent:3"}]}`); !apierrors.IsConflict(err) {
		t.Errorf("another manager: %v", err)
	}
	if err := apply("somebody", `{containers: [{name: agent, image: "agent:3"}]}`, client.ForceOwnership); err != nil {
		t.Errorf("another manager by force: %v", err)
	}
	get(t, set)
	same(t, "maxUnavailable", at(set, "spec.updateStrategy.maxUnavailable"), "2")
}

func TestStatusIsASubresource(t *testing.T) {
	t.Parallel()
	set := created(t, "{"+oneContainer+"}")
	observed(t, set)
	change(t, set, func() {
		put(set, "{matchedPods: 77, updatedPods: 77, readyPods: 77}", "status")
		put(set, "4", "spec", "revisionHistoryLimit")
	})
	observed(t, set)
	if status(set, "matchedPods") != 0 {
		t.Errorf("matchedPods %d through the main resource", status(set, "matchedPods"))
	}
	same(t, "limit", at(set, "spec.revisionHistoryLimit"), "4")
	for _, field := range []string{"matchedPods", "updatedPods", "readyPods"} {
		if at(set, "status."+field) == nil {
			t.Errorf("status.%s is required and absent", field)
		}
	}
	// A status that somebody else wrote is put right.
	until(t, "written by somebody else", func() error {
		get(t, set)
		put(set, "9", "status", "matchedPods")
		return api.Status().Update(ctx, set)
	})
	until(t, "put right", func() error {
		get(t, set)
		if status(set, "matchedPods") != 0 {
			return fmt.Errorf("matchedPods %d", status(set, "matchedPods"))
		}
		return nil
	})
}

func TestAWatchSeesASidecarSetsLife(t *testing.T) {
	t.Parallel()
	set := newSidecarSet(t, "{"+oneContainer+"}")
	watcher, err := api.Watch(ctx, listOf("SidecarSetList", beta), client.MatchingFields{"metadata.name": set.GetName()})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	create(t, set)
	observed(t, set)
	setSpec(t, set, `[{name: agent, image: "agent:2"}]`, "containers")
	observed(t, set)
	remove(t, set)
	var seen []string
	for event := range watcher.ResultChan() {
		if len(seen) == 0 || seen[len(seen)-1] != string(event.Type) {
			seen = append(seen, string(event.Type))
		}
		if event.Type == "DELETED" {
			break
		}
	}
	same(t, "events", strings.Join(seen, " "), "ADDED MODIFIED DELETED")
}

func TestAForeignFinalizerHoldsADeletion(t *testing.T) {
	t.Parallel()
	set := newSidecarSet(t, "{"+oneContainer+"}")
	set.SetFinalizers([]string{"example.com/hold"})
	create(t, set)
	remove(t, set)
	get(t, set)
	if set.GetDeletionTimestamp() == nil {
		t.Error("not marked as deleted")
	}
	change(t, set, func() { set.SetFinalizers(nil) })
	until(t, "gone", func() error {
		err := api.Get(ctx, client.ObjectKeyFromObject(set), set)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there: %v", err)
	})
}
