//! Wheels that are put together file by file, right ones and others.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;

pub const WHEEL: &str = "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
pub const METADATA: &str = "Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n";
/// The file name of the wheels that are made here.
pub const FILE: &str = "sample-1.0-py3-none-any.whl";

/// A wheel that is put together file by file.
pub struct Wheel {
    /// Name and version of the distribution, as its folder is called.
    stem: String,
    files: Vec<(String, Vec<u8>, u32)>,
    record: Option<String>,
}

impl Wheel {
    /// One with a module and nothing wrong.
    pub fn new() -> Self {
        let wheel = Self::of("sample", "1.0");
        wheel
            .file("sample/__init__.py", "def main(): print('ran')\n")
            .file("sample-1.0.dist-info/METADATA", METADATA)
    }

    /// One of a distribution, with no more than what makes it a wheel.
    pub fn of(name: &str, version: &str) -> Self {
        let wheel = Self { stem: format!("{name}-{version}"), files: Vec::new(), record: None };
        let file = format!("{}.dist-info/WHEEL", wheel.stem);
        wheel.file(&file, WHEEL)
    }

    /// Adds a file, or replaces one.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.mode(name, content, 0o100_644)
    }

    pub fn mode(mut self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> Self {
        self.files.retain(|(known, ..)| known != name);
        self.files.push((name.to_owned(), content.as_ref().to_vec(), mode));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.files.retain(|(known, ..)| known != name);
        self
    }

    pub fn scripts(self, text: &str) -> Self {
        self.file("sample-1.0.dist-info/entry_points.txt", format!("[console_scripts]\n{text}\n"))
    }

    /// The list of files as it should be.
    pub fn right_record(&self) -> String {
        let mut text = String::new();
        for (name, content, _) in &self.files {
            let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(content));
            let quoted = if name.contains([',', '"']) { format!("\"{name}\"") } else { name.clone() };
            text.push_str(&format!("{quoted},sha256={digest},{}\n", content.len()));
        }
        text + &format!("{}.dist-info/RECORD,,\n", self.stem)
    }

    /// Changes the list of files.
    pub fn record(mut self, change: impl Fn(String) -> String) -> Self {
        self.record = Some(change(self.right_record()));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let record = self.record.clone().unwrap_or_else(|| self.right_record());
        let record = (format!("{}.dist-info/RECORD", self.stem), record.into_bytes(), 0o100_644);
        for (name, content, mode) in self.files.iter().chain([&record]) {
            let options = SimpleFileOptions::default().unix_permissions(*mode);
            if mode & 0o170_000 == 0o120_000 {
                archive.add_symlink(name, String::from_utf8(content.clone()).unwrap(), options).unwrap();
                continue;
            }
            archive.start_file(name, options).unwrap();
            archive.write_all(content).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }
}

/// Writes a wheel into a folder, with these lines of metadata (in Latin-1) and files; returns its path.
pub fn write(folder: &Path, name: &str, version: &str, metadata: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let header = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}\n");
    let header: Vec<u8> = header.chars().map(|letter| u8::try_from(letter).unwrap()).collect();
    let wheel = Wheel::of(name, version).file(&format!("{name}-{version}.dist-info/METADATA"), header);
    let wheel = files.iter().fold(wheel, |wheel, (file, bytes)| wheel.file(file, bytes));
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(format!("{name}-{version}-py3-none-any.whl"));
    fs::write(&path, wheel.bytes()).unwrap();
    path
}
