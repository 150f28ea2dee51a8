//! The keys of a recipe: which there are, of what type, what they mean.
//!
//! The table [`TABLES`] is the one list of them. The reader checks a file against it, and the table of keys in
//! `recipes/README.md` is made from it.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{Document, Problem, nearest, ticked};

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A text.
    Text,
    /// One of some texts.
    Choice(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// `true` or `false`.
    Bool,
    /// A whole number, not negative.
    Count,
    /// A table of texts with free keys.
    TextMap,
    /// A table of texts, numbers and booleans with free keys.
    Answers,
    /// A table with keys of its own, listed under its dotted name.
    Table,
    /// A list of tables with keys of their own, listed under the dotted name.
    Tables,
}

/// A key that may stand in a recipe.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The key itself.
    pub name: &'static str,
    /// What its value must be.
    pub value: Type,
    /// Whether its table is incomplete without it.
    pub required: bool,
    /// What it means; one sentence for `recipes/README.md`.
    pub meaning: &'static str,
}

/// A table of a recipe and its keys.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// The dotted name; empty for the top of the file.
    pub name: &'static str,
    /// The keys, in the order in which a recipe should have them.
    pub keys: &'static [Key],
}

const fn required(name: &'static str, value: Type, meaning: &'static str) -> Key {
    Key { name, value, required: true, meaning }
}

const fn optional(name: &'static str, value: Type, meaning: &'static str) -> Key {
    Key { name, value, required: false, meaning }
}

/// What `[package] kind` can be.
pub const KINDS: &[&str] = &["extension", "pure", "library", "interpreter"];

/// What `[build] backend` can be.
pub const BACKENDS: &[&str] =
    &["setuptools", "meson-python", "cargo-pyo3", "cmake", "autotools", "make", "wheel", "cpython"];

const PYPI: Key = optional(
    "pypi",
    Type::Text,
    "File name of an sdist or wheel on the package index; its project follows from it.",
);
const CRATE: Key = optional("crate", Type::Text, "`name-version` of a crate.");
const DEBIAN: Key = optional("debian", Type::Text, "Path of a file below a Debian archive, `pool/…`.");
const URL: Key =
    optional("url", Type::Text, "A further address of the same bytes; tried after the registry.");
const SHA256: Key =
    required("sha256", Type::Text, "Digest of the file: what identifies it, whatever address it came from.");
const SIZE: Key = required("size", Type::Count, "Length of the file in bytes; a download stops there.");
const STRIP: Key = optional(
    "strip",
    Type::Count,
    "Leading folders taken off each path; 1 for tarballs, 0 for wheels, if not given.",
);
const INTO: Key = optional(
    "into",
    Type::Text,
    "Folder of the build tree to unpack into; required from the second source on.",
);
const ONLY: Key = optional(
    "only",
    Type::Texts,
    "Files and folders to unpack, named as they are after `strip`; all if not given.",
);

/// The keys of a source in a recipe.
pub const SOURCE: Table =
    Table { name: "source", keys: &[PYPI, CRATE, DEBIAN, URL, SHA256, SIZE, STRIP, INTO, ONLY] };

/// The keys of a part of the toolchain in `sysroot/toolchain.toml`: those of a source, and what the manifest says.
pub const PART: Table = Table {
    name: "part",
    keys: &[
        required("name", Type::Text, "What it is."),
        required("version", Type::Text, "Its version, as its makers write it."),
        required("license", Type::Text, "Its licence, an SPDX expression."),
        PYPI,
        CRATE,
        DEBIAN,
        URL,
        SHA256,
        SIZE,
        STRIP,
        INTO,
        ONLY,
    ],
};

