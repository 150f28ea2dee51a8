//! A file on a server that is read in pieces, so that the metadata of a wheel costs no download of the wheel.

use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};

use super::http;

/// How much is fetched at once, in bytes: the directory of most wheels, which is their end, and their metadata.
const PIECE: u64 = 32 << 10;

/// A file on a server that answers requests for parts (RFC 9110, section 14).
pub(super) struct Ranged<'a> {
    agent: &'a ureq::Agent,
    url: &'a str,
    length: u64,
    position: u64,
    /// What was fetched last, and where it begins.
    piece: (u64, Vec<u8>),
}

impl<'a> Ranged<'a> {
    /// Opens a file; nothing when the server gives no parts of it.
    pub(super) fn open(agent: &'a ureq::Agent, url: &'a str) -> Option<Self> {
        let (bytes, from, length) = http::part(agent, url, &format!("bytes=-{PIECE}")).ok()??;
        Some(Self { agent, url, length, position: 0, piece: (from, bytes) })
    }

    /// What of the piece at hand lies at the position; empty when it must be fetched.
    fn at_hand(&self) -> &[u8] {
        let (from, bytes) = &self.piece;
        let skip = self.position.checked_sub(*from).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| bytes.get(skip..)).unwrap_or_default()
    }
}

impl Read for Ranged<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.position >= self.length || buffer.is_empty() {
            return Ok(0);
        }
        if self.at_hand().is_empty() {
            let last = (self.position + PIECE).min(self.length) - 1;
            let range = format!("bytes={}-{last}", self.position);
            match http::part(self.agent, self.url, &range) {
                Ok(Some((bytes, from, _))) if from == self.position && !bytes.is_empty() => {
                    self.piece = (from, bytes);
                }
                Ok(_) => return Err(Error::new(ErrorKind::InvalidData, "the server gave another part")),
                Err(refusal) => return Err(Error::other(refusal.why)),
            }
        }
        let count = self.at_hand().read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Ranged<'_> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| Error::from(ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Serves bytes, in parts if it can, and counts the bytes that it sent.
    fn serve(bytes: Vec<u8>, parts: bool) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x.whl", listener.local_addr().unwrap());
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&sent);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> =
                    lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
                let range = head.iter().find_map(|line| line.strip_prefix("range: bytes="));
                let all = bytes.len();
                let (from, to) = match range.and_then(|range| range.split_once('-')) {
                    Some(("", count)) => (all.saturating_sub(count.parse().unwrap()), all),
                    Some((from, to)) => (from.parse().unwrap(), to.parse::<usize>().unwrap() + 1),
                    None => (0, all),
                };
                let (status, from, to) =
                    if parts { ("206 Partial Content", from, to) } else { ("200 OK", 0, all) };
                let header = format!(
                    "HTTP/1.1 {status}\r\ncontent-range: bytes {from}-{}/{all}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    to - 1,
                    to - from
                );
                count.fetch_add(to - from, std::sync::atomic::Ordering::Relaxed);
                stream.write_all(header.as_bytes()).unwrap();
                // Who wants no whole file hangs up.
                let _ = stream.write_all(&bytes[from..to]);
            }
        });
        (url, sent)
    }

    #[test]
    fn metadata_is_read_without_the_wheel() {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (file, length) in [("a.py", 300_000), ("x-1.dist-info/METADATA", 100_000), ("z.py", 300_000)] {
            archive.start_file(file, stored).unwrap();
            archive.write_all(&vec![b'm'; length]).unwrap();
        }
        let bytes = archive.finish().unwrap().into_inner();
        let agent = http::agent();
        let (url, sent) = serve(bytes.clone(), true);
        let text = crate::index::read_metadata(Ranged::open(&agent, &url).unwrap()).unwrap();
        assert_eq!(text, "m".repeat(100_000));
        let sent = sent.load(std::sync::atomic::Ordering::Relaxed);
        assert!(sent < 300_000, "{sent} of {} bytes", bytes.len());
        let (url, _) = serve(bytes, false);
        assert!(Ranged::open(&agent, &url).is_none());
    }
}
