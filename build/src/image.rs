//! The embedded file tree: its format, and the shared library that carries it.
//!
//! # Format
//! Little-endian, read in place by `sysroot/vfs/image.c`; offsets count from the start of the image.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `ERYXIMG1` |
//! | 8 | 4 | number of nodes |
//! | 12 | 4 | length of the whole image |
//! | 16 | 8 | the time of all files, in nanoseconds since 1970 |
//! | 24 | 20 each | the nodes |
//! | then | | names and link targets, without terminators |
//! | then | | the contents of the files, each aligned to 16 bytes |
//!
//! A node is: offset of its name (4), length of its name (2), kind (1: 1 directory, 2 file, 3 link),
//! flags (1: bit 0 executable), index of its parent (4), start (4), count (4). For a directory, start
//! is the index of its first child and count their number: children stand together, sorted by the
//! bytes of their names, so that a lookup is a binary search for each component of a path. For files
//! and links, start and count are the place and the length of the bytes. Node 0 is the root, which
//! is its own parent.

use std::collections::BTreeMap;

use wasm_encoder::{
    ConstExpr, CustomSection, DataSection, Encode as _, EntityType, ExportKind, ExportSection, GlobalSection,
    GlobalType, ImportSection, MemoryType, Module, ValType,
};

use crate::error::{Error, Result};

/// The modification time of all files of an image, in seconds since 1970: the start of 1980, since
/// ZIP archives cannot hold an earlier one. A `.pyc` that names its source's time must name this.
pub const MODIFIED: u64 = 315_532_800;

/// The name of the data symbol that the file system layer looks for.
pub const SYMBOL: &str = "__eryx_image";

/// Alignment of the image in memory and of every file in it, as a power of two.
const ALIGNMENT_LOG2: u32 = 4;
const HEADER: usize = 24;
const NODE: usize = 20;
const MAX_PATH: usize = 4096;
const MAX_NAME: usize = 255;

/// One thing to be embedded. Directories on the way to it need no entry of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where the guest sees it: absolute, without `.`, `..`, empty components or a final slash.
    pub path: String,
    /// What it is.
    pub content: Content,
}

/// What stands at a path of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A regular file.
    File {
        /// Its contents.
        bytes: Vec<u8>,
        /// Whether it is marked as a program.
        executable: bool,
    },
    /// A directory, which may stay empty.
    Directory,
    /// A symbolic link and its target, absolute in the guest or relative to the link's directory.
    Symlink(String),
}

/// A tree as it is put together; names are bytes because that is how they are ordered.
#[derive(Default)]
struct Tree<'a> {
    children: BTreeMap<&'a [u8], Tree<'a>>,
    /// None: a directory that is only on the way to something.
    content: Option<&'a Content>,
}

/// Writes the image of a tree. The result depends on the set of entries only, not on their order.
///
/// # Errors
/// Lists every path that is malformed, occurs twice, or is a file or link on the way to another; or
/// when the image would exceed 2 GiB.
pub fn encode(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut problems = Vec::new();
    let mut tree = Tree::default();
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    for entry in sorted {
        match check_entry(entry) {
            Ok(()) => insert(&mut tree, entry, &mut problems),
            Err(problem) => problems.push(problem),
        }
    }
    check_clashes(&tree, "", &mut problems);
    if !problems.is_empty() {
        problems.sort();
        let noun = if problems.len() == 1 { "path" } else { "paths" };
        return Err(Error::new(format!("{} {noun} cannot be embedded", problems.len())).details(problems));
    }
    write(&tree)
}

fn check_entry(entry: &Entry) -> Result<(), String> {
    let path = &entry.path;
    let bad = |why: &str| Err(format!("`{}`: {why}", path.escape_debug()));
    if path.len() > MAX_PATH {
        return bad("longer than 4096 bytes");
    }
    let Some(relative) = path.strip_prefix('/') else { return bad("not absolute") };
    if path.contains('\0') {
        return bad("holds a zero byte");
    }
    if relative.is_empty() {
        return if entry.content == Content::Directory { Ok(()) } else { bad("the root is a directory") };
    }
    for name in relative.split('/') {
        match name {
            "" => return bad("has an empty component"),
            "." | ".." => return bad("has a `.` or `..` component"),
            _ if name.len() > MAX_NAME => return bad("has a component longer than 255 bytes"),
            _ => {}
        }
    }
    match &entry.content {
        Content::Symlink(target) if target.is_empty() || target.contains('\0') || target.len() > MAX_PATH => {
            bad("the link's target is empty, too long or holds a zero byte")
        }
        _ => Ok(()),
    }
}

fn insert<'a>(tree: &mut Tree<'a>, entry: &'a Entry, problems: &mut Vec<String>) {
    let mut node = tree;
    for name in entry.path.split('/').filter(|name| !name.is_empty()) {
        node = node.children.entry(name.as_bytes()).or_default();
    }
    match node.content {
        None => node.content = Some(&entry.content),
        Some(_) => problems.push(format!("`{}`: occurs twice", entry.path.escape_debug())),
    }
}

fn check_clashes(tree: &Tree<'_>, path: &str, problems: &mut Vec<String>) {
    if !tree.children.is_empty() && !matches!(tree.content, None | Some(Content::Directory)) {
        let kind = if matches!(tree.content, Some(Content::Symlink(_))) { "link" } else { "file" };
        problems.push(format!("`{}`: is a {kind}, but other paths lie below it", path.escape_debug()));
    }
    for (name, child) in &tree.children {
        check_clashes(child, &format!("{path}/{}", String::from_utf8_lossy(name)), problems);
    }
}

