//! One change anywhere in an object: of any field its type has, present or not.

use apischema::{GroupVersionKind, Scalar, TypeDef, TypeId, TypeTable};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Map, Value, json};

/// Fields that are the server's, or whose change says nothing.
const NOT_OURS: [&str; 11] = [
    "apiVersion",
    "kind",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
    "nodePort",
    // Of a PriorityClass: all traces' pods would get it. A written trace has it, alone.
    "globalDefault",
];

/// Changes one place of an object of the kind (group, version, kind).
pub fn mutate(rng: &mut StdRng, kind: (&str, &str, &str), object: &mut Value) {
    let table = &apischema::builtin().table;
    let gvk = GroupVersionKind {
        group: kind.0.to_owned(),
        version: kind.1.to_owned(),
        kind: kind.2.to_owned(),
    };
    let Some(ty) = table.kind(&gvk) else {
        return;
    };
    let mut walk = Walk { table, rng };
    match object.get("spec").is_some() && walk.chance(85) {
        true => {
            let field = table.get(ty).field("spec").map(|f| f.ty);
            if let (Some(ty), Some(spec)) = (field, object.get_mut("spec")) {
                walk.change(ty, spec, "spec");
            }
        }
        false => walk.change(ty, object, ""),
    }
}

struct Walk<'a> {
    table: &'static TypeTable,
    rng: &'a mut StdRng,
}

impl Walk<'_> {
    fn change(&mut self, ty: TypeId, value: &mut Value, name: &str) {
        match self.table.get(ty) {
            TypeDef::Struct { fields, .. } => {
                let Some(map) = value.as_object_mut() else {
                    *value = self.make(ty, name, 0);
                    return;
                };
                let present: Vec<_> = fields.iter().filter(|f| map.contains_key(&f.name)).collect();
                let of_present = self.chance(50);
                let field = match present.choose(self.rng) {
                    Some(field) if of_present => Some(*field),
                    _ => fields.choose(self.rng),
                };
                let Some(field) = field.filter(|f| !NOT_OURS.contains(&f.name.as_str())) else {
                    return;
                };
                match map.get_mut(&field.name) {
                    Some(_) if self.chance(10) => {
                        map.remove(&field.name);
                    }
                    Some(inner) => self.change(field.ty, inner, &field.name),
                    None => {
                        let made = self.make(field.ty, &field.name, 0);
                        map.insert(field.name.clone(), made);
                    }
                }
            }
            TypeDef::List { item, .. } => self.change_list(*item, value, name),
            TypeDef::Map { value: inner, .. } => {
                let key = self.key(name);
                let made = self.make(*inner, name, 0);
                match value.as_object_mut() {
                    Some(map) => drop(map.insert(key, made)),
                    None => *value = json!({ key: made }),
                }
            }
            _ => *value = self.make(ty, name, 0),
        }
    }

    fn change_list(&mut self, item: TypeId, value: &mut Value, name: &str) {
        let Some(list) = value.as_array_mut().filter(|l| !l.is_empty()) else {
            *value = json!([self.make(item, name, 0)]);
            return;
        };
        match self.rng.random_range(0..10) {
            0 => drop(list.pop()),
            1 => list.push(list[0].clone()),
            2 | 3 => {
                let made = self.make(item, name, 0);
                list.push(made);
            }
            _ => {
                let index = self.rng.random_range(0..list.len());
                self.change(item, &mut list[index], name);
            }
        }
    }

    /// A value of the type: what it requires, and a little more.
    fn make(&mut self, ty: TypeId, name: &str, depth: usize) -> Value {
        match self.table.get(ty) {
            TypeDef::Any => json!({"any": 1}),
            TypeDef::Scalar(scalar) => self.scalar(*scalar, name),
            TypeDef::Map { value, .. } => {
                let (key, value) = (self.key(name), self.make(*value, name, depth + 1));
                json!({ key: value })
            }
            TypeDef::List { item, .. } => json!([self.make(*item, name, depth + 1)]),
            TypeDef::Struct { fields, .. } => {
                let mut map = Map::new();
                for field in fields.iter().filter(|f| f.required && depth < 6) {
                    map.insert(field.name.clone(), self.make(field.ty, &field.name, depth + 1));
                }
                if depth < 4
                    && let Some(field) = fields.choose(self.rng)
                    && !NOT_OURS.contains(&field.name.as_str())
                {
                    map.insert(field.name.clone(), self.make(field.ty, &field.name, depth + 1));
                }
                Value::Object(map)
            }
        }
    }

    fn scalar(&mut self, scalar: Scalar, name: &str) -> Value {
        match scalar {
            Scalar::String => Value::from(self.word(name)),
            Scalar::Boolean => Value::from(self.chance(50)),
            Scalar::Integer32 | Scalar::Integer64 => Value::from(self.pick(&[0, 1, 2, -1, 5, 80, 99_999])),
            Scalar::Number => Value::from(1.5),
            Scalar::IntOrString => {
                self.pick(&[json!(1), json!("25%"), json!("http"), json!(0), json!("x y")])
            }
            Scalar::Quantity => Value::from(self.pick(&["1", "100m", "0", "-1", "64Mi", "2000m"])),
            Scalar::Time => Value::from("2026-01-01T00:00:00Z"),
            Scalar::MicroTime => Value::from("2026-01-01T00:00:00.000000Z"),
            Scalar::Duration => Value::from("1m0s"),
            Scalar::Bytes => Value::from("YQ=="),
        }
    }

    fn key(&mut self, name: &str) -> String {
        let keys: &[&str] = match name {
            "limits" | "requests" | "hard" | "capacity" | "allocatable" | "min" | "max" | "overhead" => &[
                "cpu",
                "memory",
                "ephemeral-storage",
                "example.com/gpu",
                "hugepages-2Mi",
                "nonsense",
                "pods",
            ],
            _ => &["app", "tier", "example.com/x", "bad key!"],
        };
        self.pick(keys).to_owned()
    }

    fn word(&mut self, name: &str) -> &'static str {
        if self.chance(20) {
            return self.pick(&["", "changed", "Bad_Value!"]);
        }
        let fitting = fitting_words(name);
        self.pick(fitting)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from.choose(self.rng).unwrap().clone()
    }
}