/// Every table of a recipe and every key in it.
pub const TABLES: &[Table] = &[
    Table {
        name: "",
        keys: &[
            required("package", Type::Table, "What is made."),
            required(
                "source",
                Type::Tables,
                "What it is made from, the main source first; each has exactly one of `pypi`, `crate` and `debian`.",
            ),
            optional(
                "patch",
                Type::Tables,
                "Changes to the source, applied in order with `-p1` and no fuzz.",
            ),
            required("build", Type::Table, "How it is made."),
            optional("requires", Type::Table, "What it needs."),
            optional("provides", Type::Table, "What other recipes may compile and link against."),
            optional("check", Type::Table, "How the result is tried."),
        ],
    },
    Table {
        name: "package",
        keys: &[
            required(
                "name",
                Type::Text,
                "The name, normalised as the package index does; equal to the folder's.",
            ),
            required("version", Type::Text, "The version of the main source (PEP 440)."),
            required(
                "kind",
                Type::Choice(KINDS),
                "`extension`: a Python package with compiled modules; `pure`: one without; `library`: headers and archives for other recipes; `interpreter`: CPython.",
            ),
            optional(
                "imports",
                Type::Texts,
                "Modules that can be imported; `check` imports each in the component. Required for Python packages.",
            ),
            required("license", Type::Table, "Under which terms."),
        ],
    },
    Table {
        name: "package.license",
        keys: &[
            required("spdx", Type::Text, "SPDX licence expression; goes into the component's manifest."),
            required(
                "files",
                Type::Texts,
                "The licence texts, relative to the root of the unpacked sources; kept with the result.",
            ),
        ],
    },
    SOURCE,
    Table {
        name: "patch",
        keys: &[
            required("file", Type::Text, "The patch, a file in the recipe's folder, `0001-why.patch`."),
            required("reason", Type::Text, "Why it is needed."),
            required("upstream", Type::Text, "Where upstream was told, or why it was not."),
            required("drop", Type::Text, "When it can go."),
        ],
    },
    Table {
        name: "build",
        keys: &[
            required("backend", Type::Choice(BACKENDS), "What drives the build."),
            optional(
                "dir",
                Type::Text,
                "Folder of the source in which the back end works; the root if not given.",
            ),
            optional(
                "options",
                Type::Texts,
                "Arguments of the configuring command (`make` for the back end `make`).",
            ),
            optional("cflags", Type::Texts, "Compiler flags for C and C++, after the toolchain's own."),
            optional("cxxflags", Type::Texts, "Compiler flags for C++ only, after `cflags`."),
            optional("ldflags", Type::Texts, "Flags for linking, after the toolchain's own."),
            optional("env", Type::TextMap, "Environment variables of every command of the build."),
            optional(
                "exceptions",
                Type::Bool,
                "The C++ code throws: compile for wasm exceptions, link libc++.",
            ),
            optional("setjmp", Type::Bool, "The C code calls `setjmp`: compile for it, link libsetjmp."),
            optional(
                "targets",
                Type::Texts,
                "What `make` makes (`autotools`, `make`); its default if not given.",
            ),
            optional(
                "install",
                Type::TextMap,
                "Place in the prefix = file of the build, copied in place of `make install` (`autotools`, `make`).",
            ),
            optional(
                "manifest",
                Type::Text,
                "The `Cargo.toml` with `Cargo.lock` beside it (`cargo-pyo3`); at the root if not given.",
            ),
            optional("lib", Type::Text, "Name of the library target (`cargo-pyo3`, required)."),
            optional("module", Type::Text, "Dotted name of the extension module (`cargo-pyo3`, required)."),
            optional("features", Type::Texts, "Cargo features to switch on (`cargo-pyo3`)."),
            optional("python-source", Type::Text, "Folder with the package's Python files (`cargo-pyo3`)."),
            optional(
                "cross",
                Type::Answers,
                "Answers to probes that would run a program: `[properties]` of meson's cross file, cache entries of cmake, variables of configure's `config.site`.",
            ),
        ],
    },
    Table {
        name: "requires",
        keys: &[
            optional("build", Type::Texts, "Python packages that run on the build machine, `name==version`."),
            optional(
                "host",
                Type::Texts,
                "Recipes compiled for the guest first and linked against, in link order; an extension need not name the interpreter.",
            ),
            optional(
                "run",
                Type::Texts,
                "Python packages that this one imports, as requirements (PEP 508); those of an extra have a marker, `; extra == 'name'`.",
            ),
        ],
    },
    Table {
        name: "provides",
        keys: &[
            optional("archives", Type::Texts, "Static libraries in the prefix, in link order."),
            optional("include", Type::Texts, "Include directories in the prefix."),
        ],
    },
    Table {
        name: "check",
        keys: &[required(
            "smoke",
            Type::Text,
            "Python code run in the component by `check`; it fails by raising.",
        )],
    },
];

