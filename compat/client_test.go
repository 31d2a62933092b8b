package compat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	kruise "github.com/openkruise/kruise-api/apps/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const (
	beta  = "apps.kruise.io/v1beta1"
	alpha = "apps.kruise.io/v1alpha1"

	hashKey             = "kruise.io/sidecarset-hash"
	hashWithoutImageKey = "kruise.io/sidecarset-hash-without-image"
	injectedListKey     = "kruise.io/sidecarset-injected-list"
	customVersionLabel  = "apps.kruise.io/sidecarset-custom-version"
	sidecarSetNameLabel = "kruise.io/sidecarset-name"

	// Where a cluster has simulated kubelets, they leave pods of this node alone.
	playedNode = "played-by-the-test"
	// Revisions live in the operator's namespace.
	operatorNamespace = "tidegate-system"
	patience          = 40 * time.Second
)

var (
	ctx    = context.Background()
	config *rest.Config
	api    client.WithWatch
)

func TestMain(m *testing.M) {
	if os.Getenv("KUBECONFIG") == "" {
		fmt.Println("not tested: KUBECONFIG names no cluster that runs the operator")
		return
	}
	if err := connect(); err != nil {
		fmt.Println("connecting:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func connect() (err error) {
	config, err = clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = -1, -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), kruise.SchemeBuilder.AddToScheme(scheme)); err != nil {
		return err
	}
	// The kind and its webhooks are installed by an operator that may have started a moment ago.
	var last error
	for began := time.Now(); time.Since(began) < patience; time.Sleep(100 * time.Millisecond) {
		if api, last = client.NewWithWatch(config, client.Options{Scheme: scheme}); last != nil {
			continue
		}
		if last = webhooksAnswer(); last == nil {
			return nil
		}
	}
	return last
}

func webhooksAnswer() error {
	probe := sidecarSetNamed("probe", "{selector: {matchLabels: {app: probe}}, containers: [{name: probe, image: 'p:1'}]}")
	if err := api.Create(ctx, probe, client.DryRunAll); err != nil {
		return err
	}
	if probe.GetAnnotations()[hashKey] == "" {
		return errors.New("no webhook saw a SidecarSet that was created")
	}
	account := parse(`{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}`)
	if err := api.Create(ctx, account); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// parse panics on YAML that the test itself got wrong.
func parse(text string) *unstructured.Unstructured {
	raw, err := yaml.YAMLToJSON([]byte(strings.ReplaceAll(text, "\t", " ")))
	object := &unstructured.Unstructured{}
	if err == nil {
		err = object.UnmarshalJSON(raw)
	}
	if err != nil {
		panic(fmt.Sprintf("%v in:\n%s", err, text))
	}
	return object
}

func parseValue(text string) any {
	wrapped := parse("{apiVersion: v1, kind: Value, value: " + strings.TrimSpace(text) + "}")
	return wrapped.Object["value"]
}

func sidecarSetNamed(name, spec string) *unstructured.Unstructured {
	set := parse(fmt.Sprintf("{apiVersion: %s, kind: SidecarSet, metadata: {name: %q}}", beta, name))
	set.Object["spec"] = parseValue(spec)
	return set
}

// nameOf is the test's own name as a label value and an object's name.
func nameOf(t *testing.T) string {
	name := strings.Map(func(letter rune) rune {
		if letter >= 'a' && letter <= 'z' || letter >= '0' && letter <= '9' {
			return letter
		}
		return '-'
	}, strings.ToLower(strings.TrimPrefix(t.Name(), "Test")))
	if len(name) > 40 {
		name = name[:40]
	}
	return strings.Trim(name, "-")
}

// newSidecarSet selects pods with label app = the test's name. `spec` is YAML in flow style.
func newSidecarSet(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	set := sidecarSetNamed(nameOf(t), spec)
	if at(set, "spec.selector") == nil {
		put(set, "{matchLabels: {app: "+nameOf(t)+"}}", "spec", "selector")
	}
	return set
}

func put(object *unstructured.Unstructured, value string, path ...string) {
	if err := unstructured.SetNestedField(object.Object, parseValue(value), path...); err != nil {
		panic(err)
	}
}

func create(t *testing.T, object client.Object) {
	t.Helper()
	if err := api.Create(ctx, object); err != nil {
		t.Fatalf("creating %s: %v", object.GetName(), err)
	}
	t.Cleanup(func() { remove(t, object) })
}

func remove(t *testing.T, object client.Object) {
	now := int64(0)
	err := api.Delete(ctx, object, &client.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("deleting %s: %v", object.GetName(), err)
	}
}

func created(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	set := newSidecarSet(t, spec)
	create(t, set)
	return set
}

func get(t *testing.T, object client.Object) {
	t.Helper()
	if err := api.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
		t.Fatalf("reading %s: %v", object.GetName(), err)
	}
}

