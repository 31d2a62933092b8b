package main

import (
	"fmt"
	"reflect"
	"sort"
	"strings"

	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Types whose JSON form is their own affair.
var special = map[reflect.Type]string{
	reflect.TypeFor[metav1.Time]():                        "Time",
	reflect.TypeFor[metav1.MicroTime]():                   "MicroTime",
	reflect.TypeFor[metav1.Duration]():                    "Duration",
	reflect.TypeFor[resource.Quantity]():                  "Quantity",
	reflect.TypeFor[intstr.IntOrString]():                 "IntOrString",
	reflect.TypeFor[[]byte]():                             "Bytes",
	reflect.TypeFor[runtime.RawExtension]():               "Any",
	reflect.TypeFor[metav1.FieldsV1]():                    "Any",
	reflect.TypeFor[extv1.JSON]():                         "Any",
	reflect.TypeFor[extv1.JSONSchemaPropsOrBool]():        "Any",
	reflect.TypeFor[extv1.JSONSchemaPropsOrArray]():       "Any",
	reflect.TypeFor[extv1.JSONSchemaPropsOrStringArray](): "Any",
}

type jsonType struct {
	Form     string      `json:"form"` // Struct, List, Map, Any or the name of a scalar
	Go       string      `json:"go"`
	Fields   []jsonField `json:"fields,omitempty"`
	Atomic   bool        `json:"atomic,omitempty"`
	Item     int         `json:"item,omitempty"`
	Topology string      `json:"topology,omitempty"`
	Keys     []jsonKey   `json:"keys,omitempty"`
	Patch    jsonPatch   `json:"patch"`
	Doc      string      `json:"doc,omitempty"`
}

type jsonField struct {
	Name     string    `json:"name"`
	Type     int       `json:"type"`
	Required bool      `json:"required"`
	Omit     string    `json:"omit"` // Never, Empty, Zero
	Pointer  bool      `json:"pointer"`
	Patch    jsonPatch `json:"patch"`
}

type jsonKey struct {
	Name    string  `json:"name"`
	Default *string `json:"default"`
}

type jsonPatch struct {
	Strategy string `json:"strategy"`
	Key      string `json:"key"`
}

type jsonKind struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
	Type    int    `json:"type"`
}

type typeWalker struct {
	definitions map[string]map[string]any
	types       []*jsonType
	ids         map[string]int
	kinds       []jsonKind
}

func newTypeWalker(definitions map[string]map[string]any) *typeWalker {
	return &typeWalker{definitions: definitions, ids: map[string]int{}}
}

func (w *typeWalker) addKind(k kind) {
	w.kinds = append(w.kinds, jsonKind{k.gvk.Group, k.gvk.Version, k.gvk.Kind, w.typeOf(k.goType, nil)})
}

func (w *typeWalker) output() any {
	return map[string]any{"types": w.types, "kinds": w.kinds}
}

// typeOf returns the id of a Go type as used by a field whose OpenAPI schema is `marks`.
func (w *typeWalker) typeOf(t reflect.Type, marks map[string]any) int {
	if t.Kind() == reflect.Pointer {
		return w.typeOf(t.Elem(), marks)
	}
	if form, ok := special[t]; ok {
		return w.intern("special "+t.String(), func(out *jsonType) { out.Form, out.Go = form, t.String() })
	}
	switch t.Kind() {
	case reflect.Struct:
		return w.structType(t, marks)
	case reflect.Slice:
		return w.listType(t, marks)
	case reflect.Map:
		atomic := text(marks, "x-kubernetes-map-type") == "atomic"
		value, _ := marks["additionalProperties"].(map[string]any)
		item := w.typeOf(t.Elem(), value)
		return w.intern(fmt.Sprintf("map %s %d %v", t, item, atomic), func(out *jsonType) {
			out.Form, out.Go, out.Item, out.Atomic = "Map", t.String(), item, atomic
		})
	}
	form := scalarForm(t)
	return w.intern("scalar "+t.String(), func(out *jsonType) { out.Form, out.Go = form, t.String() })
}

func scalarForm(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "String"
	case reflect.Bool:
		return "Boolean"
	case reflect.Int32, reflect.Uint32, reflect.Int16, reflect.Uint16, reflect.Uint8:
		return "Integer32"
	case reflect.Int64, reflect.Int, reflect.Uint64:
		return "Integer64"
	case reflect.Float64, reflect.Float32:
		return "Number"
	}
	panic("no scalar form for " + t.String())
}

