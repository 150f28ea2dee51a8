//! Archives: the formats, and hostile ones, which are made by hand where no library would.

use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use eryx_build::archive::{Unpack, Unpacked, unpack};
use eryx_build::error::Result;

/// A folder with an archive in it; whatever is unpacked goes to `sub/into`.
struct Place {
    folder: tempfile::TempDir,
    name: String,
}

impl Place {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("archive"), bytes).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        Self { folder, name: name.to_owned() }
    }

    fn unpack(&self, options: &Unpack) -> Result<Unpacked> {
        let folder = self.folder.path();
        unpack(&folder.join("archive"), &self.name, &folder.join("sub/into"), options)
    }

    /// What was unpacked, as lines of a path and a sign (`/`: folder, `*`: executable, `->`: link).
    fn listing(&self) -> Vec<String> {
        list(&self.folder.path().join("sub/into"), Path::new(""))
    }

    /// The error of unpacking, having looked that nothing appeared anywhere.
    fn refusal(&self, options: &Unpack) -> String {
        let error = self.unpack(options).unwrap_err().to_string();
        assert_eq!(list(self.folder.path(), Path::new("")), ["archive", "secret", "sub/"], "{error}");
        assert_eq!(fs::read(self.folder.path().join("secret")).unwrap(), b"secret");
        let prefix = format!("cannot unpack `{}`: ", self.name);
        error.strip_prefix(&prefix).unwrap_or_else(|| panic!("{error}")).to_owned()
    }
}

fn list(dir: &Path, below: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(dir.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        let metadata = fs::symlink_metadata(dir.join(&path)).unwrap();
        let shown = path.display();
        if metadata.is_dir() {
            lines.push(format!("{shown}/"));
            lines.extend(list(dir, &path));
        } else if metadata.is_symlink() {
            lines.push(format!("{shown} -> {}", fs::read_link(dir.join(&path)).unwrap().display()));
        } else {
            let executable = metadata.permissions().mode() & 0o111 != 0;
            lines.push(format!("{shown}{}", if executable { "*" } else { "" }));
        }
    }
    lines.sort();
    lines
}

