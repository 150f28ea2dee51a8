//! The files of several packages in one tree.

use std::collections::BTreeMap;
use std::path::Path;

use super::component::add_files;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{Content, Entry};
use crate::link::Library;

/// Files of packages as they lie in the component, each path once.
#[derive(Default)]
pub(super) struct Contents {
    entries: Vec<Entry>,
    extensions: Vec<Library>,
    /// The package of each path, with what lies there.
    owners: BTreeMap<String, (String, Digest)>,
    clashes: Vec<String>,
    foreign: Vec<String>,
}

impl Contents {
    /// Adds the files of a folder as they lie below `guest` in the component.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn add(&mut self, package: &str, folder: &Path, guest: &str) -> Result<()> {
        let (mut entries, mut extensions) = (Vec::new(), Vec::new());
        add_files(&mut entries, &mut extensions, folder, guest)?;
        // A module is an empty file for the importer, and a library beside it.
        let mut modules = BTreeMap::new();
        for library in extensions {
            let foreign = !library.module.starts_with(b"\0asm");
            if foreign {
                self.foreign.push(format!("`{package}`: `{}`", library.name));
            }
            let fresh = !foreign && self.claim(package, &library.name, Digest::of(&library.module));
            modules.insert(library.name.clone(), fresh);
            if fresh {
                self.extensions.push(library);
            }
        }
        for entry in entries {
            let fresh = modules.get(&entry.path).copied().unwrap_or_else(|| {
                let digest = match &entry.content {
                    Content::File { bytes, .. } => Digest::of(bytes),
                    Content::Symlink(target) => Digest::of(target.as_bytes()),
                    Content::Directory => Digest::of(b""),
                };
                self.claim(package, &entry.path, digest)
            });
            if fresh {
                self.entries.push(entry);
            }
        }
        Ok(())
    }

    /// Whether a package may put something at a path: nobody has, or nobody has put something else.
    fn claim(&mut self, package: &str, path: &str, digest: Digest) -> bool {
        if let Some((owner, other)) = self.owners.get(path) {
            // Folders that several projects share often have the same file in each.
            if *other != digest {
                self.clashes.push(format!("`{path}`: `{owner}` and `{package}`"));
            }
            return false;
        }
        self.owners.insert(path.to_owned(), (package.to_owned(), digest));
        true
    }

    /// All files and extension modules.
    ///
    /// # Errors
    /// All paths at which packages have different things, and all compiled code for other machines.
    pub(super) fn finish(mut self) -> Result<(Vec<Entry>, Vec<Library>)> {
        for (path, (owner, _)) in &self.owners {
            let above = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
            for (folder, (other, _)) in above.filter_map(|folder| self.owners.get_key_value(folder)) {
                self.clashes.push(format!("`{folder}`: a file of `{other}` and a folder of `{owner}`"));
            }
        }
        if !self.foreign.is_empty() {
            return Err(Error::new("packages hold compiled code for other machines").details(self.foreign).hint(
                "choose a release with pure Python code only (`name<version`), or add a recipe (CONTRIBUTING.md)",
            ));
        }
        if !self.clashes.is_empty() {
            self.clashes.dedup();
            return Err(Error::new("packages have different files of one name")
                .details(self.clashes)
                .hint("leave out one of each two packages"));
        }
        Ok((self.entries, self.extensions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Files<'a> = &'a [(&'a str, &'a [u8])];

    fn of(packages: &[(&str, Files<'_>)]) -> Result<Vec<String>, String> {
        let mut contents = Contents::default();
        for (package, files) in packages {
            let folder = tempfile::tempdir().unwrap();
            for (file, bytes) in *files {
                crate::files::write(&folder.path().join(file), bytes).unwrap();
            }
            contents.add(package, folder.path(), "/site").unwrap();
        }
        let (entries, extensions) = contents.finish().map_err(|error| error.to_string())?;
        let libraries = extensions.iter().map(|library| library.name.clone());
        Ok(entries.iter().map(|entry| entry.path.clone()).chain(libraries).collect())
    }

    #[test]
    fn equal_files_are_one() {
        let module = b"\0asm module";
        let found = of(&[
            ("a", &[("ns/__init__.py", b"x"), ("ns/a.py", b""), ("ns/m.so", module)]),
            ("b", &[("ns/__init__.py", b"x"), ("ns/b.py", b""), ("ns/m.so", module)]),
        ]);
        let expected =
            ["/site/ns/__init__.py", "/site/ns/a.py", "/site/ns/m.so", "/site/ns/b.py", "/site/ns/m.so"];
        assert_eq!(found.unwrap(), expected, "the last is the library");
    }

    #[test]
    fn different_files_name_their_packages() {
        let found = of(&[
            ("a", &[("x.py", b"1"), ("y", b""), ("m.so", b"\0asm1")]),
            ("b", &[("x.py", b"2"), ("y/z.py", b""), ("m.so", b"\0asm2")]),
        ]);
        assert_eq!(
            found.unwrap_err(),
            "packages have different files of one name
  `/site/m.so`: `a` and `b`
  `/site/x.py`: `a` and `b`
  `/site/y`: a file of `a` and a folder of `b`
hint: leave out one of each two packages"
        );
    }

    #[test]
    fn code_for_other_machines_is_refused() {
        let found = of(&[("a", &[("a/x.so", b"\x7fELF"), ("a/y.so", b"")]), ("b", &[("b.so", b"\0asm")])]);
        let error = found.unwrap_err();
        let begin = "packages hold compiled code for other machines\n  `a`: `/site/a/x.so`\n  `a`: `/site/a/y.so`\nhint: ";
        assert!(error.starts_with(begin), "{error}");
    }
}