/// A node in the order of writing: level by level, so that siblings stand together.
struct Flat<'a> {
    name: &'a [u8],
    parent: usize,
    tree: &'a Tree<'a>,
    first_child: usize,
}

fn flatten<'a>(tree: &'a Tree<'a>) -> Vec<Flat<'a>> {
    let mut nodes = vec![Flat { name: b"", parent: 0, tree, first_child: 1 }];
    let mut next = 0;
    while let Some(node) = nodes.get(next) {
        let tree = node.tree;
        let first_child = nodes.len();
        nodes.extend(tree.children.iter().map(|(&name, tree)| Flat {
            name,
            parent: next,
            tree,
            first_child: 0,
        }));
        if let Some(node) = nodes.get_mut(next) {
            node.first_child = first_child;
        }
        next += 1;
    }
    nodes
}

fn write(tree: &Tree<'_>) -> Result<Vec<u8>> {
    let nodes = flatten(tree);
    let strings_start = HEADER + NODE * nodes.len();
    let strings: usize = nodes.iter().map(|node| node.name.len() + target_of(node).len()).sum();
    let mut records = Vec::with_capacity(NODE * nodes.len());
    let mut texts: Vec<u8> = Vec::with_capacity(strings);
    let mut data: Vec<u8> = Vec::new();
    let data_start = align(strings_start + strings);
    for node in &nodes {
        put(&mut records, strings_start + texts.len())?;
        texts.extend_from_slice(node.name);
        let length = u16::try_from(node.name.len()).unwrap_or(u16::MAX);
        records.extend_from_slice(&length.to_le_bytes());
        let (kind, flags, start, count) = match node.tree.content {
            None | Some(Content::Directory) => (1, 0, node.first_child, node.tree.children.len()),
            Some(Content::File { bytes, executable }) => {
                data.resize(align(data.len()), 0);
                let start = data_start + data.len();
                data.extend_from_slice(bytes);
                (2, u8::from(*executable), start, bytes.len())
            }
            Some(Content::Symlink(target)) => {
                let start = strings_start + texts.len();
                texts.extend_from_slice(target.as_bytes());
                (3, 0, start, target.len())
            }
        };
        records.extend_from_slice(&[kind, flags]);
        put(&mut records, node.parent)?;
        put(&mut records, start)?;
        put(&mut records, count)?;
    }
    let total = data_start + data.len();
    let mut image = Vec::with_capacity(total);
    image.extend_from_slice(b"ERYXIMG1");
    put(&mut image, nodes.len())?;
    put(&mut image, total)?;
    image.extend_from_slice(&(MODIFIED * 1_000_000_000).to_le_bytes());
    image.extend_from_slice(&records);
    image.extend_from_slice(&texts);
    image.resize(data_start, 0);
    image.extend_from_slice(&data);
    Ok(image)
}

fn target_of<'a>(node: &Flat<'a>) -> &'a str {
    match node.tree.content {
        Some(Content::Symlink(target)) => target,
        _ => "",
    }
}

fn align(offset: usize) -> usize {
    offset.next_multiple_of(1 << ALIGNMENT_LOG2)
}

/// Writes a number that must fit the 2 GiB of an image: then it fits the memory of wasm32, too.
fn put(bytes: &mut Vec<u8>, number: usize) -> Result<()> {
    match u32::try_from(number) {
        Ok(number) if number <= i32::MAX as u32 => {
            bytes.extend_from_slice(&number.to_le_bytes());
            Ok(())
        }
        _ => Err(Error::new("the embedded tree exceeds 2 GiB")
            .hint("leave out data files, or grant them as a directory when the component runs")),
    }
}

/// Makes the shared library (dynamic linking convention of wasm32) whose data segment is the image,
/// and which exports it as the data symbol [`SYMBOL`].
#[must_use]
pub fn library(image: &[u8]) -> Vec<u8> {
    let mut module = Module::new();
    module.section(&CustomSection { name: "dylink.0".into(), data: dylink(image.len()).into() });

    let mut imports = ImportSection::new();
    let memory =
        MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None };
    imports.import("env", "memory", memory);
    let immutable = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
    imports.import("env", "__memory_base", EntityType::Global(immutable));
    module.section(&imports);

    // A data symbol is exported as its distance from `__memory_base`.
    let mut globals = GlobalSection::new();
    globals.global(immutable, &ConstExpr::i32_const(0));
    module.section(&globals);
    let mut exports = ExportSection::new();
    exports.export(SYMBOL, ExportKind::Global, 1);
    module.section(&exports);

    let mut data = DataSection::new();
    data.active(0, &ConstExpr::global_get(0), image.iter().copied());
    module.section(&data);
    module.finish()
}

/// The `dylink.0` section with one subsection: how much memory the library needs.
fn dylink(size: usize) -> Vec<u8> {
    const MEM_INFO: u8 = 1;
    let mut info = Vec::new();
    u32::try_from(size).unwrap_or(u32::MAX).encode(&mut info);
    for number in [ALIGNMENT_LOG2, 0, 0] {
        number.encode(&mut info);
    }
    let mut section = vec![MEM_INFO];
    info.as_slice().encode(&mut section);
    section
}
