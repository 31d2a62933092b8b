//! The peer, as a process of its own: a store of full pods, filled and kept by the usual library.

use std::path::PathBuf;
use std::pin::pin;

use clap::Args;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{reflector, watcher};

use crate::BenchError;

#[derive(Debug, Args)]
pub struct ReflectorArgs {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    pods: usize,
}

/// Says a line when all pods are held; goes on until killed.
pub async fn run(args: &ReflectorArgs) -> Result<(), BenchError> {
    let setup = |e: &dyn std::fmt::Display| BenchError::Setup(format!("reflector: {e}"));
    let read = Kubeconfig::read_from(&args.kubeconfig).map_err(|e| setup(&e))?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .map_err(|e| setup(&e))?;
    let client = kube::Client::try_from(config).map_err(|e| setup(&e))?;
    let (store, writer) = reflector::store::<Pod>();
    let events = watcher(kube::Api::<Pod>::all(client), watcher::Config::default());
    // Every event, not only objects: the store shows a first list when that list ends.
    let mut events = pin!(reflector::reflector(writer, events));
    let mut said = false;
    while let Some(event) = events.next().await {
        if let Err(error) = event {
            return Err(setup(&error));
        }
        if !said && store.len() >= args.pods {
            said = true;
            println!("{} pods held", store.len());
        }
    }
    Ok(())
}

impl ReflectorArgs {
    pub async fn run(&self) -> Result<(), BenchError> {
        run(self).await
    }
}
