//! What an idle server costs: `idle [COUNT]` starts that many in one process and prints time and memory of each.

use std::time::Instant;

use tidegate_embedded::{ApiServer, Config};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: usize = std::env::args().nth(1).map_or(Ok(1000), |n| n.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let began = Instant::now();
        let mut servers = vec![ApiServer::start(Config::default()).await?];
        println!("first: {:.1} ms", began.elapsed().as_secs_f64() * 1000.0);
        servers.push(ApiServer::start(Config::default()).await?);
        let (before, began) = (pss()?, Instant::now());
        for _ in 0..count {
            servers.push(ApiServer::start(Config::default()).await?);
        }
        let each = began.elapsed().as_secs_f64() * 1000.0 / count as f64;
        let memory = (pss()? - before) as f64 / count as f64;
        println!("each of {count}: {each:.2} ms, {memory:.1} KiB PSS");
        Ok(())
    })
}

/// Proportional set size of this process, KiB.
fn pss() -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find(|l| l.starts_with("Pss:")).ok_or("no Pss")?;
    Ok(line.split_whitespace().nth(1).ok_or("no value")?.parse()?)
}
