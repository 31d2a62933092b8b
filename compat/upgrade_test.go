package compat

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAnUpgradeGoesInPlace(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 3, nil)
	before := f.pod(f.names[0])
	f.update("agent:2", "{maxUnavailable: '100%'}")
	f.rolls("agent:2", 3)
	after := f.pod(f.names[0])
	if after.UID != before.UID {
		t.Error("the pod was replaced")
	}
	entry := hashes(t, after, hashKey)[f.set.GetName()]
	if entry.Hash != f.set.GetAnnotations()[hashKey] {
		t.Errorf("hash of the pod %+v", entry)
	}
	if was := hashes(t, after, hashWithoutImageKey)[f.set.GetName()]; was.Hash != f.set.GetAnnotations()[hashWithoutImageKey] {
		t.Errorf("hash without image %+v", was)
	}
	state := after.Annotations["kruise.io/sidecarset-inplace-update-state"]
	for _, part := range []string{`"` + f.set.GetName() + `"`, `"lastContainerStatuses"`, `"agent":{"imageID":"sha256:agent:1"}`, `"revision"`, `"updateTimestamp"`} {
		if !strings.Contains(state, part) {
			t.Errorf("no %s in %s", part, state)
		}
	}
	upgradable := ""
	for _, each := range after.Status.Conditions {
		if each.Type == "SidecarSetUpgradable" {
			upgradable = string(each.Status) + " " + each.Reason + " " + each.Message
		}
	}
	if upgradable != `True AllSidecarsetUpgradable {"`+f.set.GetName()+`":true}` {
		t.Errorf("condition SidecarSetUpgradable: %s", upgradable)
	}
}

func TestPartitionKeepsPodsBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 4, nil)
	f.update("agent:2", "{partition: 3, maxUnavailable: '100%'}")
	f.rolls("agent:2", 1)
	setSpec(t, f.set, "'50%'", "updateStrategy", "partition")
	f.rolls("agent:2", 2)
	setSpec(t, f.set, "0", "updateStrategy", "partition")
	f.rolls("agent:2", 4)
}

func TestMaxUnavailableIsNeverExceeded(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 4, nil)
	f.update("agent:2", "{maxUnavailable: 2}")
	f.reaches("two in flight", "updated", 2, "ready", 2)
	first := f.moved("agent:2")
	if len(strings.Fields(first)) != 2 {
		t.Fatalf("in flight: %s", first)
	}
	// One comes back, and makes room for one.
	f.run(f.names[number(first)])
	f.reaches("a third in flight", "updated", 3, "ready", 2)
	f.rolls("agent:2", 4)
}

func number(moved string) int { return int(strings.Fields(moved)[0][0] - '0') }

func TestPodsThatAreNotReadyGoFirstAndFree(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 3, nil)
	f.fail(f.names[1])
	f.reaches("one not ready", "ready", 2)
	f.update("agent:2", "{maxUnavailable: 0}")
	f.reaches("the pod that is down anyway is updated", "updated", 1)
	same(t, "moved", f.moved("agent:2"), `"1"`)
}

func TestPauseHoldsAnUpgrade(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 2, nil)
	f.update("agent:2", "{paused: true}")
	f.reaches("seen", "matched", 2, "updated", 0, "ready", 2)
	same(t, "moved", f.moved("agent:2"), `""`)
	setSpec(t, f.set, "false", "updateStrategy", "paused")
	f.rolls("agent:2", 2)
}

func TestTheUpdateSelectorChoosesCanaries(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 3, func(n int) map[string]string {
		return map[string]string{"canary": fmt.Sprint(n == 2)}
	})
	f.update("agent:2", "{maxUnavailable: '100%', selector: {matchLabels: {canary: 'true'}}}")
	f.rolls("agent:2", 1)
	same(t, "moved", f.moved("agent:2"), `"2"`)
}

func TestPriorityDecidesTheOrder(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 4, func(n int) map[string]string {
		return map[string]string{"tier": []string{"c", "a", "b", "none"}[n], "order": fmt.Sprint(n)}
	})
	f.update("agent:2", `{maxUnavailable: '100%', partition: 2, priorityStrategy: {weightPriority: [
		{weight: 60, matchSelector: {matchLabels: {tier: a}}}, {weight: 40, matchSelector: {matchLabels: {tier: b}}}, {weight: 10, matchSelector: {matchLabels: {tier: c}}}]}}`)
	f.rolls("agent:2", 2)
	same(t, "moved by weight", f.moved("agent:2"), `"1 2"`)
	f.update("agent:3", `{maxUnavailable: '100%', partition: 2, priorityStrategy: {orderPriority: [{orderedKey: order}]}}`)
	f.rolls("agent:3", 2)
	same(t, "moved by order", f.moved("agent:3"), `"2 3"`)
}

func TestScatterSpreadsWhatIsAlike(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 6, func(n int) map[string]string {
		return map[string]string{"zone": map[bool]string{true: "z1", false: "z2"}[n < 3]}
	})
	f.update("agent:2", `{maxUnavailable: '100%', partition: 2, scatterStrategy: [{key: zone, value: z1}]}`)
	f.rolls("agent:2", 4)
	inZone := 0
	for _, moved := range strings.Fields(f.moved("agent:2")) {
		if moved < "3" {
			inZone++
		}
	}
	if inZone == 0 || inZone == 3 {
		t.Errorf("of four pods %d are of zone z1: %s", inZone, f.moved("agent:2"))
	}
}

func TestNotUpdateMovesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 2, nil)
	f.update("agent:2", "{type: NotUpdate}")
	f.reaches("seen", "matched", 2, "updated", 0, "ready", 2)
	same(t, "moved", f.moved("agent:2"), `""`)
	late := podNamed(t, nameOf(t)+"-late", "{}")
	create(t, late)
	same(t, "image of a new pod", at(late, "spec.containers[agent].image"), "agent:2")
}

func TestWhatCannotGoInPlaceIsMarked(t *testing.T) {
	t.Parallel()
	f := newFleet(t, created(t, "{"+oneContainer+"}"), 2, nil)
	setSpec(t, f.set, `[{name: agent, image: "agent:2", env: [{name: NEW, value: x}]}]`, "containers")
	for _, name := range f.names {
		until(t, "marked", func() error {
			for _, each := range f.pod(name).Status.Conditions {
				if each.Type == "SidecarSetUpgradable" && each.Status == "False" && each.Reason == "UpdateImmutableField" && each.Message == `{"`+f.set.GetName()+`":false}` {
					return nil
				}
			}
			return fmt.Errorf("conditions %v", f.pod(name).Status.Conditions)
		})
	}
	f.reaches("counted", "matched", 2, "updated", 0, "ready", 2)
	same(t, "moved", f.moved("agent:2"), `""`)
}

func TestHistoryIsKept(t *testing.T) {
	t.Parallel()
	set := newSidecarSet(t, "{"+oneContainer+", revisionHistoryLimit: 2}")
	set.SetLabels(map[string]string{"team": "a"})
	create(t, set)
	observed(t, set)
	first := at(set, "status.latestRevision").(string)
	for number := 2; number <= 4; number++ {
		setSpec(t, set, fmt.Sprintf(`[{name: agent, image: "agent:%d"}]`, number), "containers")
		observed(t, set)
	}
	until(t, "cut to its limit", func() error {
		if found := revisionsOf(t, set); len(found) != 2 {
			return fmt.Errorf("%d revisions", len(found))
		}
		return nil
	})
	for _, revision := range revisionsOf(t, set) {
		if revision.GetName() == first || !strings.HasPrefix(revision.GetName(), set.GetName()+"-") {
			t.Errorf("kept %s", revision.GetName())
		}
		hash := strings.TrimPrefix(revision.GetName(), set.GetName()+"-")
		same(t, "labels", revision.GetLabels(), fmt.Sprintf("{team: a, controller.kubernetes.io/hash: %s, %s: %s}", hash, sidecarSetNameLabel, set.GetName()))
		owner := metav1.GetControllerOf(&revision)
		if owner == nil || owner.APIVersion != beta || owner.Kind != "SidecarSet" || owner.UID != set.GetUID() {
			t.Errorf("owner %+v", owner)
		}
		if revision.GetAnnotations()[hashKey] == "" {
			t.Errorf("annotations %v", revision.GetAnnotations())
		}
		spec, _ := at(&revision, "data.spec").(map[string]any)
		if spec["$patch"] != "replace" {
			t.Errorf("data %v", revision.Object["data"])
		}
		for _, field := range []string{"containers", "imagePullSecrets", "initContainers", "patchPodMetadata", "volumes"} {
			if _, found := spec[field]; !found {
				t.Errorf("data has no %s", field)
			}
		}
	}
	latest := at(set, "status.latestRevision")
	setSpec(t, set, `[{name: agent, image: "agent:3"}]`, "containers")
	observed(t, set)
	if again := at(set, "status.latestRevision"); again == latest {
		t.Errorf("latestRevision %v", again)
	}
	for _, revision := range revisionsOf(t, set) {
		if number := at(&revision, "revision"); revision.GetName() == at(set, "status.latestRevision") && number != int64(5) {
			t.Errorf("the old content came back as revision %v", number)
		}
	}
}

func TestACustomVersionMarksItsRevision(t *testing.T) {
	t.Parallel()
	set := created(t, "{"+oneContainer+", customVersion: gold}")
	observed(t, set)
	for _, revision := range revisionsOf(t, set) {
		if revision.GetLabels()[customVersionLabel] != "gold" {
			t.Errorf("labels %v", revision.GetLabels())
		}
	}
	setSpec(t, set, "platinum", "customVersion")
	until(t, "the label follows", func() error {
		found := revisionsOf(t, set)
		if len(found) != 1 || found[0].GetLabels()[customVersionLabel] != "platinum" {
			return fmt.Errorf("%d revisions: %v", len(found), found)
		}
		return nil
	})
}

func TestDeletingASidecarSetTouchesNoPod(t *testing.T) {
	t.Parallel()
	set := created(t, "{"+oneContainer+"}")
	f := newFleet(t, set, 1, nil)
	before := f.pod(f.names[0])
	remove(t, set)
	again := newSidecarSet(t, "{"+oneContainer+"}")
	create(t, again)
	f.set = again
	f.reaches("adopted again", "matched", 1, "updated", 1, "ready", 1)
	if after := f.pod(f.names[0]); after.ResourceVersion != before.ResourceVersion {
		t.Error("the pod was written")
	}
}

func TestConditionsFollowTheConventions(t *testing.T) {
	t.Parallel()
	set := created(t, "{"+oneContainer+"}")
	observed(t, set)
	conditions, _ := at(set, "status.conditions").([]any)
	for _, each := range conditions {
		fields := each.(map[string]any)
		for _, key := range []string{"type", "status", "reason", "lastTransitionTime"} {
			if text, _ := fields[key].(string); text == "" {
				t.Errorf("condition without %s: %v", key, fields)
			}
		}
	}
}