/// The Markdown table of all keys that stands in `recipes/README.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| table | key | type | meaning |\n|---|---|---|---|\n");
    for table in TABLES {
        for key in table.keys {
            let name = if table.name.is_empty() { "(top)".to_owned() } else { format!("`{}`", table.name) };
            let need = if key.required { ", required" } else { "" };
            text.push_str(&format!(
                "| {name} | `{}` | {}{need} | {} |\n",
                key.name,
                key.value.name(),
                key.meaning.replace('|', "\\|")
            ));
        }
    }
    text
}

impl Type {
    /// What the type is called in messages.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Choice(valid) => format!("one of {}", ticked(valid.iter().copied())),
            Self::Texts => "list of texts".to_owned(),
            Self::Bool => "boolean".to_owned(),
            Self::Count => "number".to_owned(),
            Self::TextMap => "table of texts".to_owned(),
            Self::Answers => "table of texts, numbers and booleans".to_owned(),
            Self::Table => "table".to_owned(),
            Self::Tables => "list of tables".to_owned(),
        }
    }
}

/// Walks a TOML tree along the schema: notes every place, gathers what does not fit, and takes it out.
///
/// What is left of the tree fits the schema but for required keys that are missing.
pub(super) struct Walk<'d> {
    pub(super) document: &'d mut Document,
    pub(super) problems: Vec<Problem>,
}

