package main

import (
	"encoding/json"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
)

type recordedKind struct {
	Group    string          `json:"group"`
	Version  string          `json:"version"`
	Kind     string          `json:"kind"`
	Defaults []recordedValue `json:"defaults"`
}

type recordedValue struct {
	Path  []string        `json:"path"` // JSON names; "[]" is every item of a list
	Value json.RawMessage `json:"value"`
}

// recordDefaults runs Kubernetes' own defaulting on objects whose structs are all present and whose scalars are
// all unset, then on the same objects with one struct pointer or list left out at a time.
func recordDefaults(kinds []kind) []recordedKind {
	var out []recordedKind
	for _, k := range kinds {
		r := &recorder{kind: k, seen: map[string]bool{}}
		full := r.skeleton(nil)
		defaulted := r.defaulted(full)
		r.compare(nil, full, defaulted)
		for _, path := range r.absent(nil, full) {
			without := r.skeleton(path)
			r.compareAt(path, nil, without, r.defaulted(without))
		}
		if len(r.out) > 0 {
			out = append(out, recordedKind{k.gvk.Group, k.gvk.Version, k.gvk.Kind, r.out})
		}
	}
	return out
}

type recorder struct {
	kind kind
	out  []recordedValue
	seen map[string]bool
}

func (r *recorder) skeleton(without []string) reflect.Value {
	object := reflect.New(r.kind.goType)
	fillSkeleton(object.Elem(), nil, without, map[reflect.Type]bool{})
	return object
}

func (r *recorder) defaulted(object reflect.Value) reflect.Value {
	copied := object.Interface().(runtime.Object).DeepCopyObject()
	r.kind.family.scheme.Default(copied)
	return reflect.ValueOf(copied)
}

func fillSkeleton(v reflect.Value, path, without []string, stack map[reflect.Type]bool) {
	if _, ok := special[v.Type()]; ok {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		element := v.Type().Elem()
		if _, ok := special[element]; ok || element.Kind() != reflect.Struct || stack[element] || same(path, without) {
			return
		}
		v.Set(reflect.New(element))
		fillSkeleton(v.Elem(), path, without, stack)
	case reflect.Slice:
		element := v.Type().Elem()
		if element.Kind() == reflect.Pointer {
			element = element.Elem()
		}
		if _, ok := special[element]; ok || element.Kind() != reflect.Struct || stack[element] || same(path, without) {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillSkeleton(v.Index(0), append(path, "[]"), without, stack)
	case reflect.Struct:
		if len(path) > 0 && path[len(path)-1] == "metadata" {
			return
		}
		if stack[v.Type()] {
			return
		}
		stack[v.Type()] = true
		forFields(v.Type(), func(i int, name string, inline bool) {
			next := path
			if !inline {
				next = append(append([]string{}, path...), name)
			}
			fillSkeleton(v.Field(i), next, without, stack)
		})
		delete(stack, v.Type())
	}
}

// absent lists the paths of the pointers and lists that the skeleton fills.
func (r *recorder) absent(path []string, v reflect.Value) [][]string {
	var out [][]string
	if _, ok := special[v.Type()]; ok {
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if len(path) > 0 {
			out = append(out, path)
		}
		return append(out, r.absent(path, v.Elem())...)
	case reflect.Slice:
		if v.Len() == 0 || v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		out = append(out, path)
		return append(out, r.absent(append(append([]string{}, path...), "[]"), v.Index(0))...)
	case reflect.Struct:
		forFields(v.Type(), func(i int, name string, inline bool) {
			next := path
			if !inline {
				next = append(append([]string{}, path...), name)
			}
			out = append(out, r.absent(next, v.Field(i))...)
		})
	}
	return out
}

func (r *recorder) compare(path []string, before, after reflect.Value) {
	if before.Kind() == reflect.Pointer && !before.IsNil() && !after.IsNil() {
		r.compare(path, before.Elem(), after.Elem())
		return
	}
	if _, ok := special[before.Type()]; !ok && before.Kind() == reflect.Struct {
		forFields(before.Type(), func(i int, name string, inline bool) {
			next := path
			if !inline {
				next = append(append([]string{}, path...), name)
			}
			r.compare(next, before.Field(i), after.Field(i))
		})
		return
	}
	if before.Kind() == reflect.Slice && before.Len() > 0 && before.Len() == after.Len() {
		r.compare(append(append([]string{}, path...), "[]"), before.Index(0), after.Index(0))
		return
	}
	if isUnset(before) && !reflect.DeepEqual(before.Interface(), after.Interface()) && !isUnset(after) {
		r.record(path, after)
	}
}

// compareAt records what defaulting puts where the skeleton left one thing out.
func (r *recorder) compareAt(target, path []string, before, after reflect.Value) {
	if same(path, target) && (before.Kind() == reflect.Slice || before.Kind() == reflect.Pointer && len(path) > 0) {
		if isUnset(before) && !isUnset(after) {
			r.record(path, after)
		}
		return
	}
	switch before.Kind() {
	case reflect.Pointer:
		if !before.IsNil() && !after.IsNil() {
			r.compareAt(target, path, before.Elem(), after.Elem())
		}
	case reflect.Slice:
		if before.Len() == 1 && after.Len() == 1 {
			r.compareAt(target, append(append([]string{}, path...), "[]"), before.Index(0), after.Index(0))
		}
	case reflect.Struct:
		forFields(before.Type(), func(i int, name string, inline bool) {
			next := path
			if !inline {
				next = append(append([]string{}, path...), name)
				if len(next) > len(target) || !same(next, target[:len(next)]) {
					return
				}
			}
			r.compareAt(target, next, before.Field(i), after.Field(i))
		})
	}
}

func (r *recorder) record(path []string, value reflect.Value) {
	data, err := json.Marshal(value.Interface())
	check(err)
	key, _ := json.Marshal(path)
	if r.seen[string(key)] {
		return
	}
	r.seen[string(key)] = true
	r.out = append(r.out, recordedValue{append([]string{}, path...), data})
}

func isUnset(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return v.IsNil()
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return v.IsZero()
}

func forFields(t reflect.Type, visit func(i int, name string, inline bool)) {
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, _, inline := jsonTag(f)
		if !inline && (name == "-" || name == "") {
			continue
		}
		visit(i, name, inline)
	}
}

func same(a, b []string) bool {
	if len(a) != len(b) || b == nil {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
