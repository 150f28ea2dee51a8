//! What was measured, as two tables and as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eryx_build::error::{Error, Result};
use eryx_build::layout::Layout;
use eryx_build::report;
use serde_json::{Value, json};

/// One line of the table; times are in seconds.
pub struct Entry {
    pub name: &'static str,
    pub value: f64,
    pub unit: &'static str,
    pub baseline: Option<f64>,
}

impl Entry {
    pub fn ratio(&self) -> Option<f64> {
        self.baseline.filter(|baseline| *baseline > 0.0).map(|baseline| self.value / baseline)
    }

    fn told(&self, value: f64) -> String {
        match self.unit {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
            "bytes" => report::size(value as u64),
            "/s" => format!("{value:.0} /s"),
            "MB/s" => format!("{value:.0} MB/s"),
            "times" => format!("{value:.2} times"),
            _ if value >= 100.0 => format!("{value:.0} s"),
            _ if value < 1e-3 => format!("{:.1} us", value * 1e6),
            _ => format!("{:.1} ms", value * 1e3),
        }
    }
}

/// A neighbour, and what it takes for the entries of a name, or why that is not known.
pub struct Neighbour {
    pub name: &'static str,
    pub measured: std::result::Result<BTreeMap<String, f64>, String>,
}

impl Neighbour {
    /// An error becomes its last line: programs tell last what went wrong.
    pub fn new(name: &'static str, measured: Result<BTreeMap<String, f64>>) -> Self {
        let measured = measured.map_err(|error| {
            let told = error.render();
            told.trim_end().lines().last().map_or_else(String::new, |line| line.trim().to_owned())
        });
        Self { name, measured }
    }

    pub fn takes(&self, entry: &str) -> Option<f64> {
        self.measured.as_ref().ok().and_then(|known| known.get(entry)).copied()
    }
}

/// Prints the entries beside their baselines, and those that a neighbour has beside the neighbours'.
pub fn show(entries: &[Entry], neighbours: &[Neighbour]) {
    println!("{:<24}{:>14}{:>14}{:>10}", "what", "value", "baseline", "ratio");
    for entry in entries {
        let baseline = entry.baseline.map_or_else(|| "-".to_owned(), |value| entry.told(value));
        let ratio = entry.ratio().map_or_else(
            || "-".to_owned(),
            // A promise of hundreds of times less wants more digits.
            |ratio| if ratio < 0.1 { format!("{ratio:.4}") } else { format!("{ratio:.2}") },
        );
        println!("{:<24}{:>14}{baseline:>14}{ratio:>10}", entry.name, entry.told(entry.value));
    }
    let known: Vec<_> = neighbours.iter().filter(|neighbour| neighbour.measured.is_ok()).collect();
    if !known.is_empty() {
        print!("\n{:<24}{:>14}", "beside neighbours", "value");
        known.iter().for_each(|neighbour| print!("{:>22}", neighbour.name));
        println!();
    }
    for entry in entries {
        let theirs: Vec<_> = known.iter().map(|neighbour| neighbour.takes(entry.name)).collect();
        if theirs.iter().any(Option::is_some) {
            print!("{:<24}{:>14}", entry.name, entry.told(entry.value));
            theirs.iter().for_each(|value| {
                print!("{:>22}", value.map_or_else(|| "-".to_owned(), |value| entry.told(value)));
            });
            println!();
        }
    }
    for neighbour in neighbours {
        if let Err(reason) = &neighbour.measured {
            println!("{} was not measured: {reason}", neighbour.name);
        }
    }
}

/// Writes all to `target/bench.json`, and tells where that is.
pub fn write(
    layout: &Layout,
    entries: &[Entry],
    neighbours: &[Neighbour],
    details: &Value,
) -> Result<PathBuf> {
    let list: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let mut value = json!({
                "name": entry.name,
                "value": entry.value,
                "unit": entry.unit,
                "baseline": entry.baseline,
                "ratio": entry.ratio(),
            });
            for neighbour in neighbours {
                value[neighbour.name] = json!(neighbour.takes(entry.name));
            }
            if let Some(detail) = details.get(entry.name) {
                value["each"] = detail.clone();
            }
            value
        })
        .collect();
    let path = layout.checkout.join("target/bench.json");
    let text = serde_json::to_string_pretty(&list).map_err(|error| Error::new(error.to_string()))?;
    path.parent().map_or(Ok(()), |folder: &Path| std::fs::create_dir_all(folder))?;
    std::fs::write(&path, text + "\n")?;
    Ok(path)
}
