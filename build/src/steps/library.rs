//! A C library for the guest: headers and archives that other recipes compile against.

use std::collections::BTreeMap;
use std::path::Path;

use super::Work;
use super::cross::{CFLAGS, Cross, EXCEPTIONS, SETJMP, cxxflags, words};
use super::sysroot::{cmake_cross, with_tools};
use crate::error::{Error, Result};
use crate::files::copy;
use crate::recipe::{Answer, Answers, Backend, Recipe};

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 5;

/// Builds a library recipe into a prefix with `include` and `lib`.
///
/// # Errors
/// When a command fails, or something that the recipe provides is not there afterwards.
pub fn build(work: &Work, recipe: &Recipe) -> Result<()> {
    let source = work.dir.join("source");
    work.unpack(&recipe.sources, &recipe.patches, &source)?;
    let root = source.join(&recipe.build.dir);
    let mut flags = words(CFLAGS);
    if recipe.build.setjmp {
        flags.extend(words(SETJMP));
    }
    if recipe.build.exceptions {
        flags.extend(words(EXCEPTIONS));
    }
    flags.extend(recipe.build.cflags.iter().cloned());
    for (_, host) in work.inputs_of("host/") {
        flags.push(format!("-I{}", host.join("include").display()));
    }
    let cross = Cross::new(work, work.input("sysroot")?, &flags, &cxxflags(&recipe.build))?;
    match &recipe.build.backend {
        Backend::Cmake { cross: answers } => cmake(work, recipe, &cross, answers, &root)?,
        Backend::Autotools { cross: answers, targets, install } => {
            autotools(work, recipe, &cross, answers, &root)?;
            make(work, recipe, &cross, targets, install, &root)?;
        }
        Backend::Make { targets, install } => make(work, recipe, &cross, targets, install, &root)?,
        other => return Err(Error::new(format!("back end `{}` makes no library", other.name()))),
    }
    check_provided(work, recipe)
}

/// Checks that what a recipe says it provides is there.
///
/// # Errors
/// Names what is not.
pub fn check_provided(work: &Work, recipe: &Recipe) -> Result<()> {
    let missing: Vec<_> = (recipe.provides.archives.iter())
        .chain(&recipe.provides.include)
        .filter(|path| !work.out.join(path).exists())
        .map(|path| format!("`{path}`"))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::new(format!("the recipe `{}` provides files that its build does not make", recipe.name))
            .details(missing))
    }
}

fn cmake(work: &Work, recipe: &Recipe, cross: &Cross, answers: &Answers, root: &Path) -> Result<()> {
    let build = work.dir.join("build");
    with_tools(work, "cmake")?
        .args(cmake_cross(cross))
        .arg("-S")
        .arg(root)
        .arg("-B")
        .arg(&build)
        // Where it is built must not be in what it installs; `/` has a meaning of its own for cmake.
        .arg("-DCMAKE_INSTALL_PREFIX=/usr")
        .args(["-DCMAKE_INSTALL_LIBDIR=lib", "-DBUILD_SHARED_LIBS=OFF"])
        .args(answers.iter().map(|(name, answer)| format!("-D{name}={}", shown(answer))))
        .args(&recipe.build.options)
        .envs(&recipe.build.env)
        .run()?;
    with_tools(work, "ninja")?.arg("-C").arg(&build).run()?;
    with_tools(work, "cmake")?.arg("--install").arg(&build).arg("--prefix").arg(&work.out).run()
}

fn autotools(work: &Work, recipe: &Recipe, cross: &Cross, answers: &Answers, root: &Path) -> Result<()> {
    cross
        .env(work.cmd(root.join("configure")))
        .cwd(root)
        // Old config.sub files do not know WASI; any system that builds plain archives will do.
        .args(["--host=wasm32-unknown-none", "--prefix=/", "--disable-shared", "--enable-static"])
        .args(&recipe.build.options)
        .envs(answers.iter().map(|(name, answer)| (name, shown(answer))))
        .envs(&recipe.build.env)
        .run()
}

fn make(
    work: &Work,
    recipe: &Recipe,
    cross: &Cross,
    targets: &[String],
    install: &BTreeMap<String, String>,
    root: &Path,
) -> Result<()> {
    let assignments = [("CC", "cc"), ("CXX", "c++"), ("AR", "ar"), ("RANLIB", "ranlib")]
        .map(|(variable, tool)| format!("{variable}={}", cross.tool(tool).display()));
    let mut run = work.cmd("make").cwd(root).envs(work.jobs.for_make()).envs(&recipe.build.env);
    if matches!(recipe.build.backend, Backend::Make { .. }) {
        run = run.args(&assignments).args(&recipe.build.options);
    }
    run.args(targets).run()?;
    if install.is_empty() {
        let destination = format!("DESTDIR={}", work.out.display());
        return work.cmd("make").cwd(root).args(&assignments).arg("install").arg(destination).run();
    }
    for (place, made) in install {
        copy(&root.join(made), &work.out.join(place))?;
    }
    Ok(())
}

/// An answer in the syntax that cmake and configure share.
#[must_use]
pub fn shown(answer: &Answer) -> String {
    match answer {
        Answer::Bool(true) => "yes".to_owned(),
        Answer::Bool(false) => "no".to_owned(),
        Answer::Number(number) => number.to_string(),
        Answer::Text(text) => text.clone(),
    }
}
