//! How many pages of an image an instance makes its own, which is what a fresh sandbox costs.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use eryx_embed::SessionOptions;

use super::{ok, pooled};

const PAGE: u64 = 4096;

/// The runs of written pages in the memory that was mapped from compiled code: addresses and lengths in pages.
///
/// Only while one component is mapped, hence [`alone`].
fn written() -> Vec<(u64, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let writable: Vec<(u64, u64, bool)> = maps
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (range, access) = (words.next()?, words.next()?);
            let (start, end) = range.split_once('-')?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            access.starts_with("rw").then_some(())?;
            Some((number(start)?, number(end)?, line.ends_with(".cwasm")))
        })
        .collect();
    let image = writable.iter().position(|(_, _, is_image)| *is_image).expect("no image is mapped");
    // The stack lies before the image and the heap goes on behind it, without a gap.
    let mut first = image;
    while first > 0 && writable[first - 1].1 == writable[first].0 {
        first -= 1;
    }
    let mut last = image;
    while writable.get(last + 1).is_some_and(|next| next.0 == writable[last].1) {
        last += 1;
    }
    let (start, end) = (writable[first].0, writable[last].1);
    let mut entries = vec![0; usize::try_from((end - start) / PAGE * 8).unwrap()];
    File::open("/proc/self/pagemap").unwrap().read_exact_at(&mut entries, start / PAGE * 8).unwrap();
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (page, entry) in (0..).zip(entries.chunks_exact(8)) {
        let entry = u64::from_le_bytes(entry.try_into().unwrap());
        let (is_present, is_of_file) = (entry >> 63 == 1, entry >> 61 & 1 == 1);
        if is_present && !is_of_file {
            match runs.last_mut() {
                Some((start, length)) if *start + *length == page => *length += 1,
                _ => runs.push((page, 1)),
            }
        }
    }
    runs
}

/// Runs a test of this file in a process of its own; tells whether this is that process.
fn alone(test: &str) -> bool {
    const ALONE: &str = "ERYX_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test]).env(ALONE, "1").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    false
}

#[test]
fn a_short_call_writes_to_few_pages() {
    if !alone("pages::a_short_call_writes_to_few_pages") {
        return;
    }
    let image = pooled(1);
    // Twice, so that the second instance finds the slot as a pool leaves it.
    for _ in 0..2 {
        let mut session = image.session(SessionOptions::default()).unwrap();
        ok(&mut session, "1+1");
        let runs = written();
        let pages: u64 = runs.iter().map(|(_, length)| length).sum();
        // The engine resets 32 runs of pages without giving them up.
        assert!(runs.len() < 32 && pages < 80, "{pages} pages in {} runs: {runs:x?}", runs.len());
    }
}