impl Walk<'_> {
    /// Checks one table; `path` is its place in the file (empty for the top), `span` where it stands.
    pub(super) fn table(&mut self, path: &str, spec: &Table, table: &mut DeTable<'_>) {
        let mut unfit = Vec::new();
        for (name, value) in table.iter_mut() {
            let span = name.span();
            let name: &str = name.get_ref();
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            self.document.note(&path, &span);
            let fits = match spec.keys.iter().find(|key| key.name == name) {
                Some(key) => self.value(&path, &dotted(spec, name), key.value, value),
                None => {
                    self.unknown(span.start, name, spec);
                    false
                }
            };
            if !fits {
                unfit.push(name.to_owned());
            }
        }
        for name in unfit {
            table.remove(name.as_str());
        }
        for key in spec.keys.iter().filter(|key| key.required && !table.contains_key(key.name)) {
            let key_path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
            // A key that is there with a wrong value was told already.
            if !self.document.has(&key_path) {
                let message = format!("{} lacks the key `{}` ({})", titled(spec), key.name, key.value.name());
                let problem = self.document.problem(&key_path, message);
                self.problems.push(problem);
            }
        }
    }

    fn unknown(&mut self, offset: usize, name: &str, spec: &Table) {
        let message = format!("unknown key `{}` in {}", name.escape_debug(), titled(spec));
        let mut problem = self.document.problem_at(offset, message);
        if let Some(near) = nearest(name, spec.keys.iter().map(|key| key.name)) {
            problem = problem.advise(format!("did you mean `{near}`?"));
        } else if let Some(table) = TABLES.iter().find(|table| table.keys.iter().any(|key| key.name == name))
        {
            problem = problem.advise(format!("`{name}` is a key of {}", titled(table)));
        }
        let valid = ticked(spec.keys.iter().map(|key| key.name));
        self.problems.push(problem.advise(format!("valid keys: {valid}")));
    }

    /// Checks one value; tells whether it may stay.
    fn value(&mut self, path: &str, dotted: &str, expected: Type, value: &mut Spanned<DeValue<'_>>) -> bool {
        let offset = value.span().start;
        match (expected, value.get_mut()) {
            (Type::Text, DeValue::String(_)) | (Type::Bool, DeValue::Boolean(_)) => true,
            (Type::Choice(valid), DeValue::String(text)) if valid.contains(&text.as_ref()) => true,
            (Type::Choice(valid), DeValue::String(text)) => {
                let message = format!("expected {} for `{path}` but found `{text}`", expected.name());
                let mut problem = self.document.problem_at(offset, message);
                if let Some(near) = nearest(text, valid.iter().copied()) {
                    problem = problem.advise(format!("did you mean `{near}`?"));
                }
                self.problems.push(problem);
                false
            }
            (Type::Count, DeValue::Integer(number)) if number.as_str().parse::<u64>().is_ok() => true,
            (Type::Texts, DeValue::Array(list)) => {
                let mut fits = true;
                for (index, item) in list.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.document.note(&path, &item.span());
                    if !item.get_ref().is_str() {
                        self.mismatch(&path, "text", item.span().start, item.get_ref());
                        fits = false;
                    }
                }
                fits
            }
            (Type::TextMap | Type::Answers, DeValue::Table(map)) => {
                let mut unfit = Vec::new();
                for (name, item) in map.iter() {
                    let path = format!("{path}.{}", name.get_ref());
                    self.document.note(&path, &name.span());
                    let fits = match item.get_ref() {
                        DeValue::String(_) => true,
                        DeValue::Boolean(_) | DeValue::Integer(_) => expected == Type::Answers,
                        _ => false,
                    };
                    if !fits {
                        let wanted =
                            if expected == Type::Answers { "text, number or boolean" } else { "text" };
                        self.mismatch(&path, wanted, item.span().start, item.get_ref());
                        unfit.push(name.get_ref().to_string());
                    }
                }
                for name in unfit {
                    map.remove(name.as_str());
                }
                true
            }
            (Type::Table, DeValue::Table(table)) => {
                if let Some(spec) = TABLES.iter().find(|spec| spec.name == dotted) {
                    self.table(path, spec, table);
                }
                true
            }
            (Type::Tables, DeValue::Array(list)) if list.iter().all(|item| item.get_ref().is_table()) => {
                if let Some(spec) = TABLES.iter().find(|spec| spec.name == dotted) {
                    for (index, item) in list.iter_mut().enumerate() {
                        self.element(&format!("{path}[{index}]"), spec, item);
                    }
                }
                true
            }
            (Type::Count, DeValue::Integer(number)) => {
                let message = format!("expected a number from 0 for `{path}` but found `{number}`");
                let problem = self.document.problem_at(offset, message);
                self.problems.push(problem);
                false
            }
            (_, found) => {
                let wanted = expected.name();
                self.mismatch(path, &wanted, offset, found);
                false
            }
        }
    }

    /// Checks one table of a list of tables.
    pub(super) fn element(&mut self, path: &str, spec: &Table, item: &mut Spanned<DeValue<'_>>) {
        self.document.note(path, &item.span());
        if let DeValue::Table(table) = item.get_mut() {
            self.table(path, spec, table);
        }
    }

    pub(super) fn mismatch(&mut self, path: &str, wanted: &str, offset: usize, found: &DeValue<'_>) {
        let found = match found {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "number",
            DeValue::Float(_) => "fraction",
            DeValue::Boolean(_) => "boolean",
            DeValue::Datetime(_) => "date",
            DeValue::Array(_) => "list",
            DeValue::Table(_) => "table",
        };
        let problem =
            self.document.problem_at(offset, format!("expected {wanted} for `{path}` but found a {found}"));
        self.problems.push(problem);
    }
}

fn dotted(spec: &Table, name: &str) -> String {
    if spec.name.is_empty() { name.to_owned() } else { format!("{}.{name}", spec.name) }
}

fn titled(spec: &Table) -> String {
    match spec.name {
        "" => "the recipe".to_owned(),
        "source" | "patch" => format!("`[[{}]]`", spec.name),
        name => format!("`[{name}]`"),
    }
}
