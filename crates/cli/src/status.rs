//! `tidegate status sidecarset/NAME`: once, as JSON, or redrawn as it changes.

use std::error::Error;
use std::time::Duration;

use cluster::resource::SIDECAR_SETS;
use cluster::{Cache, Door, ObjectKey, WatchScope, Watched};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use model::time::Clock as _;
use serde::Deserialize;
use serde_json::Value;

use crate::args::{Output, StatusArgs};
use crate::clock::SystemClock;
use crate::output::{answer, line};
use crate::status_view::StatusView;

/// How often the seconds in a wait are counted on while nothing changes.
const REDRAW: Duration = Duration::from_secs(1);

pub async fn run(args: StatusArgs) -> Result<(), Box<dyn Error>> {
    let door = crate::door(&args.target.connection).await?;
    let name = args.target.target.name;
    let object = door.get(&SIDECAR_SETS, None, &name).await?;
    if args.output == Some(Output::Json) {
        return Ok(answer(format_args!("{object:#}\n"))?);
    }
    if args.watch {
        let mut done = |view: &StatusView, read: bool| view.done || !read;
        tokio::select! {
            outcome = watch_until(&door, &name, &mut done) => return outcome,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
    let view = StatusView::of(&object, SystemClock.now());
    let mut text = format!("sidecarset/{name}  {}\n", bar_text(&view));
    for line in view.lines() {
        text += &format!("  {line}\n");
    }
    Ok(answer(text)?)
}

/// Redraws until `reached` says so, which is also told whether anybody reads what is drawn.
pub async fn watch_until(
    door: &Door,
    name: &str,
    reached: &mut (dyn FnMut(&StatusView, bool) -> bool + Send),
) -> Result<(), Box<dyn Error>> {
    let scope = WatchScope {
        field_selector: Some(format!("metadata.name={name}")),
        ..WatchScope::default()
    };
    let cache = Cache::<Whole>::start(door, SIDECAR_SETS, scope);
    let mut changes = cache.changes();
    cache.synced().await;
    let drawing = Drawing::new(name);
    loop {
        let Some(whole) = cache.get(&ObjectKey::cluster(name)) else {
            return Err(format!("sidecarset/{name} is gone").into());
        };
        let view = StatusView::of(&whole.0, SystemClock.now());
        let read = drawing.draw(&view);
        if reached(&view, read) {
            drawing.finish();
            return Ok(());
        }
        // Either something changed, or a second passed in which what waits waited on.
        tokio::time::timeout(REDRAW, changes.next()).await.ok();
    }
}

/// The whole object: it is one.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Whole(pub Value);

impl Watched for Whole {
    fn key(&self) -> ObjectKey {
        ObjectKey::cluster(self.0["metadata"]["name"].as_str().unwrap_or_default())
    }

    fn resource_version(&self) -> &str {
        self.0["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.0["metadata"]["uid"].as_str().unwrap_or_default()
    }
}

struct Drawing {
    bars: MultiProgress,
    progress: ProgressBar,
    text: ProgressBar,
}

impl Drawing {
    fn new(name: &str) -> Self {
        let bars = MultiProgress::new();
        let progress = bars.add(ProgressBar::new(1));
        // The template is ours and constant.
        if let Ok(style) = ProgressStyle::with_template("{prefix}  [{bar:40}] {pos}/{len} updated and ready")
        {
            progress.set_style(style.progress_chars("=> "));
        }
        progress.set_prefix(format!("sidecarset/{name}"));
        let text = bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            text.set_style(style);
        }
        Self { bars, progress, text }
    }

    fn draw(&self, view: &StatusView) -> bool {
        self.progress.set_length(view.matched.max(1));
        self.progress.set_position(view.updated_ready.min(view.matched));
        let lines: Vec<String> = view.lines().iter().map(|l| format!("  {l}")).collect();
        self.text.set_message(lines.join("\n"));
        !self.bars.is_hidden() || line(format_args!("{} {}", bar_text(view), view.waits.join("; ")))
    }

    fn finish(&self) {
        self.progress.abandon();
        self.text.abandon();
    }
}

fn bar_text(view: &StatusView) -> String {
    const WIDTH: u64 = 30;
    let filled = (view.updated_ready * WIDTH)
        .checked_div(view.matched)
        .unwrap_or_default()
        .min(WIDTH);
    let bar: String = (0..WIDTH).map(|i| if i < filled { '=' } else { ' ' }).collect();
    format!("[{bar}] {}/{}", view.updated_ready, view.matched)
}
