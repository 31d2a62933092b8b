//! What kubectl answers in the stories on real kubelets.

use serde_json::Value;

/// The objects of a list in JSON.
pub fn items(list: &str) -> Vec<Value> {
    let mut list: Value = serde_json::from_str(list).unwrap();
    let items = list["items"].as_array_mut().map(std::mem::take);
    items.unwrap_or_default()
}

/// Restarts of one container in each pod.
pub fn restarts(pods: &[Value], container: &str) -> Vec<i64> {
    let of_pod = |pod: &Value| {
        let statuses = pod["status"]["containerStatuses"].as_array()?;
        statuses.iter().find(|s| s["name"] == container)?["restartCount"].as_i64()
    };
    pods.iter().filter_map(of_pod).collect()
}
