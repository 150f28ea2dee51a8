//! What the file names of wheels and source distributions say.

use pep440_rs::Version;

use crate::name::PackageName;

/// The parts of a wheel's file name: `{name}-{version}(-{build})?-{python}-{abi}-{platform}.whl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WheelName {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The build number with what follows it; of equal wheels the highest is meant to be used.
    pub build: Option<(u64, String)>,
    python: String,
    abi: String,
    platform: String,
}

impl WheelName {
    /// Reads a file name; nothing when it is not that of a wheel.
    #[must_use]
    pub fn parse(file: &str) -> Option<Self> {
        let parts: Vec<&str> = file.strip_suffix(".whl")?.split('-').collect();
        let (name, version, build, tags) = match parts.as_slice() {
            [name, version, tags @ ..] if tags.len() == 3 => (name, version, None, tags),
            [name, version, build, tags @ ..] if tags.len() == 3 => (name, version, Some(build), tags),
            _ => return None,
        };
        let [python, abi, platform] = tags else { return None };
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
        };
        if !tags.iter().all(|tag| plain(tag)) {
            return None;
        }
        let build = match build {
            Some(build) => {
                let digits = build.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(build.len());
                let (number, rest) = build.split_at(digits);
                if !rest.is_empty() && !plain(rest) {
                    return None;
                }
                Some((number.parse().ok()?, rest.to_owned()))
            }
            None => None,
        };
        Some(Self {
            name: PackageName::new(name).ok()?,
            version: version.replace('_', "-").parse().ok()?,
            build,
            python: (*python).to_owned(),
            abi: (*abi).to_owned(),
            platform: (*platform).to_owned(),
        })
    }

    /// Every combination of Python, ABI and platform tag.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.python.split('.').flat_map(move |python| {
            let abis = self.abi.split('.');
            abis.flat_map(move |abi| self.platform.split('.').map(move |platform| (python, abi, platform)))
        })
    }
}

/// Whether a file, by its name, is a wheel or a source distribution of a project.
#[must_use]
pub fn project_has(project: &PackageName, file: &str) -> bool {
    let wheel = WheelName::parse(file).is_some_and(|wheel| wheel.name == *project);
    wheel || sdist_version(project, file).is_some()
}

/// The version in the name of a source distribution of `project`; nothing when it is not one.
pub(super) fn sdist_version(project: &PackageName, file: &str) -> Option<Version> {
    let stem = [".tar.gz", ".zip", ".tar.bz2", ".tgz"].iter().find_map(|suffix| file.strip_suffix(suffix))?;
    // Old names may have hyphens in both the name and the version.
    stem.match_indices('-').find_map(|(at, _)| {
        let (name, version) = (stem.get(..at)?, stem.get(at + 1..)?);
        (PackageName::new(name).ok()? == *project).then(|| version.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_wheel_names() {
        let wheel = WheelName::parse("Foo_Bar-1.0+local.1-2b-py2.py3-none-any.whl").unwrap();
        assert_eq!((wheel.name.as_str(), wheel.version.to_string().as_str()), ("foo-bar", "1.0+local.1"));
        assert_eq!(wheel.build, Some((2, "b".to_owned())));
        assert_eq!(wheel.tags().collect::<Vec<_>>(), [("py2", "none", "any"), ("py3", "none", "any")]);
    }

    #[test]
    fn refuses_other_names() {
        for file in [
            "a-1-py3-none-any.zip",
            "a-1-py3-none.whl",
            "a-x-py3-none-any.whl",
            "../a-1-py3-none-any.whl",
            "a-1-py3-none-any/b.whl",
            "a-1-b-py3-none-any.whl",
            "a-1-1/2-py3-none-any.whl",
            "-1-py3-none-any.whl",
        ] {
            assert_eq!(WheelName::parse(file), None, "{file}");
        }
    }

    #[test]
    fn reads_sdist_names() {
        let name = PackageName::new("a-b").unwrap();
        for (file, version) in
            [("a-b-1.0.tar.gz", Some("1.0")), ("a_b-1.0.zip", Some("1.0")), ("a-1.0.tar.gz", None)]
        {
            assert_eq!(
                sdist_version(&name, file).map(|version| version.to_string()).as_deref(),
                version,
                "{file}"
            );
        }
    }
}
