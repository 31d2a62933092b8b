use super::*;

#[test]
fn resources_follow_the_pods_own_containers() {
    let mut given = pod();
    given["spec"]["containers"] = json!([
        {"name": "a", "image": "a", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "500m", "memory": "1Gi"}}},
        {"name": "b", "image": "b", "resources": {"limits": {"cpu": "3", "memory": "1Gi"}, "requests": {"cpu": 1}}}]);
    let spec = |mode: &str, regex: &str| {
        all(
            json!({"containers": [{"name": "s", "image": "s", "resources": {"limits": {"x": "1"}},
            "resourcesPolicy": {"targetContainersMode": mode, "targetContainersNameRegex": regex, "resourcesExpr": {
                "limits": {"cpu": "cpu/2", "memory": "1Gi"}, "requests": {"cpu": "max(cpu*50%, 50m)", "memory": "memory"}}}}]}),
        )
    };
    let out = injected(&given, &[set("s", spec("sum", ".*"))]);
    assert_eq!(
        container(&out, "s")["resources"],
        json!({"limits": {"cpu": "2"}, "requests": {"cpu": "750m", "memory": "1Gi"}})
    );
    let out = injected(&given, &[set("s", spec("max", "^b$"))]);
    assert_eq!(
        container(&out, "s")["resources"],
        json!({"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "0"}})
    );
    assert!(try_inject(&given, &[set("s", spec("sum", "nobody"))]).is_err());
    // A native sidecar runs beside them; another init container does not.
    given["spec"]["initContainers"] = json!([
        {"name": "native", "image": "n", "restartPolicy": "Always", "resources": {"limits": {"cpu": "2"}}},
        {"name": "first", "image": "f", "resources": {"limits": {"cpu": "8"}}}]);
    let out = injected(&given, &[set("s", spec("sum", ".*"))]);
    assert_eq!(container(&out, "s")["resources"]["limits"], json!({"cpu": "3"}));
}
