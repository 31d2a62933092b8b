//! Operators whose door is slower than everybody else's, and what they make of many pods.
use super::world::World;
use bytes::Bytes;
use cluster::{Door, DoorOptions};
use embedded::ResponseBody;
use futures::Stream;
use http::Response;
use serde_json::json;
use std::pin::Pin;

type Events = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// How the operator of a test asks: as the world does.
pub fn door_options(world: &World) -> DoorOptions {
    DoorOptions {
        seed: Some(7),
        stall_timeout: None,
        observer: world.metrics.clone(),
        ..DoorOptions::default()
    }
}

/// Where the answer is a watch, its events go through `change`.
pub fn through<S>(answer: &mut Response<ResponseBody>, change: impl FnOnce(Events) -> S)
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    if let ResponseBody::Stream(events) = answer.body_mut() {
        let events = std::mem::replace(events, Box::pin(futures::stream::empty()));
        *answer.body_mut() = ResponseBody::Stream(Box::pin(change(events)));
    }
}

impl World {
    /// An operator with this door, a SidecarSet `web` that may change all pods at once, and so many of them.
    pub async fn filled_by_operator_at(door: impl FnOnce(&World) -> Door, pods: usize) -> World {
        let mut world = World::empty().await;
        let slow = door(&world);
        let quick = std::mem::replace(&mut world.door, slow);
        world.operate().await;
        world.door = quick;
        world.create_set("web", json!("100%")).await;
        let names: Vec<String> = (0..pods).map(|i| format!("p{i:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        world.create_pods("web", &names).await;
        world
    }
}
