//! The embedded tree: format, determinism, errors, and the library that carries it.

use eryx_build::image::{Content, Entry, MODIFIED, SYMBOL, encode, library};
use wasmparser::{Dylink0Subsection, KnownCustom, Parser, Payload, Validator};

fn file(path: &str, bytes: &[u8]) -> Entry {
    Entry { path: path.into(), content: Content::File { bytes: bytes.to_vec(), executable: false } }
}

fn directory(path: &str) -> Entry {
    Entry { path: path.into(), content: Content::Directory }
}

fn link(path: &str, target: &str) -> Entry {
    Entry { path: path.into(), content: Content::Symlink(target.into()) }
}

/// A reader of the format that is independent of the writer.
struct Image(Vec<u8>);

impl Image {
    fn word(&self, at: usize) -> usize {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap()) as usize
    }

    fn node(&self, index: usize) -> (Vec<u8>, u8, u8, usize, usize, usize) {
        let at = 24 + 20 * index;
        let length = u16::from_le_bytes(self.0[at + 4..at + 6].try_into().unwrap()) as usize;
        let name = self.0[self.word(at)..][..length].to_vec();
        (name, self.0[at + 6], self.0[at + 7], self.word(at + 8), self.word(at + 12), self.word(at + 16))
    }

    fn list(&self, index: usize, path: &str, out: &mut Vec<String>) {
        let (_, kind, flags, _, start, count) = self.node(index);
        match kind {
            1 => {
                out.push(format!("{path}/"));
                let names: Vec<_> = (start..start + count).map(|child| self.node(child).0).collect();
                assert!(names.is_sorted_by(|a, b| a < b), "{path}");
                for child in start..start + count {
                    assert_eq!(self.node(child).3, index, "the parent of a child of {path}");
                    let name = String::from_utf8(self.node(child).0).unwrap();
                    self.list(child, &format!("{path}/{name}"), out);
                }
            }
            2 => {
                assert_eq!(start % 16, 0, "{path}");
                let text = String::from_utf8_lossy(&self.0[start..start + count]);
                out.push(format!("{path}{} = {text}", if flags == 1 { "*" } else { "" }));
            }
            3 => out.push(format!("{path} -> {}", String::from_utf8_lossy(&self.0[start..start + count]))),
            other => panic!("kind {other}"),
        }
    }
}

fn listing(image: &[u8]) -> Vec<String> {
    let image = Image(image.to_vec());
    assert_eq!(&image.0[..8], b"ERYXIMG1");
    assert_eq!(image.word(12), image.0.len());
    assert_eq!(u64::from_le_bytes(image.0[16..24].try_into().unwrap()), MODIFIED * 1_000_000_000);
    let mut out = Vec::new();
    image.list(0, "", &mut out);
    out
}

fn entries() -> Vec<Entry> {
    vec![
        file("/lib/python/os.py", b"import sys"),
        file("/lib/python/abc.py", b""),
        file("/lib/python.txt", b"text"),
        directory("/lib/empty"),
        link("/lib/py", "python"),
        Entry { path: "/bin/run".into(), content: Content::File { bytes: b"#!".to_vec(), executable: true } },
        file("/lib/é.py", b"accent"),
    ]
}

#[test]
fn the_tree_comes_back() {
    assert_eq!(
        listing(&encode(&entries()).unwrap()),
        [
            "/",
            "/bin/",
            "/bin/run* = #!",
            "/lib/",
            "/lib/empty/",
            "/lib/py -> python",
            "/lib/python/",
            "/lib/python/abc.py = ",
            "/lib/python/os.py = import sys",
            "/lib/python.txt = text",
            "/lib/é.py = accent",
        ]
    );
    assert_eq!(listing(&encode(&[]).unwrap()), ["/"]);
    assert_eq!(listing(&encode(&[directory("/")]).unwrap()), ["/"]);
}

#[test]
fn the_order_of_entries_does_not_matter() {
    let mut reversed = entries();
    reversed.reverse();
    assert_eq!(encode(&entries()).unwrap(), encode(&reversed).unwrap());
}

#[test]
fn every_bad_path_is_listed() {
    let bad = [
        file("relative", b""),
        file("/a//b", b""),
        file("/a/", b""),
        file("/a/../b", b""),
        file("/x\0y", b""),
        file(&format!("/{}", "n".repeat(256)), b""),
        file("/", b""),
        link("/l", ""),
        file("/twice", b"1"),
        directory("/twice"),
        file("/f", b""),
        file("/f/below", b""),
        link("/s", "t"),
        file("/s/below", b""),
    ];
    let long = "n".repeat(256);
    assert_eq!(
        encode(&bad).unwrap_err().render(),
        format!(
            "error: 11 paths cannot be embedded\n  \
             `/`: the root is a directory\n  \
             `/a/../b`: has a `.` or `..` component\n  \
             `/a//b`: has an empty component\n  \
             `/a/`: has an empty component\n  \
             `/f`: is a file, but other paths lie below it\n  \
             `/l`: the link's target is empty, too long or holds a zero byte\n  \
             `/{long}`: has a component longer than 255 bytes\n  \
             `/s`: is a link, but other paths lie below it\n  \
             `/twice`: occurs twice\n  \
             `/x\\0y`: holds a zero byte\n  \
             `relative`: not absolute\n"
        )
    );
}

#[test]
fn the_library_is_a_valid_side_module() {
    let image = encode(&entries()).unwrap();
    let module = library(&image);
    Validator::new().validate_all(&module).unwrap();
    let mut seen = Vec::new();
    for payload in Parser::new(0).parse_all(&module) {
        match payload.unwrap() {
            Payload::CustomSection(section) => {
                let KnownCustom::Dylink0(reader) = section.as_known() else { panic!("{}", section.name()) };
                for subsection in reader {
                    let Dylink0Subsection::MemInfo(info) = subsection.unwrap() else { panic!() };
                    assert_eq!(info.memory_size as usize, image.len());
                    assert_eq!((info.memory_alignment, info.table_size), (4, 0));
                    seen.push("dylink");
                }
            }
            Payload::ExportSection(reader) => {
                let names: Vec<_> = reader.into_iter().map(|export| export.unwrap().name).collect();
                assert_eq!(names, [SYMBOL]);
                seen.push("export");
            }
            Payload::DataSection(reader) => {
                let segments: Vec<_> = reader.into_iter().map(|data| data.unwrap().data.to_vec()).collect();
                assert_eq!(segments.concat(), image);
                seen.push("data");
            }
            _ => {}
        }
    }
    assert_eq!(seen, ["dylink", "export", "data"]);
}
