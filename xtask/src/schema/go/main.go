// Command schema writes what Kubernetes' own Go types and defaulting functions know as JSON:
// types.json (fields, omission rules, merge markers), defaults.json (what defaulting adds, by path)
// and corpus.json (random objects before and after decoding, defaulting and storing).
// `cargo xtask schema` turns them into the compact tables of the apischema crate.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	extensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	_ "k8s.io/kubernetes/pkg/apis/admission/install"
	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install"
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/certificates/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/events/install"
	_ "k8s.io/kubernetes/pkg/apis/flowcontrol/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/node/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
	_ "k8s.io/kubernetes/pkg/apis/resource/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
)

// family is one scheme with its codecs: the core server, the CRD server and the aggregator each have their own.
type family struct {
	scheme   *runtime.Scheme
	codecs   serializer.CodecFactory
	protobuf bool
}

type kind struct {
	family family
	gvk    schema.GroupVersionKind
	goType reflect.Type
}

func main() {
	openapi := flag.String("openapi", "", "the server's /openapi/v2 document")
	groups := flag.String("group-versions", "", "comma separated group/versions that the server serves")
	out := flag.String("out", ".", "output directory")
	flag.Parse()
	definitions := readDefinitions(*openapi)
	kinds := servedKinds(strings.Split(*groups, ","))

	walker := newTypeWalker(definitions)
	for _, k := range kinds {
		walker.addKind(k)
	}
	write(*out, "types.json", walker.output())
	write(*out, "defaults.json", recordDefaults(kinds))
	write(*out, "corpus.json", randomCorpus(kinds))
}

func servedKinds(groupVersions []string) []kind {
	families := []family{
		{legacyscheme.Scheme, legacyscheme.Codecs, true},
		{extensions.Scheme, extensions.Codecs, false},
		{aggregator.Scheme, aggregator.Codecs, true},
	}
	var kinds []kind
	seen := map[schema.GroupVersionKind]bool{}
	for _, f := range families {
		for _, text := range groupVersions {
			gv, err := schema.ParseGroupVersion(text)
			check(err)
			for name, goType := range f.scheme.KnownTypes(gv) {
				gvk := gv.WithKind(name)
				if seen[gvk] || !isServedKind(name, goType) {
					continue
				}
				seen[gvk] = true
				kinds = append(kinds, kind{f, gvk, goType})
			}
		}
	}
	sort.Slice(kinds, func(i, j int) bool { return kinds[i].gvk.String() < kinds[j].gvk.String() })
	return kinds
}

func isServedKind(name string, goType reflect.Type) bool {
	switch name {
	case "WatchEvent", "List", "SerializedReference", "RangeAllocation", "Status", "APIGroup", "APIGroupList",
		"APIResourceList", "APIVersions":
		return false
	case "DeleteOptions":
		return true
	}
	if strings.HasSuffix(name, "Options") {
		return false
	}
	_, isList := goType.FieldByName("Items")
	return !isList
}

func readDefinitions(path string) map[string]map[string]any {
	data, err := os.ReadFile(path)
	check(err)
	var document struct {
		Definitions map[string]map[string]any `json:"definitions"`
	}
	check(json.Unmarshal(data, &document))
	return document.Definitions
}

func write(dir, name string, value any) {
	data, err := json.Marshal(value)
	check(err)
	check(os.WriteFile(filepath.Join(dir, name), data, 0o644))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
