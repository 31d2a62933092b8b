package main

import (
	"encoding/json"
	"math/rand"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type pair struct {
	Group   string          `json:"group"`
	Version string          `json:"version"`
	Kind    string          `json:"kind"`
	Before  json.RawMessage `json:"before"`
	After   json.RawMessage `json:"after"`
}

// Kinds the project acts on get more samples than the rest.
var favourites = map[string]int{
	"Pod": 40, "Deployment": 20, "StatefulSet": 20, "DaemonSet": 12, "ReplicaSet": 8, "Job": 20, "CronJob": 12,
	"Service": 30, "PersistentVolumeClaim": 8, "PodTemplate": 6, "ReplicationController": 8,
	"HorizontalPodAutoscaler": 16, "Node": 8, "Event": 10,
}

func randomCorpus(kinds []kind) []pair {
	var out []pair
	for _, k := range kinds {
		count := 4
		if n, ok := favourites[k.gvk.Kind]; ok {
			count = n
		}
		if _, ok := k.goType.FieldByName("ObjectMeta"); !ok {
			continue
		}
		random := rand.New(rand.NewSource(int64(len(out) + 7)))
		for try := 0; try < count; try++ {
			if p, ok := sample(k, random, try); ok {
				out = append(out, p)
			}
		}
	}
	return out
}

func sample(k kind, random *rand.Rand, try int) (p pair, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false // defaulting may take for granted what validation would refuse
		}
	}()
	object := reflect.New(k.goType)
	filler := &filler{random: random, density: 0.1 + 0.5*float64(try%5)/5}
	filler.fill(object.Elem(), nil, 0)
	raw, err := json.Marshal(object.Interface())
	check(err)
	var generic map[string]any
	check(json.Unmarshal(raw, &generic))
	filler.thin(generic)
	generic["apiVersion"], generic["kind"] = k.gvk.GroupVersion().String(), k.gvk.Kind
	before, err := json.Marshal(generic)
	check(err)
	after, err := stored(k, before)
	if err != nil {
		return p, false
	}
	return pair{k.gvk.Group, k.gvk.Version, k.gvk.Kind, before, after}, true
}

// stored is what a server answers: decoded, defaulted, made internal, kept as protobuf, and written as JSON.
func stored(k kind, before []byte) ([]byte, error) {
	f := k.family
	internal, err := runtime.Decode(f.codecs.UniversalDecoder(), before)
	if err != nil {
		return nil, err
	}
	gv := k.gvk.GroupVersion()
	if f.protobuf {
		codec := f.codecs.CodecForVersions(protobuf.NewSerializer(f.scheme, f.scheme), f.codecs.UniversalDeserializer(), gv, runtime.InternalGroupVersioner)
		data, err := runtime.Encode(codec, internal)
		if err != nil {
			return nil, err
		}
		if internal, err = runtime.Decode(codec, data); err != nil {
			return nil, err
		}
	}
	return runtime.Encode(f.codecs.LegacyCodec(gv), internal)
}

type filler struct {
	random  *rand.Rand
	density float64
}

func (f *filler) some() bool { return f.random.Float64() < f.density }

func (f *filler) pick(values ...string) string { return values[f.random.Intn(len(values))] }

func (f *filler) fill(v reflect.Value, path []string, depth int) {
	if f.fillSpecial(v) || depth > 14 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !f.some() {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), path, depth+1)
	case reflect.Slice:
		if len(path) > 0 && path[len(path)-1] == "containers" || f.some() {
			n := 1 + f.random.Intn(2)
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				f.fill(v.Index(i), path, depth+1)
			}
		}
	case reflect.Map:
		if !f.some() {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for _, name := range []string{"cpu", "memory"} {
			if !f.some() {
				continue
			}
			value := reflect.New(v.Type().Elem()).Elem()
			f.fill(value, path, depth+1)
			v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), value)
		}
	case reflect.Struct:
		forFields(v.Type(), func(i int, name string, inline bool) {
			next := path
			if !inline {
				next = append(append([]string{}, path...), name)
			}
			if len(path) == 0 && name == "metadata" {
				v.Field(i).FieldByName("Name").SetString("x")
				return
			}
			if name == "kind" || name == "apiVersion" || name == "taints" && v.Type().Name() == "Device" {
				// A device taint's default is the time.
				return
			}
			f.fill(v.Field(i), next, depth+1)
		})
	default:
		f.fillScalar(v, path)
	}
}