/// A tar archive made block by block.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    /// Adds an entry, whatever its name; `kind` is the type flag.
    fn add(mut self, kind: u8, name: &str, link: &str, data: &[u8]) -> Self {
        self.header(kind, name, link, data.len() as u64, 0o644);
        self.data(data)
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.add(b'0', name, "", data)
    }

    fn header(&mut self, kind: u8, name: &str, link: &str, size: u64, mode: u32) {
        let mut header = tar::Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(1_700_000_000);
        header.set_cksum();
        self.0.extend(header.as_bytes());
    }

    fn data(mut self, data: &[u8]) -> Self {
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn sample() -> Vec<u8> {
    let mut tar = Tar::default().add(b'5', "top/", "", b"");
    tar.header(b'0', "top/bin/run", "", 10, 0o4755);
    tar.data(b"#!/bin/sh\n")
        .file("top/lib/text", b"text")
        .file("top/library", b"other")
        .add(b'2', "top/bin/link", "../lib/text", b"")
        .add(b'1', "top/bin/copy", "top/bin/run", b"")
        .end()
}

const SAMPLE: [&str; 7] =
    ["bin/", "bin/copy*", "bin/link -> ../lib/text", "bin/run*", "lib/", "lib/text", "library"];

fn strip(strip: usize) -> Unpack {
    Unpack { strip, ..Unpack::default() }
}

fn only(only: &[&str]) -> Unpack {
    Unpack { only: only.iter().map(|only| (*only).to_owned()).collect(), ..strip(1) }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deb(member: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in [("debian-binary", b"2.0\n".as_slice()), ("control.tar", b""), (member, data)] {
        let size = data.len();
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644).bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

/// A zip archive of entries with a name, a Unix mode with its type bits, and data.
fn zip(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut zip = Vec::new();
    let mut directory = Vec::new();
    for (name, mode, data) in entries {
        let mut crc = flate2::Crc::new();
        crc.update(data);
        let offset = u32::try_from(zip.len()).unwrap();
        let length = u32::try_from(data.len()).unwrap().to_le_bytes();
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 33, 0]; // version, flags, stored, 1980-01-01
        common.extend(crc.sum().to_le_bytes());
        common.extend(length.iter().chain(&length));
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        zip.extend(b"PK\x03\x04");
        zip.extend(&common);
        zip.extend(name.as_bytes().iter().chain(*data));
        directory.extend(b"PK\x01\x02\x14\x03"); // made by Unix
        directory.extend(&common);
        directory.extend([0; 6]);
        directory.extend((mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = u32::try_from(zip.len()).unwrap();
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    zip.extend(&directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend(count.iter().chain(&count));
    zip.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    zip.extend(start.to_le_bytes());
    zip.extend([0, 0]);
    zip
}

#[test]
fn unpacks_every_format() {
    let tar = sample();
    for (name, bytes) in [
        ("x.tar", tar.clone()),
        ("x.tar.gz", gzip(&tar)),
        ("x.tgz", gzip(&tar)),
        ("x-1.0.crate", gzip(&tar)),
        ("x.tar.bz2", bzip2(&tar)),
        ("x.tar.xz", xz(&tar)),
        ("x.tar.zst", zstd(&tar)),
        ("x.deb", deb("data.tar", &tar)),
        ("x.deb", deb("data.tar.xz/", &xz(&tar))),
        ("x.deb", deb("data.tar.zst", &zstd(&tar))),
    ] {
        let place = Place::new(name, &bytes);
        assert_eq!(place.unpack(&strip(1)), Ok(Unpacked { entries: 7, bytes: 29 }), "{name}");
        assert_eq!(place.listing(), SAMPLE, "{name}");
        let into = place.folder.path().join("sub/into");
        for (path, mode) in [("", 0o755), ("bin", 0o755), ("bin/run", 0o755), ("lib/text", 0o644)] {
            let metadata = fs::metadata(into.join(path)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path}");
        }
        for path in ["bin", "bin/run", "lib/text"] {
            let time = fs::metadata(into.join(path)).unwrap().modified().unwrap();
            assert_eq!(time.duration_since(UNIX_EPOCH).unwrap(), Duration::from_secs(315_532_800), "{path}");
        }
        assert_eq!(list(place.folder.path(), Path::new("sub")).len(), SAMPLE.len() + 1, "nothing beside it");
    }
}

#[test]
fn unpacks_zip_archives() {
    let bytes = zip(&[
        ("top/", 0o040_755, b""),
        ("top/bin/run", 0o100_700, b"#!"),
        ("top/text", 0o100_600, b"text"),
        ("top/plain", 0, b"from elsewhere"),
        ("top/link", 0o120_777, b"bin/run"),
    ]);
    for name in ["x.zip", "x-1.0-py3-none-any.whl"] {
        let place = Place::new(name, &bytes);
        assert_eq!(place.unpack(&strip(1)), Ok(Unpacked { entries: 5, bytes: 20 }));
        assert_eq!(place.listing(), ["bin/", "bin/run*", "link -> bin/run", "plain", "text"]);
    }
    // Deflated, by another program's hand.
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("a/b", zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(&[1; 100_000]).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    assert!(bytes.len() < 10_000);
    let place = Place::new("x.zip", &bytes);
    assert_eq!(place.unpack(&strip(0)), Ok(Unpacked { entries: 2, bytes: 100_000 }));
    assert_eq!(fs::read(place.folder.path().join("sub/into/a/b")).unwrap(), [1; 100_000]);
}

#[test]
fn unpacks_what_is_asked_for() {
    let place = Place::new("x.tar", &sample());
    place.unpack(&only(&["lib", "bin/link"])).unwrap();
    assert_eq!(place.listing(), ["bin/", "bin/link -> ../lib/text", "lib/", "lib/text"]);
    let place = Place::new("x.tar", &sample());
    let error = place.refusal(&only(&["lib", "lib/tex", "bin/run/x"]));
    assert_eq!(error, "it does not have everything that is asked of it\n  `lib/tex`\n  `bin/run/x`");
}

#[test]
fn joins_what_is_there_and_replaces_nothing() {
    let place = Place::new("x.tar", &sample());
    place.unpack(&only(&["lib"])).unwrap();
    place.unpack(&only(&["bin/run", "library"])).unwrap();
    assert_eq!(place.listing(), ["bin/", "bin/run*", "lib/", "lib/text", "library"]);
    let into = place.folder.path().join("sub/into");
    let error = place.unpack(&only(&["bin", "library"])).unwrap_err().to_string();
    let expected = format!(
        "cannot unpack `x.tar`: it would replace what is there\n  `{0}/bin/run`\n  `{0}/library`",
        into.display()
    );
    assert_eq!(error, expected);
    assert_eq!(place.listing(), ["bin/", "bin/run*", "lib/", "lib/text", "library"]);
    // A link there is not a folder to put something into.
    fs::remove_dir_all(into.join("bin")).unwrap();
    std::os::unix::fs::symlink("../..", into.join("bin")).unwrap();
    let error = place.unpack(&only(&["bin"])).unwrap_err().to_string();
    let expected =
        format!("cannot unpack `x.tar`: it would replace what is there\n  `{}/bin`", into.display());
    assert_eq!(error, expected);
}

#[test]
fn reads_long_names() {
    let long = format!("top/{}/file", "directory/".repeat(20).trim_end_matches('/'));
    let target = format!("{}file", "directory/".repeat(20));
    let mut gnu = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    gnu.append_data(&mut header, &long, b"text".as_slice()).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    gnu.append_link(&mut header, "top/link", &target).unwrap();
    let record = |key: &str, value: &str| {
        let rest = format!(" {key}={value}\n");
        let length = (rest.len()..).find(|length| length.to_string().len() + rest.len() == *length).unwrap();
        format!("{length}{rest}")
    };
    let pax = record("mtime", "1.5") + &record("path", &long) + &record("size", "4");
    let mut tar = Tar::default().add(b'g', "global", "", record("comment", "0123").as_bytes()).add(
        b'x',
        "extension",
        "",
        pax.as_bytes(),
    );
    tar.header(b'0', "short", "", 0, 0o644);
    let tar = tar.data(b"text");
    let link = record("linkpath", &target);
    let tar = tar.add(b'x', "extension", "", link.as_bytes()).add(b'2', "top/link", "short", b"");
    for bytes in [gnu.into_inner().unwrap(), tar.end()] {
        let place = Place::new("x.tar", &bytes);
        place.unpack(&strip(1)).unwrap();
        let into = place.folder.path().join("sub/into");
        assert_eq!(fs::read(into.join(&target)).unwrap(), b"text");
        assert_eq!(fs::read(into.join("link")).unwrap(), b"text");
    }
}

#[test]
fn refuses_hostile_tar_archives() {
    let tar = Tar::default;
    for (archive, expected) in [
        (tar().file("../evil", b""), "entry `../evil` has `..` in its path"),
        (tar().file("a/../../evil", b""), "entry `a/../../evil` has `..` in its path"),
        (tar().file("/tmp/evil", b""), "entry `/tmp/evil` has an absolute path"),
        (tar().file("", b""), "entry `` has an empty path"),
        (tar().file("a", b"").file("a", b""), "entry `a` occurs twice"),
        (tar().file("a", b"").file("./a", b""), "entry `a` occurs twice"),
        (tar().file("a", b"").add(b'5', "a/", "", b""), "entry `a` occurs twice"),
        (tar().file("a/b", b"").add(b'2', "a", "..", b""), "entry `a` occurs twice"),
        (tar().file("a", b"").file("a/b", b""), "entry `a/b` lies below `a`, which is a file"),
        (
            tar().add(b'2', "a", "..", b"").file("a/evil", b""),
            "entry `a/evil` lies below `a`, which is a link",
        ),
        (tar().add(b'2', "a", "../secret", b"").file("a", b"evil"), "entry `a` occurs twice"),
        (
            tar().add(b'2', "a", ".", b"").add(b'5', "a/b", "", b""),
            "entry `a/b` lies below `a`, which is a link",
        ),
        (tar().add(b'2', "a", "/etc/passwd", b""), "links lead out of it\n  `a` -> `/etc/passwd`"),
        (
            tar().add(b'2', "b/a", "../../secret", b"").add(b'2', "c", "..", b""),
            "links lead out of it\n  `b/a` -> `../../secret`\n  `c` -> `..`",
        ),
        (
            // By their texts alone both stay inside.
            tar().add(b'2', "a/b/top", "../..", b"").add(b'2', "evil", "a/b/top/../secret", b""),
            "links lead out of it\n  `evil` -> `a/b/top/../secret`",
        ),
        (tar().add(b'2', "a", "", b""), "link `a` has a target that is not a path"),
        (tar().add(b'1', "a", "../secret", b""), "entry `../secret` has `..` in its path"),
        (tar().add(b'1', "a", "/etc/passwd", b""), "entry `/etc/passwd` has an absolute path"),
        (
            tar().add(b'1', "a", "b", b"").file("b", b""),
            "hard link `a` leads to `b`, which is not a file unpacked before it",
        ),
        (
            tar().add(b'2', "l", "../secret", b"").add(b'1', "a", "l", b""),
            "hard link `a` leads to `l`, which is not a file unpacked before it",
        ),
        (tar().add(b'3', "a", "", b""), "entry `a` is a character device"),
        (tar().add(b'4', "a", "", b""), "entry `a` is a block device"),
        (tar().add(b'6', "a", "", b""), "entry `a` is a named pipe"),
        (tar().add(b'S', "a", "", b""), "entry `a` is a sparse file"),
        (tar().add(b'Z', "a", "", b""), "entry `a` is of an unknown kind"),
        (tar().add(b'5', "a", "", b"x"), "the archive is damaged: `a` is not a file and has data"),
        (tar().add(b'x', "", "", b"9 path=a\n\n"), "the archive is damaged: a pax record is malformed"),
        (
            tar().add(b'x', "", "", b"99999999999999999999 a=b\n"),
            "the archive is damaged: a pax record is malformed",
        ),
        (
            tar().add(b'x', "", "", b"12 size=-10\n"),
            "the archive is damaged: a pax record has a malformed size",
        ),
        (tar().add(b'x', "", "", b"22 GNU.sparse.major=1\n"), "it has a sparse file"),
        (tar().add(b'x', "", "", b"13 path=../e\n").file("fine", b""), "entry `../e` has `..` in its path"),
        (tar().add(b'L', "", "", b"/e\0").file("fine", b""), "entry `/e` has an absolute path"),
        (
            tar().add(b'L', "", "", &[b'a'; (1 << 20) + 1]),
            "the archive is damaged: an extension header of 1048577 bytes",
        ),
    ] {
        let place = Place::new("x.tar", &tar().file("first", b"1").append(archive).end());
        assert_eq!(place.refusal(&strip(0)), expected);
    }
}

impl Tar {
    fn append(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

#[test]
fn a_path_that_leads_out_is_refused_even_if_not_asked_for() {
    let bytes = Tar::default().file("top/lib", b"").file("top/../evil", b"").end();
    let error = Place::new("x.tar", &bytes).refusal(&only(&["lib"]));
    assert_eq!(error, "entry `top/../evil` has `..` in its path");
    let bytes = Tar::default().file("top/lib", b"").add(b'3', "top/dev", "", b"").end();
    let place = Place::new("x.tar", &bytes);
    place.unpack(&only(&["lib"])).unwrap();
    assert_eq!(place.listing(), ["lib"]);
}

#[test]
fn refuses_hostile_zip_archives() {
    for (entries, expected) in [
        ([("a", 0, b"".as_slice()), ("../evil", 0, b"")], "entry `../evil` has `..` in its path"),
        ([("a", 0, b""), ("/evil", 0, b"")], "entry `/evil` has an absolute path"),
        ([("a", 0, b""), ("..\\evil", 0, b"")], "entry `..\\evil` has a backslash in its path"),
        ([("a", 0, b""), ("a", 0, b"")], "an entry occurs twice"),
        ([("a", 0, b""), ("a/b", 0, b"")], "entry `a/b` lies below `a`, which is a file"),
        ([("a", 0o120_777, b".."), ("a/evil", 0, b"")], "entry `a/evil` lies below `a`, which is a link"),
        ([("a", 0, b""), ("b", 0o120_777, b"/etc")], "links lead out of it\n  `b` -> `/etc`"),
        ([("a", 0, b""), ("b", 0o010_644, b"")], "entry `b` is neither a file, a folder nor a link"),
        ([("a", 0, b""), ("b", 0o120_777, &[b'x'; 5000])], "link `b` has a target that is not a path"),
    ] {
        assert_eq!(Place::new("x.zip", &zip(&entries)).refusal(&strip(0)), expected);
    }
}

#[test]
fn refuses_bombs() {
    let bytes = Tar::default().file("a", &[0; 1000]).file("b", &[0; 1001]).end();
    let options = Unpack { max_bytes: 2000, ..Unpack::default() };
    assert_eq!(Place::new("x.tar.gz", &gzip(&bytes)).refusal(&options), "it has more than 2000 bytes");
    let options = Unpack { max_bytes: 2001, max_entries: 1, ..Unpack::default() };
    assert_eq!(Place::new("x.tar.gz", &gzip(&bytes)).refusal(&options), "it has more than 1 entries");
    let options = Unpack { max_entries: 2, ..options };
    Place::new("x.tar.gz", &gzip(&bytes)).unpack(&options).unwrap();
    // Folders that are only named in a path count too.
    let bytes = Tar::default().file("a/b/c/d", b"").end();
    assert_eq!(Place::new("x.tar", &bytes).refusal(&options), "it has more than 2 entries");
    // Copies made by hard links too.
    let bytes = Tar::default().file("a", &[0; 1500]).add(b'1', "b", "a", b"").end();
    assert_eq!(Place::new("x.tar", &bytes).refusal(&options), "it has more than 2001 bytes");
    // A zip archive that says it is smaller than it is.
    let mut bytes = zip(&[("a", 0, &[0; 5000])]);
    let size = 5000_u32.to_le_bytes();
    let places: Vec<usize> = (0..bytes.len() - 4).filter(|at| bytes[*at..at + 4] == size).collect();
    assert_eq!(places.len(), 4);
    let error = Place::new("x.zip", &bytes).refusal(&options);
    assert_eq!(error, "it has more than 2001 bytes");
    for at in [places[1], places[3]] {
        bytes[at..at + 4].copy_from_slice(&1_u32.to_le_bytes());
    }
    assert!(Place::new("x.zip", &bytes).unpack(&options).is_err());
}

#[test]
fn tells_what_is_cut_short() {
    let cut = "the archive is cut short\nhint: fetch it again";
    let tar = Tar::default().file("a", &[1; 2000]).file("b", b"").end();
    // Inside a header, the data, the padding, between two entries and before the end marker.
    for length in [0, 100, 512, 1000, 2550, 2560, 3072] {
        assert_eq!(Place::new("x.tar", &tar[..length]).refusal(&strip(0)), cut, "{length}");
    }
    // The checksums at the ends of the streams count although no file lies there.
    for (name, bytes) in [
        ("x.tar.gz", gzip(&tar)),
        ("x.tar.bz2", bzip2(&tar)),
        ("x.tar.xz", xz(&tar)),
        ("x.tar.zst", zstd(&tar)),
    ] {
        for missing in [1, 4, bytes.len() / 2] {
            let place = Place::new(name, &bytes[..bytes.len() - missing]);
            assert_eq!(place.refusal(&strip(0)), cut, "{name} without {missing}");
        }
        let package = deb(name.strip_prefix("x.").map(|end| format!("data.{end}")).unwrap().as_str(), &bytes);
        let place = Place::new("x.deb", &package[..package.len() - bytes.len() / 2]);
        assert_eq!(place.refusal(&strip(0)), cut, "{name} in a package");
    }
    let bytes = zip(&[("a", 0, &[1; 2000])]);
    for length in [0, 1000, bytes.len() - 1] {
        let error = Place::new("x.zip", &bytes[..length]).refusal(&strip(0));
        assert!(error.starts_with("the archive is damaged or cut short: "), "{error}");
    }
}

#[test]
fn tells_what_is_damaged() {
    let tar = Tar::default().file("a", &[1; 2000]).end();
    let mut bytes = tar.clone();
    bytes[0] = b'b';
    let error = Place::new("x.tar", &bytes).refusal(&strip(0));
    assert_eq!(error, "the archive is damaged: a header does not match its checksum");
    for (name, mut bytes) in [
        ("x.tar.gz", gzip(&tar)),
        ("x.tar.bz2", bzip2(&tar)),
        ("x.tar.xz", xz(&tar)),
        ("x.tar.zst", zstd(&tar)),
        ("x.zip", zip(&[("a", 0, &[1; 2000])])),
    ] {
        // One bit in the middle, which is data in each of them.
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let error = Place::new(name, &bytes).refusal(&strip(0));
        assert!(error.starts_with("the archive is damaged: "), "{name}: {error}");
    }
    for name in ["x.tar.gz", "x.tar.bz2", "x.tar.xz", "x.tar.zst", "x.tar", "x.zip", "x.deb"] {
        let error = Place::new(name, &b"<html>not found</html>".repeat(100)).refusal(&strip(0));
        assert!(error.starts_with("the archive is "), "{name}: {error}");
    }
    let error = Place::new("x.deb", &deb("other.tar", b"")).refusal(&strip(0));
    assert_eq!(error, "expected a member `data.tar` (`.gz`, `.bz2`, `.xz`, `.zst`) but found none");
}

#[test]
fn refuses_names_of_no_format() {
    let place = Place::new("x.rar", b"");
    let error = place.unpack(&strip(0)).unwrap_err().to_string();
    let expected = "cannot unpack `x.rar`: its name does not tell its format\n  expected a name ending in one of \
        `.tar.gz`, `.tgz`, `.crate`, `.tar.bz2`, `.tar.xz`, `.tar.zst`, `.tar`, `.zip`, `.whl`, `.deb`";
    assert_eq!(error, expected);
}
