//! Reads tar archives: POSIX.1-1988 (ustar), POSIX.1-2001 (pax), GNU.
//!
//! The blocks are walked here rather than by the tar crate, which reads a long name of any size
//! into memory and takes an archive cut off between two entries for a whole one.

use std::io::{self, BufReader, Read};

use tar::{EntryType, Header};

use super::target::Target;
use super::{Compression, damaged, truncated};
use crate::error::{Error, Result};

/// Everything in a tar archive is padded to a multiple of this, in bytes.
const BLOCK: u64 = 512;

/// The most bytes of an extension header (a long name, pax records) that are believed.
const MAX_EXTENSION: u64 = 1 << 20;

/// The most memory that a decoder may ask for, in bytes: the largest dictionary of `xz -9` takes 65
/// MiB, `zstd --ultra --long=27` 128 MiB.
const MAX_MEMORY: u64 = 256 << 20;

/// The base-2 logarithm of the largest zstd window accepted, in bytes.
const MAX_WINDOW_LOG: u32 = 27;

/// What extension headers say about the entry that follows them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Unpacks a tar archive from a reader of its compressed bytes, and reads these to their end, which
/// is where checksums are.
pub(super) fn unpack(reader: impl Read, compression: Compression, target: &mut Target<'_>) -> Result<()> {
    let mut reader = decoder(reader, compression).map_err(|error| damaged(&error))?;
    let mut extension = Extension::default();
    while let Some(header) = next_header(&mut reader)? {
        let size = header.entry_size().map_err(|error| damaged(&error))?;
        match header.entry_type() {
            EntryType::GNULongName => extension.path = Some(long_name(&mut reader, size)?),
            EntryType::GNULongLink => extension.link = Some(long_name(&mut reader, size)?),
            EntryType::XHeader => read_pax(&read_extension(&mut reader, size)?, &mut extension)?,
            EntryType::XGlobalHeader => drop(read_extension(&mut reader, size)?),
            _ => entry(&header, std::mem::take(&mut extension), &mut reader, target)?,
        }
    }
    io::copy(&mut reader, &mut io::sink()).map_err(|error| damaged(&error))?;
    Ok(())
}

fn decoder<'a>(reader: impl Read + 'a, compression: Compression) -> io::Result<Box<dyn Read + 'a>> {
    let reader = BufReader::with_capacity(1 << 17, reader);
    let decoder: Box<dyn Read + 'a> = match compression {
        Compression::None => return Ok(Box::new(reader)),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Compression::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(MAX_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Box::new(decoder)
        }
    };
    Ok(Box::new(BufReader::with_capacity(1 << 17, decoder)))
}

/// The next header; `None` at the end marker, a block of zeros.
fn next_header(reader: &mut dyn Read) -> Result<Option<Header>> {
    let mut header = Header::new_old();
    let block = header.as_mut_bytes();
    // Without its end marker an archive is cut short, even if between two entries.
    reader.read_exact(block).map_err(|error| damaged(&error))?;
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    // The checksum counts its own field, bytes 148 to 155, as spaces.
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(index, byte)| u32::from(if (148..156).contains(&index) { b' ' } else { *byte }))
        .sum();
    if header.cksum().ok() != Some(sum) {
        return Err(Error::new("the archive is damaged: a header does not match its checksum"));
    }
    Ok(Some(header))
}

fn entry(
    header: &Header,
    extension: Extension,
    reader: &mut dyn Read,
    target: &mut Target<'_>,
) -> Result<()> {
    let size = match extension.size {
        Some(size) => size,
        None => header.entry_size().map_err(|error| damaged(&error))?,
    };
    let name = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let mut data = reader.take(size);
    if let Some(path) = target.select(&name)? {
        let link = || {
            let link = extension.link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
            link.unwrap_or_default()
        };
        let kind = match header.entry_type() {
            // Before ustar a folder was a file whose name ends so.
            EntryType::Regular if name.ends_with(b"/") => EntryType::Directory,
            kind => kind,
        };
        if size > 0 && matches!(kind, EntryType::Directory | EntryType::Symlink | EntryType::Link) {
            return Err(Error::new(format!(
                "the archive is damaged: `{}` is not a file and has data",
                path.display()
            )));
        }
        match kind {
            EntryType::Regular | EntryType::Continuous => {
                let executable = header.mode().map_err(|error| damaged(&error))? & 0o100 != 0;
                target.file(&path, executable, &mut data, Some(size))?;
            }
            EntryType::Directory => target.directory(&path)?,
            EntryType::Symlink => target.link(&path, &link())?,
            EntryType::Link => target.hard_link(&path, &link())?,
            kind => {
                let what = match kind {
                    EntryType::Char => "a character device",
                    EntryType::Block => "a block device",
                    EntryType::Fifo => "a named pipe",
                    EntryType::GNUSparse => "a sparse file",
                    _ => "of an unknown kind",
                };
                return Err(Error::new(format!("entry `{}` is {what}", path.display())));
            }
        }
    }
    skip(&mut data)?;
    pad(reader, size)
}

/// Reads what is left of an entry's data; less than promised is an error.
fn skip(data: &mut io::Take<impl Read>) -> Result<()> {
    io::copy(data, &mut io::sink()).map_err(|error| damaged(&error))?;
    if data.limit() > 0 { Err(truncated()) } else { Ok(()) }
}

fn pad(reader: &mut dyn Read, size: u64) -> Result<()> {
    skip(&mut reader.take((BLOCK - size % BLOCK) % BLOCK))
}

fn read_extension(reader: &mut dyn Read, size: u64) -> Result<Vec<u8>> {
    if size > MAX_EXTENSION {
        return Err(Error::new(format!("the archive is damaged: an extension header of {size} bytes")));
    }
    let mut bytes = Vec::new();
    let mut data = reader.take(size);
    data.read_to_end(&mut bytes).map_err(|error| damaged(&error))?;
    skip(&mut data)?;
    pad(reader, size)?;
    Ok(bytes)
}

/// A long name of the GNU format; it ends in a zero byte.
fn long_name(reader: &mut dyn Read, size: u64) -> Result<Vec<u8>> {
    let mut name = read_extension(reader, size)?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

/// Reads pax records, `<length> <key>=<value>\n`, where the length in bytes counts the whole record.
fn read_pax(mut bytes: &[u8], extension: &mut Extension) -> Result<()> {
    while !bytes.is_empty() {
        let Some((key, value, rest)) = pax_record(bytes) else {
            return Err(Error::new("the archive is damaged: a pax record is malformed"));
        };
        match key {
            b"path" => extension.path = Some(value.to_vec()),
            b"linkpath" => extension.link = Some(value.to_vec()),
            b"size" => {
                let size = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                extension.size = Some(size.ok_or_else(|| {
                    Error::new("the archive is damaged: a pax record has a malformed size")
                })?);
            }
            key if key.starts_with(b"GNU.sparse.") => return Err(Error::new("it has a sparse file")),
            _ => {}
        }
        bytes = rest;
    }
    Ok(())
}

/// The key and the value of the first record, and the bytes after it.
fn pax_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(bytes.get(..space)?).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((record.get(..equals)?, record.get(equals + 1..)?, bytes.get(length..)?))
}
