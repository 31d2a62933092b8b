//! `tidegate install --take-over` and `--give-back`: SidecarSets handed over between Kruise and our operator.

use std::cell::Cell;
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use cluster::Door;
use cluster::resource::MUTATING_WEBHOOK_CONFIGURATIONS;
use operators::takeover::{MoveError, Mover, MoverOptions};
use workload::takeover::{Direction, Mode, Plan, Step};

use crate::args::InstallArgs;
use crate::install;
use crate::output::{answer, say};

/// One step may take minutes: a rollout is waited for.
const STILL_EVERY: Duration = Duration::from_secs(10);

pub async fn run(door: &Door, args: InstallArgs) -> Result<(), Box<dyn Error>> {
    let direction = if args.give_back {
        Direction::GiveBack
    } else {
        Direction::TakeOver
    };
    let options = MoverOptions::new(&args.namespace);
    let installed = is_installed(door, &options).await?;
    let mut mover = Mover::new(door.clone(), options);
    let plan = mover.plan(direction).await?;
    answer(describe(&plan))?;
    let missing = direction == Direction::TakeOver && !installed;
    if missing && plan.refusals.is_empty() {
        say!("\nOur operator is not in the cluster yet: Helm installs it first. It stands by.");
    }
    if args.dry_run {
        return Ok(());
    }
    if !plan.refusals.is_empty() {
        return Err("nothing was changed: see above what is in the way".into());
    }
    if plan.steps.is_empty() {
        return Ok(());
    }
    if missing {
        tokio::task::spawn_blocking(move || install::beside_kruise(&args)).await??;
    }
    say!("");
    go(&mut mover, &plan).await?;
    say!("{}", closing(direction, plan.mode));
    Ok(())
}

/// Takes the steps, says each when it is done, and now and then which one is under way.
async fn go(mover: &mut Mover, plan: &Plan) -> Result<(), MoveError> {
    let done = Cell::new(0);
    let tell = |step: Step| {
        say!("done: {}", step.describe(plan.mode));
        if let Some(at) = plan.steps.iter().position(|s| *s == step) {
            done.set(at + 1);
        }
    };
    let still = async {
        loop {
            tokio::time::sleep(STILL_EVERY).await;
            if let Some(step) = plan.steps.get(done.get()) {
                say!("under way: {}", step.describe(plan.mode));
            }
        }
    };
    tokio::select! {
        outcome = mover.run(plan, tell) => outcome,
        () = still => Ok(()),
    }
}

async fn is_installed(door: &Door, options: &MoverOptions) -> Result<bool, cluster::ApiError> {
    match door
        .get(
            &MUTATING_WEBHOOK_CONFIGURATIONS,
            None,
            &options.mutating_configuration,
        )
        .await
    {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

fn describe(plan: &Plan) -> String {
    let mut out = String::new();
    if plan.direction == Direction::TakeOver {
        let _ = writeln!(
            out,
            "{:<20} {:<24} {:>7}  WHAT HAPPENS",
            "GROUP", "KIND", "OBJECTS"
        );
        for (kind, fate) in &plan.kinds {
            let _ = writeln!(
                out,
                "{:<20} {:<24} {:>7}  {fate}",
                kind.group, kind.kind, kind.objects
            );
        }
        let _ = writeln!(out);
    }
    for (title, lines) in [("In the way:", &plan.refusals), ("To know:", &plan.warnings)] {
        if !lines.is_empty() {
            let _ = writeln!(out, "{title}");
            for line in lines {
                let _ = writeln!(out, "  {line}");
            }
        }
    }
    match plan.steps.as_slice() {
        [] => out.push_str("Nothing is left to do.\n"),
        steps => {
            let once = if plan.refusals.is_empty() {
                ""
            } else {
                ", once nothing is in the way"
            };
            let _ = writeln!(out, "Steps{once}:");
            for (n, step) in steps.iter().enumerate() {
                let _ = writeln!(out, "  {:>2}. {}", n + 1, step.describe(plan.mode));
            }
        }
    }
    out
}

fn closing(direction: Direction, mode: Mode) -> &'static str {
    match (direction, mode) {
        (Direction::TakeOver, Mode::Beside) => {
            "Tidegate runs the SidecarSets; Kruise goes on with its other kinds. Back: tidegate install --give-back"
        }
        (Direction::TakeOver, Mode::Stopped) => {
            "Tidegate runs the SidecarSets; Kruise's manager is stopped. Do not uninstall Kruise's chart: it would \
             take the CRD, and every SidecarSet, with it. Back: tidegate install --give-back"
        }
        (Direction::GiveBack, _) => {
            "Kruise runs the SidecarSets. Our operator stands by: helm uninstall tidegate removes it"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use workload::takeover::kinds::{Fate, InUse};

    #[test]
    fn a_plan_lists_every_kind_what_is_in_the_way_and_the_steps() {
        let kind = |kind: &str, objects| InUse {
            group: "apps.kruise.io".to_owned(),
            kind: kind.to_owned(),
            objects,
            need_pod_webhook: Vec::new(),
        };
        let plan = Plan {
            direction: Direction::TakeOver,
            mode: Mode::Beside,
            kinds: vec![
                (kind("CloneSet", 3), Fate::Stays),
                (kind("SidecarSet", 2), Fate::TakenOver),
            ],
            refusals: vec!["WorkloadSpread apps/x: no".to_owned()],
            warnings: Vec::new(),
            steps: vec![Step::Record, Step::RestrictManager],
        };
        let text = describe(&plan);
        let line = |has: &[&str]| text.lines().any(|l| has.iter().all(|h| l.contains(h)));
        assert!(line(&["CloneSet", "3", "stays with Kruise"]), "{text}");
        assert!(line(&["SidecarSet", "2", "run by Tidegate"]), "{text}");
        assert!(line(&["WorkloadSpread apps/x: no"]), "{text}");
        assert!(line(&["2.", "CUSTOM_RESOURCE_ENABLE"]), "{text}");
        assert!(!text.contains("To know:"), "{text}");
    }
}
