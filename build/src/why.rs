//! Why each step of a plan would run: which of its inputs changed, from what to what.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use crate::action;
use crate::digest::Digest;
use crate::error::Result;
use crate::execute::{Executor, Status, action_of};
use crate::plan::{Input, Plan, Step};
use crate::store::Store;

/// The reasons for one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The step.
    pub step: String,
    /// One line each.
    pub lines: Vec<String>,
}

/// The reasons for each step that is not in the cache, in the plan's order.
///
/// # Errors
/// When the store cannot be read.
pub fn why(executor: &Executor<'_>, plan: &Plan) -> Result<Vec<Reason>> {
    let outputs = executor.known(plan)?;
    let mut reasons = Vec::new();
    for (step, status) in plan.steps.iter().zip(executor.status(plan)?) {
        let lines = match status {
            Status::Hit => continue,
            Status::Missing => vec!["it was never built".to_owned()],
            Status::Stale(changes) if changes.is_empty() => vec!["its result is gone".to_owned()],
            Status::Stale(changes) => changes,
            Status::After(_) => waiting(executor.store, plan, step, &outputs)?,
        };
        reasons.push(Reason { step: step.name.clone(), lines });
    }
    Ok(reasons)
}

/// What is known of a step whose key is not known: what it waits for, and what has changed besides.
fn waiting(store: &Store, plan: &Plan, step: &Step, outputs: &[Option<Digest>]) -> Result<Vec<String>> {
    let mut unknown = BTreeSet::new();
    let mut lines = Vec::new();
    for (role, input) in &step.inputs {
        if let Input::Step(other) = input
            && outputs.get(*other).copied().flatten().is_none()
        {
            unknown.insert(role.as_str());
            let name = plan.steps.get(*other).map(|step| step.name.as_str()).unwrap_or_default();
            lines.push(format!("`inputs.{role}` may change: `{name}` is built first"));
        }
    }
    let Some(record) = store.latest(&step.name)? else {
        lines.insert(0, "it was never built".to_owned());
        return Ok(lines);
    };
    // What is not known is put in as anything, and then not compared.
    let filled: Vec<_> =
        outputs.iter().map(|output| Some(output.unwrap_or_else(|| Digest::of(b"")))).collect();
    let without = |mut preimage: Value| {
        if let Some(inputs) = preimage["inputs"].as_object_mut() {
            inputs.retain(|role, _| !unknown.contains(role.as_str()));
        }
        preimage
    };
    let new = without(action_of(step, &filled)?.preimage());
    let mut changes = action::differences(&without(record.preimage), &new);
    changes.append(&mut lines);
    Ok(changes)
}

/// The reasons as text, and how many steps need none.
#[must_use]
pub fn show(reasons: &[Reason], plan: &Plan) -> String {
    let mut text = String::new();
    for reason in reasons {
        let _ = writeln!(text, "{}", reason.step);
        for line in &reason.lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    let _ =
        writeln!(text, "{} of {} steps are in the cache", plan.steps.len() - reasons.len(), plan.steps.len());
    text
}
