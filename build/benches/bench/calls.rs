//! What calls cost in a live instance.

use eryx_build::error::Result;
use eryx_embed::{Callback, Image, SessionOptions};

use super::table::Entry;
use super::{TIMED, fastest_of, seconds};

const ROWS: &str = "
import pickle
rows = [{'id': i, 'name': str(i)} for i in range(20000)]
";

/// Adds the entries of a component.
pub fn measure(image: &Image, entries: &mut Vec<Entry>) -> Result<()> {
    const CALLS: u32 = 50;
    let echo = Callback::new("echo", "", "{}", |arguments| async move { Ok(arguments) });
    let mut session = image.session(SessionOptions::default().callbacks(vec![echo]))?;
    let mut run = |code: &str| -> Result<String> { Ok(session.execute(code)?) };
    // The baselines are what we promise: 20 microseconds a call.
    let mut add = |name, seconds: f64| {
        entries.push(Entry { name, value: seconds / f64::from(CALLS), unit: "s", baseline: Some(20e-6) });
    };
    add("execute", least(|| (0..CALLS).try_for_each(|_| run("x = 1").map(drop)))?);
    // Code that has not been seen before, which has to be compiled.
    let mut seen = 0;
    let mut run_new = |_| {
        seen += 1;
        run(&format!("x = {seen}")).map(drop)
    };
    add("execute new code", least(|| (0..CALLS).try_for_each(&mut run_new))?);
    let code = format!("for _ in range({CALLS}): await invoke('echo', '{{}}')");
    add("invoke", least(|| run(&code).map(drop))?);

    // Beside pickle in the same instance.
    run(&format!("{TIMED}{ROWS}"))?;
    let dump = seconds(&run("timed(lambda: pickle.dumps(rows, 5))")?)?;
    let load = seconds(&run("data = pickle.dumps(rows, 5)\ntimed(lambda: pickle.loads(data))\ndel data")?)?;
    let saved = session.snapshot_state()?;
    let snapshot = least(|| Ok(session.snapshot_state().map(drop)?))?;
    entries.push(Entry { name: "snapshot", value: snapshot, unit: "s", baseline: Some(dump) });
    let restore = least(|| Ok(session.restore_state(&saved)?))?;
    entries.push(Entry { name: "restore", value: restore, unit: "s", baseline: Some(load) });
    Ok(())
}

/// The fastest of many runs, for work that takes about a turn of the machine's scheduler or less.
fn least(work: impl FnMut() -> Result<()>) -> Result<f64> {
    fastest_of(100, work)
}