/// Values that mean something in fields of the name.
fn fitting_words(name: &str) -> &'static [&'static str] {
    match name {
        "restartPolicy" => &["Always", "Never", "OnFailure"],
        "imagePullPolicy" => &["Always", "Never", "IfNotPresent"],
        "protocol" => &["TCP", "UDP", "SCTP"],
        "operator" => &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Equal"],
        "effect" => &["NoSchedule", "NoExecute", "PreferNoSchedule"],
        "dnsPolicy" => &["ClusterFirst", "Default", "None", "ClusterFirstWithHostNet"],
        "whenUnsatisfiable" => &["DoNotSchedule", "ScheduleAnyway"],
        "topologyKey" => &["kubernetes.io/hostname", "zone"],
        "type" => &[
            "ClusterIP",
            "NodePort",
            "LoadBalancer",
            "ExternalName",
            "RollingUpdate",
            "Recreate",
            "OnDelete",
            "RuntimeDefault",
            "Localhost",
            "Unconfined",
            "Directory",
            "Container",
            "Pod",
        ],
        "podManagementPolicy" => &["Parallel", "OrderedReady"],
        "concurrencyPolicy" => &["Allow", "Forbid", "Replace"],
        "completionMode" => &["Indexed", "NonIndexed"],
        "schedule" => &["* * * * *", "@daily", "61 * * * *", "TZ=UTC * * * * *"],
        "timeZone" => &["Europe/Berlin", "Local", "Nowhere/Land"],
        "preemptionPolicy" => &["Never", "PreemptLowerPriority"],
        "sessionAffinity" => &["None", "ClientIP"],
        "internalTrafficPolicy" | "externalTrafficPolicy" => &["Cluster", "Local"],
        "clusterIP" | "clusterIPs" | "ip" | "hostIP" | "podIP" | "loadBalancerIP" | "externalIPs" => {
            &["None", "1.2.3.4", "::1", "127.0.0.1", "300.1.1.1"]
        }
        "ipFamilies" => &["IPv4", "IPv6"],
        "ipFamilyPolicy" => &["SingleStack", "PreferDualStack", "RequireDualStack"],
        "priorityClassName" => &["system-cluster-critical", "absent"],
        "mountPath" | "path" | "workingDir" => &["/data", "relative", "/a/../b", "/"],
        "unhealthyPodEvictionPolicy" => &["IfHealthyBudget", "AlwaysAllow"],
        "podReplacementPolicy" => &["Failed", "TerminatingOrFailed"],
        "procMount" => &["Default", "Unmasked"],
        "verbs" => &["get", "list", "*"],
        "apiGroup" | "apiGroups" => &["", "apps", "rbac.authorization.k8s.io", "*"],
        "scopeName" => &["BestEffort", "PriorityClass", "Terminating"],
        "holderIdentity" => &["me", "you"],
        _ => &["x", "main", "v", "a-b", "example.com/x", "http", "changed"],
    }
}
