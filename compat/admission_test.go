package compat

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestDefaultsAreKruises(t *testing.T) {
	t.Parallel()
	set := created(t, `{
		containers: [{name: main-sidecar, image: "agent:1", ports: [{containerPort: 80}],
			env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}],
			livenessProbe: {httpGet: {port: 80}}, readinessProbe: {tcpSocket: {port: 80}},
			startupProbe: {httpGet: {port: 80}},
			lifecycle: {postStart: {httpGet: {port: 80}}},
			transferEnv: [{sourceContainerNameFrom: {fieldRef: {fieldPath: "metadata.labels['main']"}}, envName: A}]},
			{name: latest, image: agent}],
		initContainers: [{name: setup, image: "setup:latest"}],
		volumes: [{name: config, configMap: {name: c}}, {name: key, secret: {secretName: s}},
			{name: host, hostPath: {path: /var}}, {name: scratch, emptyDir: {}}],
		injectionStrategy: {}
	}`)
	for path, want := range map[string]string{
		"spec.updateStrategy.type":                                         "RollingUpdate",
		"spec.updateStrategy.partition":                                    "0",
		"spec.updateStrategy.maxUnavailable":                               "1",
		"spec.revisionHistoryLimit":                                        "10",
		"spec.containers.0.podInjectPolicy":                                "BeforeAppContainer",
		"spec.containers.0.upgradeStrategy":                                "{upgradeType: ColdUpgrade}",
		"spec.containers.0.shareVolumePolicy":                              "{type: disabled}",
		"spec.containers.0.shareVolumeDevicePolicy":                        "null",
		"spec.containers.0.imagePullPolicy":                                "IfNotPresent",
		"spec.containers.1.imagePullPolicy":                                "Always",
		"spec.containers.0.terminationMessagePath":                         "/dev/termination-log",
		"spec.containers.0.terminationMessagePolicy":                       "File",
		"spec.containers.0.ports.0.protocol":                               "TCP",
		"spec.containers.0.env.0.valueFrom.fieldRef.apiVersion":            "v1",
		"spec.containers.0.livenessProbe":                                  "{httpGet: {path: /, port: 80, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}",
		"spec.containers.0.readinessProbe":                                 "{tcpSocket: {port: 80}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}",
		"spec.containers.0.startupProbe":                                   "{httpGet: {port: 80}}",
		"spec.containers.0.lifecycle.postStart.httpGet":                    "{path: /, port: 80, scheme: HTTP}",
		"spec.containers.0.transferEnv.0.sourceContainerNameFrom.fieldRef": "{apiVersion: v1, fieldPath: \"metadata.labels['main']\"}",
		"spec.initContainers.0.podInjectPolicy":                            "AfterAppContainer",
		"spec.initContainers.0.imagePullPolicy":                            "Always",
		"spec.volumes.0.configMap.defaultMode":                             "420",
		"spec.volumes.1.secret.defaultMode":                                "420",
		"spec.volumes.2.hostPath.type":                                     "''",
		"spec.volumes.3.emptyDir":                                          "{}",
	} {
		same(t, path, at(set, path), want)
	}
	for _, key := range []string{hashKey, hashWithoutImageKey} {
		if hash := set.GetAnnotations()[key]; len(hash) != 64 || strings.Trim(hash, "bcdfghjklmnpqrstvwxz2456789") != "" {
			t.Errorf("%s: %q", key, hash)
		}
	}
}

func TestDefaultsOfParts(t *testing.T) {
	t.Parallel()
	set := newSidecarSet(t, `{
		containers: [{name: sized, image: "agent:1", resourcesPolicy: {targetContainersMode: sum,
			resourcesExpr: {limits: {cpu: "cpu*50%"}}}}],
		injectionStrategy: {revision: {customVersion: v1}}, customVersion: v1,
		volumes: [{name: token, projected: {sources: [{serviceAccountToken: {path: t}}]}},
			{name: info, downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}}]
	}`)
	// A pinned revision must exist, so the block's own default is seen on a set that exists.
	unstructured.RemoveNestedField(set.Object, "spec", "injectionStrategy")
	create(t, set)
	same(t, "targetContainersNameRegex", at(set, "spec.containers.0.resourcesPolicy.targetContainersNameRegex"), ".*")
	same(t, "projected", at(set, "spec.volumes.0.projected"),
		"{defaultMode: 420, sources: [{serviceAccountToken: {path: t, expirationSeconds: 3600}}]}")
	same(t, "downwardAPI", at(set, "spec.volumes.1.downwardAPI"),
		"{defaultMode: 420, items: [{path: p, fieldRef: {apiVersion: v1, fieldPath: metadata.name}}]}")
	until(t, "revision v1", func() error {
		if found := revisionsOf(t, set); len(found) != 1 {
			return fmt.Errorf("%d revisions", len(found))
		}
		return nil
	})
	setSpec(t, set, "{revision: {customVersion: v1}}", "injectionStrategy")
	same(t, "policy", at(set, "spec.injectionStrategy.revision"), "{customVersion: v1, policy: Always}")
}

