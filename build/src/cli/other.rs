//! `run`, `check`, `recipes`, `clean` and `shell`.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::Command;

use super::RunArgs;
use super::output::{self, line, print};
use crate::check::{self, CheckOptions, Package};
use crate::command::Failed;
use crate::error::{Context, Error, Result};
use crate::execute::work_prefix;
use crate::files::files_below;
use crate::invocation::verb;
use crate::layout::{FAILED, Layout};
use crate::name::PackageName;
use crate::recipe::Catalog;
use crate::report;
use crate::run::{self, PythonArguments, RunOptions};
use crate::steps::environment;
use crate::store::Store;
use eryx_embed::{Embedder, EmbedderOptions, Grant, Limits, parse_duration, parse_size};

/// The status for a command line that makes no sense, or a component that cannot be started, as opposed to code that fails
/// in it.
const UNUSABLE: u8 = 2;

pub(super) fn run(arguments: &RunArgs) -> Result<u8> {
    match run_options(arguments).and_then(|options| run::run(&options)) {
        Ok(status) => Ok(status.0),
        Err(error) => {
            output::complain(&error);
            Ok(UNUSABLE)
        }
    }
}

fn run_options(arguments: &RunArgs) -> Result<RunOptions> {
    let size = |text: &Option<String>| text.as_deref().map(parse_size).transpose();
    Ok(RunOptions {
        component: arguments.component.clone(),
        cache: Some(Layout::cache_folder()?),
        python: PythonArguments::parse(&arguments.python, std::io::stdin().is_terminal())?,
        grants: arguments.dirs.iter().map(|text| text.parse()).collect::<Result<Vec<Grant>, _>>()?,
        folder: arguments.cwd.clone(),
        limits: Limits::default()
            .timeout(arguments.timeout.as_deref().map(parse_duration).transpose()?)
            .max_memory(size(&arguments.max_memory)?)
            .max_output(size(&arguments.max_output)?)
            .max_tmp(size(&arguments.max_tmp)?),
        owns_process: true,
        env: arguments.env.iter().map(|text| variable(text)).collect::<Result<_>>()?,
        native_code_beside: true,
        on_compile: Some(report::compiling(false)),
    })
}

/// An environment variable: `NAME=VALUE`, or the name of one of this process's.
fn variable(text: &str) -> Result<(String, String)> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => match std::env::var(text) {
            Ok(value) => (text, value),
            Err(error) => {
                return Err(Error::new(format!("cannot pass on the variable `{text}`: {error}"))
                    .hint(format!("`--env {text}=VALUE` sets it")));
            }
        },
    };
    if name.is_empty() || text.contains('\0') {
        return Err(Error::new(format!("expected `NAME=VALUE` but found `{text}`")));
    }
    Ok((name.to_owned(), value))
}

pub(super) fn compile(component: &Path) -> Result<u8> {
    let embedder = Embedder::with(
        EmbedderOptions::default()
            .cache(Some(Layout::cache_folder()?))
            .on_compile(Some(report::compiling(true))),
    )?;
    line(embedder.load(component)?.compile_beside()?.display())?;
    Ok(0)
}

pub(super) fn check(component: &Path) -> Result<u8> {
    let cache = Layout::cache_folder()?;
    let packages = manifest_checks(component)?;
    let forbidden = [cache.display().to_string()];
    let options = CheckOptions { cache: Some(&cache), packages: &packages, forbidden: &forbidden };
    let report = check::check(component, &options)?;
    print(&report)?;
    report.verdict().map(|()| 0)
}

/// What the manifest beside a component says of its packages; nothing when there is no manifest.
fn manifest_checks(component: &Path) -> Result<Vec<Package>> {
    let path = component.with_extension("json");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(Vec::new()) };
    let malformed =
        |error: serde_json::Error| Error::new(format!("malformed manifest `{}`: {error}", path.display()));
    let manifest: serde_json::Value = serde_json::from_str(&text).map_err(malformed)?;
    serde_json::from_value(manifest["checks"].clone()).map_err(malformed)
}

pub(super) fn recipes(affected_by: &[String]) -> Result<u8> {
    let catalog = Catalog::load(&Layout::discover()?.recipes())?;
    if !affected_by.is_empty() {
        let changed = affected_by.iter().map(|name| PackageName::new(name)).collect::<Result<Vec<_>>>()?;
        // A change may have removed a recipe, so that a name without one is no error.
        for name in changed.iter().filter(|name| catalog.get(name).is_none()) {
            let near = catalog.nearest(name.as_str()).map(|near| format!("; did you mean `{near}`?"));
            let text = format!("warning: there is no recipe `{name}`{}\n", near.unwrap_or_default());
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
        for name in catalog.affected_by(&changed) {
            line(name)?;
        }
        return Ok(0);
    }
    for recipe in catalog.iter() {
        let kind = format!("{:?}", recipe.kind).to_lowercase();
        line(format_args!(
            "{:<24} {:<16} {:<12} {}",
            recipe.name.as_str(),
            recipe.version.to_string(),
            kind,
            recipe.license.spdx
        ))?;
    }
    Ok(0)
}

pub(super) fn clean() -> Result<u8> {
    let layout = Layout::discover()?;
    let mut freed = Store::open(&layout.cache)?.clean()?;
    for folder in ["work", "log", "compiled"] {
        let path = layout.cache.join(folder);
        if path.exists() {
            for file in files_below(&path)? {
                freed += fs::symlink_metadata(path.join(file))?.len();
            }
            fs::remove_dir_all(path)?;
        }
    }
    line(format_args!("freed {}", report::size(freed)))?;
    Ok(0)
}

pub(super) fn shell(step: &str) -> Result<u8> {
    let layout = Layout::discover()?;
    let folder = layout.cache.join("work");
    let prefix = work_prefix(step);
    let mut found = Vec::new();
    if let Ok(entries) = fs::read_dir(&folder) {
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                found.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
    }
    found.sort();
    match found.pop() {
        Some((_, path)) => interactive(&path),
        None => Err(Error::new(format!("expected a kept work directory of step `{step}` but found none"))
            .hint(format!(
                "only a step that failed keeps its work directory; {} shows the names of steps",
                verb("plan")
            ))),
    }
}

/// A shell in a kept work directory, with the environment of the command that failed there, if one did.
fn interactive(dir: &Path) -> Result<u8> {
    let mut command = Command::new("/bin/sh");
    command.current_dir(dir).env_clear();
    for name in ["TERM", "COLORTERM"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    match fs::read(dir.join(FAILED)) {
        Ok(bytes) => {
            let failed: Failed = serde_json::from_slice(&bytes)
                .map_err(|error| Error::new(format!("malformed `{FAILED}`: {error}")))?;
            let shown = format!("this command failed in `{}`:\n{}\n", failed.cwd.display(), failed.command);
            let _ = std::io::stderr().write_all(shown.as_bytes());
            command.envs(failed.env);
        }
        Err(_) => {
            command.envs(environment(dir));
        }
    }
    let status = command.status().context(|| "cannot start `/bin/sh`".to_owned())?;
    Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}