func (w *typeWalker) structType(t reflect.Type, marks map[string]any) int {
	definition := w.definitions[definitionName(t)]
	atomic := text(definition, "x-kubernetes-map-type") == "atomic" || text(marks, "x-kubernetes-map-type") == "atomic"
	return w.intern(fmt.Sprintf("struct %s.%s %v", t.PkgPath(), t.Name(), atomic), func(out *jsonType) {
		out.Form, out.Go, out.Atomic, out.Doc = "Struct", t.String(), atomic, definitionName(t)
		out.Fields = w.fields(t, definition)
		sort.Slice(out.Fields, func(i, j int) bool { return out.Fields[i].Name < out.Fields[j].Name })
	})
}

func (w *typeWalker) fields(t reflect.Type, definition map[string]any) []jsonField {
	properties, _ := definition["properties"].(map[string]any)
	var fields []jsonField
	for i := range t.NumField() {
		f := t.Field(i)
		name, omit, inline := jsonTag(f)
		if inline {
			embedded := f.Type
			inner := w.definitions[definitionName(embedded)]
			if inner == nil {
				inner = definition
			}
			for _, field := range w.fields(embedded, merged(inner, definition)) {
				fields = append(fields, field)
			}
			continue
		}
		if name == "-" || name == "" {
			continue
		}
		marks, _ := properties[name].(map[string]any)
		fields = append(fields, jsonField{
			Name: name, Type: w.typeOf(f.Type, marks), Required: contains(definition["required"], name),
			Omit: omit, Pointer: f.Type.Kind() == reflect.Pointer, Patch: patchOf(marks),
		})
	}
	return fields
}

// An inlined struct's properties are published in the struct that inlines it.
func merged(inner, outer map[string]any) map[string]any {
	properties := map[string]any{}
	for _, from := range []map[string]any{inner, outer} {
		if p, ok := from["properties"].(map[string]any); ok {
			for name, value := range p {
				properties[name] = value
			}
		}
	}
	return map[string]any{"properties": properties, "required": outer["required"]}
}

func (w *typeWalker) listType(t reflect.Type, marks map[string]any) int {
	items, _ := marks["items"].(map[string]any)
	item := w.typeOf(t.Elem(), items)
	topology := text(marks, "x-kubernetes-list-type")
	var keys []jsonKey
	if topology == "map" {
		names, _ := marks["x-kubernetes-list-map-keys"].([]any)
		for _, name := range names {
			keys = append(keys, jsonKey{name.(string), w.keyDefault(t.Elem(), name.(string))})
		}
	}
	patch := patchOf(marks)
	return w.intern(fmt.Sprintf("list %s %d %s %v %v", t, item, topology, keyNames(keys), patch), func(out *jsonType) {
		out.Form, out.Go, out.Item, out.Topology, out.Keys, out.Patch = "List", t.String(), item, topology, keys, patch
	})
}

func keyNames(keys []jsonKey) []string {
	var names []string
	for _, key := range keys {
		names = append(names, key.Name)
	}
	return names
}

func (w *typeWalker) keyDefault(t reflect.Type, key string) *string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	properties, _ := w.definitions[definitionName(t)]["properties"].(map[string]any)
	property, _ := properties[key].(map[string]any)
	if value, ok := property["default"].(string); ok {
		return &value
	}
	return nil
}

func (w *typeWalker) intern(key string, fill func(*jsonType)) int {
	if id, ok := w.ids[key]; ok {
		return id
	}
	id := len(w.types)
	w.ids[key] = id
	out := &jsonType{}
	w.types = append(w.types, out)
	fill(out)
	return id
}

func patchOf(marks map[string]any) jsonPatch {
	return jsonPatch{text(marks, "x-kubernetes-patch-strategy"), text(marks, "x-kubernetes-patch-merge-key")}
}

func jsonTag(f reflect.StructField) (name, omit string, inline bool) {
	tag, tagged := f.Tag.Lookup("json")
	parts := strings.Split(tag, ",")
	name, omit = parts[0], "Never"
	for _, option := range parts[1:] {
		switch option {
		case "omitempty":
			if omit == "Never" {
				omit = "Empty"
			}
		case "omitzero":
			omit = "Zero"
		case "inline":
			inline = true
		}
	}
	if f.Anonymous && name == "" {
		inline = true
	}
	if !tagged && !f.Anonymous {
		name = f.Name
	}
	return name, omit, inline
}

func definitionName(t reflect.Type) string {
	parts := strings.Split(t.PkgPath(), "/")
	host := strings.Split(parts[0], ".")
	for i, j := 0, len(host)-1; i < j; i, j = i+1, j-1 {
		host[i], host[j] = host[j], host[i]
	}
	parts[0] = strings.Join(host, ".")
	return strings.Join(parts, ".") + "." + t.Name()
}

func text(from map[string]any, key string) string {
	value, _ := from[key].(string)
	return value
}

func contains(list any, name string) bool {
	items, _ := list.([]any)
	for _, item := range items {
		if item == name {
			return true
		}
	}
	return false
}