const oneContainer = `containers: [{name: agent, image: "agent:1"}]`

func TestWhatKruiseRefuses(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, spec string
		field      string
	}{
		{"no selector", `{selector: null, ` + oneContainer + `}`, "spec.selector: Required"},
		{"empty selector", `{selector: {}, ` + oneContainer + `}`, "spec.selector: Invalid"},
		{"malformed selector", `{selector: {matchExpressions: [{key: a, operator: Near}]}, ` + oneContainer + `}`, "spec.selector"},
		{"empty namespaceSelector", `{namespaceSelector: {}, ` + oneContainer + `}`, "spec.namespaceSelector: Invalid"},
		{"no containers", `{}`, "Required"},
		{"no image", `{containers: [{name: agent}]}`, "image: Required"},
		{"no name", `{containers: [{image: "a:1"}]}`, "name: Required"},
		{"bad name", `{containers: [{name: Agent_1, image: "a:1"}]}`, "name: Invalid"},
		{"a name twice", `{containers: [{name: a, image: "a:1"}, {name: a, image: "b:1"}]}`, "Duplicate"},
		{"bad podInjectPolicy", `{containers: [{name: a, image: "a:1", podInjectPolicy: Between}]}`, "podInjectPolicy"},
		{"bad shareVolumePolicy", `{containers: [{name: a, image: "a:1", shareVolumePolicy: {type: maybe}}]}`, "shareVolumePolicy"},
		{"bare fieldPath of transferEnv", `{containers: [{name: a, image: "a:1", transferEnv: [{envName: E, sourceContainerNameFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}`, "fieldRef.fieldPath"},
		{"resourcesPolicy beside resources", `{containers: [{name: a, image: "a:1", resources: {limits: {cpu: 1}}, resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {limits: {cpu: cpu}}}}]}`, "resources"},
		{"resourcesPolicy with a broken regex", `{containers: [{name: a, image: "a:1", resourcesPolicy: {targetContainersMode: sum, targetContainersNameRegex: "(", resourcesExpr: {limits: {cpu: cpu}}}}]}`, "targetContainersNameRegex"},
		{"resourcesPolicy without expression", `{containers: [{name: a, image: "a:1", resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {}}}]}`, "resourcesExpr"},
		{"resourcesPolicy with a broken expression", `{containers: [{name: a, image: "a:1", resourcesPolicy: {targetContainersMode: max, resourcesExpr: {limits: {cpu: "cpu*"}}}}]}`, "limits.cpu"},
		{"resourcesPolicy of an init container", `{` + oneContainer + `, initContainers: [{name: i, image: "a:1", resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {limits: {cpu: cpu}}}}]}`, "resourcesPolicy"},
		{"a field path no pod has", `{containers: [{name: a, image: "a:1", env: [{name: E, valueFrom: {fieldRef: {fieldPath: metadata.nope}}}]}]}`, "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath"},
		{"a port name twice", `{containers: [{name: a, image: "a:1", ports: [{name: p, containerPort: 1}, {name: p, containerPort: 2}]}]}`, "spec.containers[0].ports[1].name"},
		{"a resource nobody has", `{containers: [{name: a, image: "a:1", resources: {limits: {foo: 1}}}]}`, "spec.containers[0].resources.limits[foo]"},
		{"a negative period", `{containers: [{name: a, image: "a:1", livenessProbe: {httpGet: {port: 80}, periodSeconds: -1}}]}`, "spec.containers[0].livenessProbe.periodSeconds"},
		{"a probe of an init container", `{` + oneContainer + `, initContainers: [{name: i, image: "a:1", readinessProbe: {httpGet: {port: 80}}}]}`, "spec.initContainers[0].readinessProbe"},
		{"an unknown restartPolicy", `{` + oneContainer + `, initContainers: [{name: i, image: "a:1", restartPolicy: Sometimes}]}`, "spec.initContainers[0].restartPolicy"},
		{"one name in both lists", `{` + oneContainer + `, initContainers: [{name: agent, image: "a:1"}]}`, "spec.initContainers[0].name: Duplicate"},
		{"a hostPath of an unknown type", `{` + oneContainer + `, volumes: [{name: v, hostPath: {path: /x, type: Z}}]}`, "spec.volumes[0].hostPath.type"},
		{"a config map without a name", `{` + oneContainer + `, volumes: [{name: v, configMap: {}}]}`, "spec.volumes[0].configMap.name: Required"},
		{"a custom version that is no label", `{` + oneContainer + `, customVersion: "a b"}`, "spec.customVersion"},
		{"a partition no int32 holds", `{` + oneContainer + `, updateStrategy: {partition: 2147483648}}`, "spec.updateStrategy.partition"},
		{"unknown volume kind", `{` + oneContainer + `, volumes: [{name: v, emptyDir: {}, hostPath: {path: /x}}]}`, "volumes"},
		{"a volume twice", `{` + oneContainer + `, volumes: [{name: v, emptyDir: {}}, {name: v, emptyDir: {}}]}`, "Duplicate"},
		{"patchPodMetadata without annotations", `{` + oneContainer + `, patchPodMetadata: [{patchPolicy: Retain}]}`, "patchPodMetadata"},
		{"patchPodMetadata with a key that is not allowed", `{` + oneContainer + `, patchPodMetadata: [{annotations: {forbidden: x}, patchPolicy: Retain}]}`, "patchPodMetadata"},
		{"revision without a name", `{` + oneContainer + `, injectionStrategy: {revision: {policy: Always}}}`, "injectionStrategy.revision"},
		{"a revision that is not there", `{` + oneContainer + `, injectionStrategy: {revision: {revisionName: nothing}}}`, "injectionStrategy.revision"},
		{"empty update selector", `{` + oneContainer + `, updateStrategy: {selector: {}}}`, "updateStrategy.selector"},
		{"selector and partition", `{` + oneContainer + `, updateStrategy: {selector: {matchLabels: {a: b}}, partition: 1}}`, "updateStrategy"},
		{"selector and partition 0%", `{` + oneContainer + `, updateStrategy: {selector: {matchLabels: {a: b}}, partition: 0%}}`, "updateStrategy"},
		{"negative partition", `{` + oneContainer + `, updateStrategy: {partition: -1}}`, "updateStrategy.partition"},
		{"partition as a number in quotes", `{` + oneContainer + `, updateStrategy: {partition: "5"}}`, "updateStrategy.partition"},
		{"partition of 33.5%", `{` + oneContainer + `, updateStrategy: {partition: "33.5%"}}`, "updateStrategy.partition"},
		{"negative maxUnavailable", `{` + oneContainer + `, updateStrategy: {maxUnavailable: -1}}`, "updateStrategy.maxUnavailable"},
		{"both priorities", `{` + oneContainer + `, updateStrategy: {priorityStrategy: {orderPriority: [{orderedKey: a}], weightPriority: [{weight: 1, matchSelector: {matchLabels: {a: b}}}]}}}`, "priorityStrategy"},
		{"a weight over 100", `{` + oneContainer + `, updateStrategy: {priorityStrategy: {weightPriority: [{weight: 101, matchSelector: {matchLabels: {a: b}}}]}}}`, "weight"},
		{"an empty weight selector", `{` + oneContainer + `, updateStrategy: {priorityStrategy: {weightPriority: [{weight: 1, matchSelector: {}}]}}}`, "matchSelector"},
		{"an empty ordered key", `{` + oneContainer + `, updateStrategy: {priorityStrategy: {orderPriority: [{orderedKey: ""}]}}}`, "orderedKey"},
		{"an empty scatter key", `{` + oneContainer + `, updateStrategy: {scatterStrategy: [{key: "", value: x}]}}`, "scatterStrategy"},
		{"a scatter pair twice", `{` + oneContainer + `, updateStrategy: {scatterStrategy: [{key: a, value: x}, {key: a, value: x}]}}`, "scatterStrategy"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			set := newSidecarSet(t, c.spec)
			if strings.HasPrefix(c.spec, "{selector: null") {
				unstructured.RemoveNestedField(set.Object, "spec", "selector")
			}
			set.SetName("refused")
			refused(t, api.Create(ctx, set, client.DryRunAll), 500, c.field)
		})
	}
}

