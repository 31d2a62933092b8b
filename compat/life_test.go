package compat

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestPercentagesAreRoundedAsKruiseDoes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 3, nil)
	f.update("agent:2", "{partition: '99%', maxUnavailable: '100%'}")
	f.rolls("agent:2", 1)
	f.update("agent:3", "{partition: '1%', maxUnavailable: '100%'}")
	f.rolls("agent:3", 2)
	f.update("agent:4", "{partition: '100%', maxUnavailable: '100%'}")
	f.reaches("held back", "updated", 0, "ready", 3)
	// A third of three pods, rounded up: two.
	f.update("agent:5", "{maxUnavailable: '34%'}")
	f.reaches("two in flight", "updated", 2, "ready", 1)
}

func TestARevisionThatPodsUseIsKept(t *testing.T) {
	t.Parallel()
	set := created(t, "{"+oneContainer+", revisionHistoryLimit: 1, updateStrategy: {type: NotUpdate}}")
	// A pod is injected from a revision once there is one.
	observed(t, set)
	f := newFleet(t, set, 1, nil)
	used := hashes(t, f.pod(f.names[0]), hashKey)[f.set.GetName()].ControllerRevision
	if used == "" {
		used = at(f.set, "status.latestRevision").(string)
	}
	for number := 2; number <= 4; number++ {
		setSpec(t, f.set, fmt.Sprintf(`[{name: agent, image: "agent:%d"}]`, number), "containers")
		observed(t, f.set)
	}
	var kept []string
	until(t, "others are gone", func() error {
		kept = nil
		for _, revision := range revisionsOf(t, f.set) {
			kept = append(kept, revision.GetName())
		}
		if len(kept) > 2 {
			return fmt.Errorf("kept %v", kept)
		}
		return nil
	})
	if !strings.Contains(strings.Join(kept, " "), used) {
		t.Errorf("kept %v, the pod uses %s", kept, used)
	}
}

func TestACopyOfAnInjectedPodIsInjectedOnce(t *testing.T) {
	t.Parallel()
	created(t, `{containers: [{name: agent, image: "agent:1", volumeMounts: [{name: scratch, mountPath: /s}]}], volumes: [{name: scratch, emptyDir: {}}]}`)
	pod := injected(t, "{}")
	duplicate := parse("{apiVersion: v1, kind: Pod, metadata: {namespace: default, name: " + nameOf(t) + "-copy}}")
	duplicate.SetLabels(pod.GetLabels())
	duplicate.SetAnnotations(pod.GetAnnotations())
	duplicate.Object["spec"] = pod.DeepCopy().Object["spec"]
	create(t, duplicate)
	same(t, "spec", at(duplicate, "spec"), asJSON(at(pod, "spec")))
}

func TestAPodThatIsDeletedLeavesTheCount(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 2, nil)
	remove(t, f.pod(f.names[0]))
	f.reaches("one left", "matched", 1, "updated", 1, "ready", 1)
	over := f.pod(f.names[1])
	over.Status.Phase = corev1.PodSucceeded
	if err := api.Status().Update(ctx, over); err != nil {
		t.Fatal(err)
	}
	f.reaches("none active", "matched", 0, "updated", 0, "ready", 0)
}

func TestAnEventTellsOfPodsThatCannotFollow(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 1, nil)
	setSpec(t, f.set, `[{name: agent, image: "agent:1", command: [other]}]`, "containers")
	until(t, "NotUpgradablePods", func() error {
		events := &corev1.EventList{}
		if err := api.List(ctx, events); err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.Reason == "NotUpgradablePods" && event.InvolvedObject.Kind == "SidecarSet" && event.InvolvedObject.Name == f.set.GetName() && event.Type == "Normal" {
				return nil
			}
		}
		return fmt.Errorf("%d events, not that one", len(events.Items))
	})
}

func TestListsAreSelectedAndPaged(t *testing.T) {
	t.Parallel()
	for number := range 3 {
		set := sidecarSetNamed(fmt.Sprintf("%s-%d", nameOf(t), number), "{selector: {matchLabels: {app: paged-"+fmt.Sprint(number)+"}}, "+oneContainer+"}")
		set.SetLabels(map[string]string{"paged": "yes"})
		create(t, set)
	}
	var found []string
	list := listOf("SidecarSetList", beta)
	for {
		if err := api.List(ctx, list, client.MatchingLabels{"paged": "yes"}, client.Limit(2), client.Continue(list.GetContinue())); err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			found = append(found, item.GetName())
		}
		if list.GetContinue() == "" {
			break
		}
	}
	if len(found) != 3 {
		t.Errorf("found %v", found)
	}
	if err := api.DeleteAllOf(ctx, &unstructured.Unstructured{Object: map[string]any{"apiVersion": beta, "kind": "SidecarSet"}}, client.MatchingLabels{"paged": "yes"}); err != nil {
		t.Fatal(err)
	}
}
