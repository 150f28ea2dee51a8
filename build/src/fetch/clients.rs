//! Asks the registries' own clients where they fetch from.
//!
//! This is why no registry is named in this program: a user who has set up a mirror for pip, apt or cargo has
//! set it up for this program too.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::{Context, Error, Result};

/// Base addresses of Debian archives, separated by spaces; takes the place of apt's.
const DEBIAN_VARIABLE: &str = "ERYX_DEBIAN_MIRROR";

/// pip's own parser merges its defaults, its configuration files and its environment variables. The answer is one line
/// with a mark, since the start of an interpreter may print other things.
const ASK_PIP: &str = "\
import json
from pip._internal.commands import create_command
options, _ = create_command('download').parser.parse_args([])
indexes = [] if options.no_index else [options.index_url, *options.extra_index_urls]
print('\\npip-sources', json.dumps({'indexes': indexes, 'links': options.find_links}))
";

/// What begins the line of pip's answer.
const PIP_ANSWER: &str = "pip-sources ";

/// Where pip looks for projects.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub(super) struct PipSources {
    /// The base addresses of its indexes, the main one first.
    pub(super) indexes: Vec<String>,
    /// Folders of files, and pages with links to files, of all projects.
    pub(super) links: Vec<String>,
}

/// Where pip is configured to look for projects.
pub(super) fn pip_sources() -> Result<PipSources> {
    let hint = "pip says which index to use; `python3 -m pip --version` must work on the build machine";
    // Isolated: neither variables nor modules of the user's or of the current folder have a part in it.
    let text = ask("python3", &["-I", "-c", ASK_PIP]).map_err(|error| error.hint(hint))?;
    let sources =
        pip_answer(&text).ok_or_else(|| Error::new("pip gives no list of its indexes").hint(hint))?;
    if sources.indexes.is_empty() && sources.links.is_empty() {
        return Err(Error::new("pip is configured to use no index").hint("unset `PIP_NO_INDEX`"));
    }
    Ok(sources)
}

fn pip_answer(text: &str) -> Option<PipSources> {
    let answer = text.lines().rev().find_map(|line| line.strip_prefix(PIP_ANSWER))?;
    let mut sources: PipSources = serde_json::from_str(answer).ok()?;
    sources.indexes = words(&sources.indexes.join("\n"));
    Some(sources)
}

/// The base addresses of the Debian archives that apt is configured for.
pub(super) fn debian_archives() -> Result<Vec<String>> {
    let hint = format!("`{DEBIAN_VARIABLE}` can name the base addresses of Debian archives instead");
    if let Ok(list) = std::env::var(DEBIAN_VARIABLE) {
        let archives = words(&list);
        if !archives.is_empty() {
            return Ok(archives);
        }
    }
    // Images come without what `apt-get update` gets, and the configuration alone says it.
    let text = ask("apt-get", &["indextargets", "--no-release-info", "--format", "$(REPO_URI)"]);
    let mut archives = words(&text.map_err(|error| error.hint(hint.clone()))?);
    // Programs that apt is configured to run may print, too.
    archives.retain(|address| address.contains("://"));
    if archives.is_empty() {
        return Err(Error::new("apt is configured for no archive").hint(hint));
    }
    Ok(archives)
}

/// The path of a crate in cargo's own cache, into which cargo downloads it if need be.
pub(super) fn crate_file(name: &str, version: &str) -> Result<PathBuf> {
    let plain = |text: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
        !text.is_empty() && !text.starts_with(['-', '.']) && text.bytes().all(allowed)
    };
    if !plain(name) || !plain(version) {
        return Err(Error::new(format!(
            "expected a crate's name and version but found `{name}` `{version}`"
        )));
    }
    let file = format!("{name}-{version}.crate");
    if let Some(path) = find_crate(&file)? {
        return Ok(path);
    }
    // The one command of cargo that downloads a single crate and nothing that it depends on.
    ask("cargo", &["info", "--quiet", "--color", "never", &format!("{name}@{version}")])?;
    find_crate(&file)?.ok_or_else(|| Error::new(format!("cargo did not put `{file}` into its cache")))
}

fn find_crate(file: &str) -> Result<Option<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let home = home.ok_or_else(|| Error::new("neither `CARGO_HOME` nor `HOME` is set"))?;
    let cache = home.join("registry/cache");
    let registries = match std::fs::read_dir(&cache) {
        Ok(registries) => registries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::from(error).context(format!("cannot read `{}`", cache.display()))),
    };
    let paths = registries.flatten().map(|registry| registry.path().join(file));
    Ok(paths.into_iter().find(|path| path.is_file()))
}

fn ask(program: &str, arguments: &[&str]) -> Result<String> {
    crate::command::count_process();
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context(|| format!("cannot run `{program}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = said.lines().rev().take(3).collect();
        return Err(Error::new(format!("`{program}` failed ({})", output.status))
            .details(tail.into_iter().rev().map(str::trim)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The words of a text, each once, in order.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_in_order() {
        assert_eq!(words("b a\nb\n"), ["b", "a"]);
    }

    #[test]
    fn other_output_of_the_interpreter_is_no_index() {
        let text = "hello from sitecustomize\n\npip-sources {\"indexes\": [\"a\", \"b\", \"a\"], \"links\": [\"c d\"]}\nbye\n";
        let sources = PipSources { indexes: vec!["a".into(), "b".into()], links: vec!["c d".into()] };
        assert_eq!(pip_answer(text), Some(sources));
        assert_eq!(pip_answer("https://a.example/simple\n"), None);
    }

    #[test]
    fn a_failing_client_is_quoted() {
        let error = ask("sh", &["-c", "echo one >&2; exit 3"]).unwrap_err();
        assert_eq!(error.to_string(), "`sh` failed (exit status: 3)\n  one");
    }

    #[test]
    fn crates_cannot_escape_the_cache() {
        for (name, version) in [("../x", "1"), ("--x", "1"), ("x", "1/2"), ("", "1")] {
            assert!(
                crate_file(name, version).unwrap_err().to_string().starts_with("expected a crate's name")
            );
        }
    }
}