func TestNamesAreCheckedAsKruiseDoes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"with.dot", strings.Repeat("a", 64)} {
		set := newSidecarSet(t, "{"+oneContainer+"}")
		set.SetName(name)
		refused(t, api.Create(ctx, set, client.DryRunAll), 500, "metadata.name: Invalid")
	}
}

func TestAFieldOfAWrongTypeIsNamed(t *testing.T) {
	t.Parallel()
	for field, spec := range map[string]string{
		"spec.updateStrategy.paused":                    `{` + oneContainer + `, updateStrategy: {paused: "yes"}}`,
		"spec.containers[1].transferEnv[0].envNames[1]": `{containers: [{name: a, image: "a:1"}, {name: b, image: "b:1", transferEnv: [{envNames: [A, 1]}]}]}`,
		"spec.containers[0].env[0].value":               `{containers: [{name: a, image: "a:1", env: [{name: A, value: 1}]}]}`,
		"spec.volumes[0].secret.defaultMode":            `{` + oneContainer + `, volumes: [{name: v, secret: {secretName: s, defaultMode: rw}}]}`,
		"spec.selector.matchLabels":                     `{` + oneContainer + `, selector: {matchLabels: [a]}}`,
	} {
		refused(t, api.Create(ctx, newSidecarSet(t, spec), client.DryRunAll), 400, field)
	}
}

