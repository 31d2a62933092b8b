package compat

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A fleet is pods whose kubelet the test plays.
type fleet struct {
	t     *testing.T
	set   *unstructured.Unstructured
	names []string
}

// newFleet creates pods p0, p1, ... with the labels given by number; all of them run.
func newFleet(t *testing.T, set *unstructured.Unstructured, size int, label func(int) map[string]string) *fleet {
	t.Helper()
	f := &fleet{t: t, set: set}
	for number := range size {
		pod := podNamed(t, fmt.Sprintf("%s-p%d", nameOf(t), number), "{}")
		labels := pod.GetLabels()
		if label != nil {
			for key, value := range label(number) {
				labels[key] = value
			}
		}
		pod.SetLabels(labels)
		create(t, pod)
		f.names = append(f.names, pod.GetName())
	}
	f.run(f.names...)
	f.reaches("every pod counted", "matched", size, "updated", size, "ready", size)
	return f
}

// run plays the kubelet: containers of the spec run and are ready.
func (f *fleet) run(names ...string) { f.play(true, names...) }

// fail leaves the pod's containers as they are and not ready.
func (f *fleet) fail(names ...string) { f.play(false, names...) }

func (f *fleet) play(ready bool, names ...string) {
	f.t.Helper()
	for _, name := range names {
		until(f.t, "status of "+name+" written", func() error {
			pod := f.pod(name)
			if ready {
				runContainers(pod)
			}
			for index := range pod.Status.ContainerStatuses {
				pod.Status.ContainerStatuses[index].Ready = ready
			}
			pod.Status.Phase = corev1.PodRunning
			pod.Status.ObservedGeneration = pod.Generation
			setReady(pod, ready)
			return api.Status().Update(ctx, pod)
		})
	}
}

func runContainers(pod *corev1.Pod) {
	before := map[string]corev1.ContainerStatus{}
	for _, old := range pod.Status.ContainerStatuses {
		before[old.Name] = old
	}
	pod.Status.ContainerStatuses = nil
	for _, container := range pod.Spec.Containers {
		now := before[container.Name]
		if now.Image != container.Image {
			now = corev1.ContainerStatus{Name: container.Name, Image: container.Image, ImageID: "sha256:" + container.Image,
				ContainerID: fmt.Sprintf("containerd://%s-%d", container.Name, pod.Generation), RestartCount: now.RestartCount + 1}
		}
		now.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, now)
	}
}

func setReady(pod *corev1.Pod, ready bool) {
	value := corev1.ConditionFalse
	if ready {
		value = corev1.ConditionTrue
	}
	var others []corev1.PodCondition
	for _, each := range pod.Status.Conditions {
		if each.Type == corev1.PodReady && each.Status == value {
			return
		}
		if each.Type != corev1.PodReady {
			others = append(others, each)
		}
	}
	pod.Status.Conditions = append(others, corev1.PodCondition{Type: corev1.PodReady, Status: value, LastTransitionTime: metav1.Now()})
}

func (f *fleet) pod(name string) *corev1.Pod {
	f.t.Helper()
	pod := &corev1.Pod{}
	if err := api.Get(ctx, client.ObjectKey{Namespace: "default", Name: name}, pod); err != nil {
		f.t.Fatal(err)
	}
	return pod
}

// moved are the numbers of the pods whose sidecar has this image.
func (f *fleet) moved(image string) string {
	f.t.Helper()
	var found []string
	for _, name := range f.names {
		for _, container := range f.pod(name).Spec.Containers {
			if container.Name == "agent" && container.Image == image {
				found = append(found, name[strings.LastIndex(name, "-p")+2:])
			}
		}
	}
	sort.Strings(found)
	return strings.Join(found, " ")
}

// reaches waits for counts of the status: "matched", 3, "updated", 2, ...
func (f *fleet) reaches(what string, counts ...any) {
	f.t.Helper()
	until(f.t, what, func() error {
		get(f.t, f.set)
		if status(f.set, "observedGeneration") != f.set.GetGeneration() {
			return fmt.Errorf("not observed: %v", f.set.Object["status"])
		}
		for index := 0; index < len(counts); index += 2 {
			field := counts[index].(string) + "Pods"
			if status(f.set, field) != int64(counts[index+1].(int)) {
				return fmt.Errorf("%s is %d: %v", field, status(f.set, field), f.set.Object["status"])
			}
		}
		return nil
	})
}

// rolls plays the kubelet of every pod until `updated` of them are updated and ready.
func (f *fleet) rolls(image string, updated int) {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		f.run(f.names...)
		get(f.t, f.set)
		if status(f.set, "observedGeneration") == f.set.GetGeneration() && status(f.set, "updatedReadyPods") == int64(updated) && status(f.set, "updatedPods") == int64(updated) {
			if count := len(strings.Fields(f.moved(image))); count == updated {
				return
			}
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%s moved, want %d; status %v", f.moved(image), updated, f.set.Object["status"])
		}
	}
}

func (f *fleet) update(image, strategy string) {
	f.t.Helper()
	change(f.t, f.set, func() {
		put(f.set, `[{name: agent, image: "`+image+`"}]`, "spec", "containers")
		put(f.set, strategy, "spec", "updateStrategy")
	})
}