// change updates with a fresh resourceVersion, again on conflict.
func change(t *testing.T, set client.Object, edit func()) {
	t.Helper()
	for {
		get(t, set)
		edit()
		err := api.Update(ctx, set)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			t.Fatalf("updating %s: %v", set.GetName(), err)
		}
	}
}

// refusedChange expects a denial of another spec, whatever else writes the object meanwhile.
func refusedChange(t *testing.T, set *unstructured.Unstructured, field, value string, fragments ...string) {
	t.Helper()
	for {
		get(t, set)
		changed := set.DeepCopy()
		put(changed, value, "spec", field)
		if err := api.Update(ctx, changed, client.DryRunAll); !apierrors.IsConflict(err) {
			refused(t, err, 500, fragments...)
			return
		}
	}
}

func setSpec(t *testing.T, set *unstructured.Unstructured, value string, path ...string) {
	t.Helper()
	change(t, set, func() { put(set, value, append([]string{"spec"}, path...)...) })
}

// at follows a dotted path; numbers index lists, and a list may be searched by name: "containers[main].image".
func at(object *unstructured.Unstructured, path string) any {
	var value any = object.Object
	for _, step := range strings.Split(path, ".") {
		name, search, searched := strings.Cut(strings.TrimSuffix(step, "]"), "[")
		switch holder := value.(type) {
		case map[string]any:
			value = holder[name]
		case []any:
			index, err := strconv.Atoi(name)
			if err != nil || index >= len(holder) {
				return nil
			}
			value = holder[index]
		default:
			return nil
		}
		if searched {
			value = named(value, search)
		}
	}
	return value
}

func named(list any, name string) any {
	items, _ := list.([]any)
	for _, item := range items {
		if fields, ok := item.(map[string]any); ok && fields["name"] == name {
			return item
		}
	}
	return nil
}

func names(list any) string {
	var all []string
	items, _ := list.([]any)
	for _, item := range items {
		fields, _ := item.(map[string]any)
		all = append(all, fmt.Sprint(fields["name"]))
	}
	return strings.Join(all, " ")
}

func same(t *testing.T, what string, got any, want string) {
	t.Helper()
	wanted := parseValue(want)
	if asJSON(got) != asJSON(wanted) {
		t.Errorf("%s\n got %s\nwant %s", what, asJSON(got), asJSON(wanted))
	}
}

func asJSON(value any) string {
	raw, err := yaml.Marshal(value)
	if err != nil {
		panic(err)
	}
	text, err := yaml.YAMLToJSON(raw)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func until(t *testing.T, what string, look func() error) {
	t.Helper()
	var last error
	for began := time.Now(); time.Since(began) < patience; time.Sleep(30 * time.Millisecond) {
		if last = look(); last == nil {
			return
		}
	}
	t.Fatalf("still not %s: %v", what, last)
}

// refused expects a denial whose message holds every fragment.
func refused(t *testing.T, err error, code int32, fragments ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("accepted, expected %d with %q", code, fragments)
		return
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != code {
		t.Errorf("expected code %d, got %v", code, err)
	}
	for _, fragment := range fragments {
		if !strings.Contains(err.Error(), fragment) {
			t.Errorf("no %q in: %v", fragment, err)
		}
	}
}

func status(set *unstructured.Unstructured, field string) int64 {
	number, _, _ := unstructured.NestedInt64(set.Object, "status", field)
	return number
}

func condition(set *unstructured.Unstructured, kind string) map[string]any {
	conditions, _ := at(set, "status.conditions").([]any)
	for _, each := range conditions {
		if fields, ok := each.(map[string]any); ok && fields["type"] == kind {
			return fields
		}
	}
	return nil
}

// observed waits until the status speaks of the current spec.
func observed(t *testing.T, set *unstructured.Unstructured) {
	t.Helper()
	until(t, "observed", func() error {
		get(t, set)
		if status(set, "observedGeneration") != set.GetGeneration() {
			return fmt.Errorf("observedGeneration %d of %d", status(set, "observedGeneration"), set.GetGeneration())
		}
		return nil
	})
}

// mapper of the cluster's discovery, as controller-runtime's clients use it.
func mapping(t *testing.T, version string) *meta.RESTMapping {
	t.Helper()
	found, err := api.RESTMapper().RESTMapping(schema.GroupKind{Group: "apps.kruise.io", Kind: "SidecarSet"}, version)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func labelled(name string) client.ListOption { return client.MatchingLabels{"app": name} }

func listOf(kind, version string) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion(version)
	list.SetKind(kind)
	return list
}

func revisionsOf(t *testing.T, set client.Object) []unstructured.Unstructured {
	t.Helper()
	list := listOf("ControllerRevisionList", "apps/v1")
	err := api.List(ctx, list, client.InNamespace(operatorNamespace), client.MatchingLabels{sidecarSetNameLabel: set.GetName()})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}