func (f *filler) fillSpecial(v reflect.Value) bool {
	form, ok := special[v.Type()]
	if !ok {
		return false
	}
	switch form {
	case "Quantity":
		v.Set(reflect.ValueOf(resource.MustParse(f.pick("1", "100m", "0.5", "1Gi", "1500Mi", "1e3", "2k", "1024", "0", "1.5Gi", "100n", "12345678901234"))))
	case "IntOrString":
		if f.some() {
			v.Set(reflect.ValueOf(intstr.FromString(f.pick("25%", "http"))))
		} else {
			v.Set(reflect.ValueOf(intstr.FromInt32(int32(f.random.Intn(3)))))
		}
	case "Time":
		if f.some() {
			v.Set(reflect.ValueOf(metav1.Unix(1700000000, 0)))
		}
	case "MicroTime":
		if f.some() {
			v.Set(reflect.ValueOf(metav1.NewMicroTime(metav1.Unix(1700000000, 0).Add(1234000))))
		}
	case "Duration":
		v.SetInt(0)
	case "Bytes":
		if f.some() {
			v.SetBytes([]byte("bytes"))
		}
	}
	return true
}

func (f *filler) fillScalar(v reflect.Value, path []string) {
	if !f.some() {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(f.random.Intn(2) == 0)
	case reflect.String:
		v.SetString(f.word(v.Type(), path))
	case reflect.Float64, reflect.Float32:
		v.SetFloat(float64(f.random.Intn(10)) / 2)
	case reflect.Uint32, reflect.Uint64, reflect.Uint8, reflect.Uint16:
		v.SetUint(uint64(f.random.Intn(4)))
	default:
		v.SetInt(int64(f.random.Intn(4)))
	}
}

// word picks a value that defaulting looks at, where the type has such.
func (f *filler) word(t reflect.Type, path []string) string {
	last := ""
	if len(path) > 0 {
		last = path[len(path)-1]
	}
	values := map[string][]string{
		"v1.Protocol":                      {"TCP", "UDP"},
		"v1.PullPolicy":                    {"Always", "Never", "IfNotPresent"},
		"v1.RestartPolicy":                 {"Always", "OnFailure", "Never"},
		"v1.DNSPolicy":                     {"Default", "ClusterFirst"},
		"v1.DeploymentStrategyType":        {"Recreate", "RollingUpdate"},
		"v1.StatefulSetUpdateStrategyType": {"OnDelete", "RollingUpdate"},
		"v1.DaemonSetUpdateStrategyType":   {"OnDelete", "RollingUpdate"},
		"v1.ServiceType":                   {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"},
		"v1.ServiceAffinity":               {"ClientIP", "None"},
		"v1.ServiceExternalTrafficPolicy":  {"Cluster", "Local"},
		"v1.CompletionMode":                {"Indexed", "NonIndexed"},
		"v2.MetricSourceType":              {"Resource", "Pods", "ContainerResource", "External"},
		"v1.PersistentVolumeMode":          {"Block", "Filesystem"},
		"v1.UnsatisfiableConstraintAction": {"DoNotSchedule", "ScheduleAnyway"},
	}
	if options, ok := values[t.String()]; ok {
		return f.pick(options...)
	}
	if last == "image" {
		return f.pick("nginx", "nginx:1.2", "nginx:latest", "h:5000/x", "h:5000/x:v1", "x@sha256:0123456789012345678901234567890123456789012345678901234567890123", "")
	}
	return f.pick("a", "b", "word")
}

// thin removes some of the empty values that Go writes and people do not.
func (f *filler) thin(value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if isHollow(inner) && !strings.HasPrefix(key, "matchLabels") && f.random.Intn(3) > 0 {
				delete(value, key)
				continue
			}
			f.thin(inner)
		}
	case []any:
		for _, inner := range value {
			f.thin(inner)
		}
	}
}

func isHollow(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case map[string]any:
		return len(value) == 0
	}
	return false
}
