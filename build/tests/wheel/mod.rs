//! Wheels that tests make.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Writes a wheel whose name says that it is pure, with these lines of metadata (in Latin-1) and files.
pub fn write(folder: &Path, name: &str, version: &str, metadata: &str, files: &[(&str, &[u8])]) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(format!("{name}-{version}-py3-none-any.whl"));
    let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let info = format!("{name}-{version}.dist-info");
    let header = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}\n");
    let tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let header: Vec<u8> = header.chars().map(|letter| u8::try_from(letter).unwrap()).collect();
    let own = [(format!("{info}/METADATA"), header), (format!("{info}/WHEEL"), tags.into())];
    let files = files.iter().map(|(file, bytes)| ((*file).to_owned(), bytes.to_vec()));
    let mut record = String::new();
    for (file, bytes) in files.chain(own) {
        record.push_str(&format!("{file},,\n"));
        archive.start_file(file, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(&bytes).unwrap();
    }
    archive.start_file(format!("{info}/RECORD"), zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(format!("{record}{info}/RECORD,,\n").as_bytes()).unwrap();
    archive.finish().unwrap();
    path
}