// The schema itself refuses these, as a CRD does: 422.
func TestWhatTheSchemaRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string][2]string{
		"unknown mode":   {`{containers: [{name: a, image: "a:1", resourcesPolicy: {targetContainersMode: avg, resourcesExpr: {limits: {cpu: cpu}}}}]}`, "targetContainersMode"},
		"no mode":        {`{containers: [{name: a, image: "a:1", resourcesPolicy: {resourcesExpr: {limits: {cpu: cpu}}}}]}`, "targetContainersMode"},
		"unknown policy": {`{` + oneContainer + `, injectionStrategy: {revision: {customVersion: x, policy: Sometimes}}}`, "spec.injectionStrategy.revision.policy"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, api.Create(ctx, newSidecarSet(t, c[0]), client.DryRunAll), 422, c[1])
		})
	}
}

func TestWhatKruiseAccepts(t *testing.T) {
	t.Parallel()
	for name, spec := range map[string]string{
		"partition 150%":          `{` + oneContainer + `, updateStrategy: {partition: "150%"}}`,
		"maxUnavailable 0":        `{` + oneContainer + `, updateStrategy: {maxUnavailable: 0}}`,
		"NotUpdate skips checks":  `{` + oneContainer + `, updateStrategy: {type: NotUpdate, partition: -1, selector: {}}}`,
		"init containers alone":   `{initContainers: [{name: i, image: "i:1"}]}`,
		"a native sidecar":        `{initContainers: [{name: i, image: "i:1", restartPolicy: Always}], updateStrategy: {type: NotUpdate}}`,
		"selector, partition 0":   `{` + oneContainer + `, updateStrategy: {selector: {matchLabels: {a: b}}, partition: 0}}`,
		"history limit of 0":      `{` + oneContainer + `, revisionHistoryLimit: 0}`,
		"unknown container field": `{containers: [{name: a, image: "a:1", madeUp: {x: 1}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := api.Create(ctx, newSidecarSet(t, spec), client.DryRunAll); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestContainersCanBeRemovedButNotAdded(t *testing.T) {
	t.Parallel()
	set := created(t, `{containers: [{name: a, image: "a:1"}, {name: b, image: "b:1"}]}`)
	refusedChange(t, set, "containers", `[{name: a, image: "a:1"}, {name: b, image: "b:1"}, {name: c, image: "c:1"}]`, "spec.containers", "Invalid")
	refusedChange(t, set, "containers", `[{name: a, image: "a:1", upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: "e:1"}}, {name: b, image: "b:1"}]`, "upgradeType")
	setSpec(t, set, `[{name: b, image: "b:1"}]`, "containers")
	setSpec(t, set, `[{name: i, image: "i:1"}]`, "initContainers")
	setSpec(t, set, `[{name: j, image: "j:1"}]`, "initContainers")
}

func TestSidecarSetsThatOverlapMustNotClash(t *testing.T) {
	t.Parallel()
	created(t, `{containers: [{name: shared, image: "a:1"}], initContainers: [{name: setup, image: "i:1"}],
		volumes: [{name: scratch, emptyDir: {}}]}`)
	for _, c := range []struct{ spec, fragment string }{
		{`{containers: [{name: shared, image: "b:1"}]}`, "containers"},
		{`{containers: [{name: other, image: "b:1"}], initContainers: [{name: setup, image: "i:2"}]}`, "nitContainers"},
		{`{containers: [{name: other, image: "b:1"}], volumes: [{name: scratch, hostPath: {path: /x}}]}`, "volumes"},
	} {
		second := newSidecarSet(t, c.spec)
		second.SetName(nameOf(t) + "-second")
		refused(t, api.Create(ctx, second, client.DryRunAll), 500, c.fragment, nameOf(t))
	}
	equal := newSidecarSet(t, `{containers: [{name: other, image: "b:1"}], volumes: [{name: scratch, emptyDir: {}}]}`)
	equal.SetName(nameOf(t) + "-second")
	if err := api.Create(ctx, equal, client.DryRunAll); err != nil {
		t.Errorf("an equal volume clashes: %v", err)
	}
	apart := newSidecarSet(t, `{selector: {matchLabels: {app: elsewhere}}, containers: [{name: shared, image: "b:1"}]}`)
	apart.SetName(nameOf(t) + "-second")
	if err := api.Create(ctx, apart, client.DryRunAll); err != nil {
		t.Errorf("other pods clash: %v", err)
	}
}
