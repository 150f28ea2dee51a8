//! Removing what nobody needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::actions::parse;
use super::{Record, Store, files, held};
use crate::digest::Digest;
use crate::error::{Context as _, Result};

/// What may stay besides what must.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// What was of use within this time stays, as long as there is room.
    pub age: Duration,
    /// How many bytes may stay; what was of use longest ago goes first.
    pub size: Option<u64>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Records of actions.
    pub records: usize,
    /// Trees.
    pub trees: usize,
    /// Blobs.
    pub blobs: usize,
    /// The bytes of all these.
    pub freed: u64,
    /// The bytes of what is left.
    pub kept: u64,
}

/// What is in the store.
struct Content {
    records: Vec<(Record, SystemTime)>,
    /// Files that are no intact record.
    broken: Vec<PathBuf>,
    /// The newest record that made a tree or blob.
    makers: BTreeMap<Digest, usize>,
    trees: BTreeMap<Digest, u64>,
    blobs: BTreeMap<Digest, (u64, SystemTime)>,
}

/// What is to stay.
#[derive(Default)]
struct Kept {
    records: BTreeSet<usize>,
    things: BTreeSet<Digest>,
    bytes: u64,
}

impl Store {
    /// Removes records, trees and blobs that neither a record for which `must` holds needs, nor one that was of use
    /// lately; within `limits`. A record needs its output, its inputs, and what is needed to make those.
    ///
    /// # Errors
    /// When another process has the store open, unless it is a dry run; when the store cannot be read or written.
    pub fn collect(&self, must: &dyn Fn(&Record) -> bool, limits: &Limits) -> Result<Collected> {
        let doing = || format!("cannot collect in the store `{}`", self.root.display());
        if limits.dry_run {
            return self.collect_locked(must, limits).context(doing);
        }
        self.exclusively(|| self.collect_locked(must, limits).context(doing))
    }

    fn collect_locked(&self, must: &dyn Fn(&Record) -> bool, limits: &Limits) -> Result<Collected> {
        let content = self.content()?;
        let now = SystemTime::now();
        let recent = |time: SystemTime| now.duration_since(time).unwrap_or_default() < limits.age;
        let mut kept = Kept::default();
        for (place, (record, _)) in content.records.iter().enumerate() {
            if must(record) {
                content.need(place, &mut kept);
            }
        }
        let mut order: Vec<_> = (0..content.records.len()).collect();
        let time = |place: &usize| content.records.get(*place).map(|(_, time)| *time);
        order.sort_by_key(|place| std::cmp::Reverse(time(place)));
        for place in order {
            if !time(&place).is_some_and(recent) {
                break;
            }
            let mut with =
                Kept { records: kept.records.clone(), things: kept.things.clone(), bytes: kept.bytes };
            content.need(place, &mut with);
            if limits.size.is_some_and(|size| with.bytes > size) {
                break;
            }
            kept = with;
        }
        // Files that were fetched and not used yet.
        for (digest, (size, time)) in &content.blobs {
            let room = limits.size.is_none_or(|limit| kept.bytes + size <= limit);
            if recent(*time) && room && kept.things.insert(*digest) {
                kept.bytes += size;
            }
        }
        self.remove_others(&content, &kept, limits.dry_run)
    }

    fn content(&self) -> Result<Content> {
        let mut content = Content {
            records: Vec::new(),
            broken: Vec::new(),
            makers: BTreeMap::new(),
            trees: BTreeMap::new(),
            blobs: BTreeMap::new(),
        };
        for entry in fs::read_dir(self.base.join("actions"))? {
            let path = entry?.path();
            let time = fs::metadata(&path)?.modified()?;
            match parse(&String::from_utf8_lossy(&fs::read(&path)?)) {
                Some(record) => content.records.push((record, time)),
                None => content.broken.push(path),
            }
        }
        content.records.sort_by_key(|(_, time)| *time);
        for (place, (record, _)) in content.records.iter().enumerate() {
            content.makers.insert(record.output.digest(), place);
        }
        for entry in fs::read_dir(self.base.join("trees"))? {
            let entry = entry?;
            if let Ok(digest) = entry.file_name().to_string_lossy().parse() {
                content.trees.insert(digest, size_of(&entry.path())?);
            }
        }
        for folder in fs::read_dir(self.base.join("blobs"))? {
            for entry in fs::read_dir(folder?.path())? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                if let Ok(digest) = entry.file_name().to_string_lossy().parse() {
                    content.blobs.insert(digest, (metadata.len(), metadata.modified()?));
                }
            }
        }
        Ok(content)
    }

    fn remove_others(&self, content: &Content, kept: &Kept, dry_run: bool) -> Result<Collected> {
        let mut done = Collected { kept: kept.bytes, ..Collected::default() };
        let mut gone = content.broken.clone();
        for (place, (record, _)) in content.records.iter().enumerate() {
            if !kept.records.contains(&place) {
                gone.push(self.base.join("actions").join(format!("{}.json", record.key)));
                gone.push(self.base.join("locks").join(format!("{}.lock", record.key)));
                done.records += 1;
            }
        }
        let mut things = Vec::new();
        for (digest, size) in &content.trees {
            if !kept.things.contains(digest) {
                things.push(self.tree_path(*digest));
                done.trees += 1;
                done.freed += size;
            }
        }
        for (digest, (size, _)) in &content.blobs {
            if !kept.things.contains(digest) {
                things.push(self.blob_path(*digest));
                done.blobs += 1;
                done.freed += size;
            }
        }
        if dry_run {
            return Ok(done);
        }
        // Records go first: one that is left without its output would only cost time, but there is no need.
        for path in gone {
            files::remove(&path)?;
        }
        let scratch = self.scratch()?;
        for (count, path) in things.into_iter().enumerate() {
            // By a rename: nobody must ever see half a tree.
            let trash = scratch.path().join(count.to_string());
            fs::rename(&path, &trash).context(|| format!("cannot remove `{}`", path.display()))?;
            files::remove(&trash)?;
        }
        held(&self.verified).clear();
        Ok(done)
    }
}

impl Content {
    /// Adds a record with all that it needs.
    fn need(&self, place: usize, kept: &mut Kept) {
        let mut pending = vec![place];
        while let Some(place) = pending.pop() {
            let Some((record, _)) = self.records.get(place) else { continue };
            if !kept.records.insert(place) {
                continue;
            }
            let inputs = record.preimage["inputs"].as_object().into_iter().flatten();
            let inputs = inputs.filter_map(|(_, digest)| digest.as_str()?.parse().ok());
            for digest in inputs.chain([record.output.digest()]) {
                let tree = self.trees.get(&digest);
                let size = tree.or_else(|| self.blobs.get(&digest).map(|(size, _)| size));
                if let Some(size) = size
                    && kept.things.insert(digest)
                {
                    kept.bytes += size;
                }
                // Files of the checkout, and files that were fetched, are made by nothing.
                pending.extend(self.makers.get(&digest));
            }
        }
    }
}

/// The bytes of the files in a directory.
fn size_of(folder: &std::path::Path) -> Result<u64> {
    let mut size = 0;
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).context(|| format!("cannot read `{}`", folder.display()))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                pending.push(entry.path());
            } else {
                size += metadata.len();
            }
        }
    }
    Ok(size)
}
