//! Files named by the SHA-256 of their bytes.

use std::fs;
use std::io::{Read, Write as _};
use std::path::PathBuf;

use super::{Kind, Store, files, held, seal};
use crate::digest::{Digest, Hasher};
use crate::error::{Context as _, Error, Result};

impl Store {
    /// Copies bytes into the store; returns their SHA-256 and their number. What is expected is
    /// checked before anything gets a name: the digest, and, when given, the length in bytes.
    ///
    /// # Errors
    /// When the reader fails, the bytes are not those expected, the store cannot be written or its
    /// file system is full. Nothing is left behind.
    pub fn import_blob(
        &self,
        reader: &mut dyn Read,
        expect: Option<(Digest, Option<u64>)>,
    ) -> Result<(Digest, u64)> {
        let full = |error| self.write_error("cannot write a blob", error);
        let session = self.session()?;
        let mut file = tempfile::Builder::new().prefix("blob-").tempfile_in(session).map_err(full)?;
        let limit = expect.and_then(|(_, size)| size);
        let mut hasher = Hasher::new();
        let mut length = 0_u64;
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = match reader.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.context(|| "cannot read the incoming data".to_owned())?,
            };
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            length += bytes.len() as u64;
            if let Some(limit) = limit.filter(|limit| length > *limit) {
                return Err(Error::new(format!("expected {limit} bytes but found more")));
            }
            hasher.update(bytes);
            file.write_all(bytes).map_err(full)?;
        }
        let (digest, size) = hasher.finish();
        if let Some((expected, expected_size)) = expect {
            if let Some(expected_size) = expected_size.filter(|expected_size| *expected_size != size) {
                return Err(Error::new(format!("expected {expected_size} bytes but found {size}"))
                    .hint("the data is cut short; fetch it again"));
            }
            if expected != digest {
                return Err(Error::new(format!("expected sha256 `{expected}` but found `{digest}`")));
            }
        }
        seal(file.as_file(), false).map_err(full)?;
        file.as_file().sync_all().map_err(full)?;
        let path = self.blob_path(digest);
        let parent = self.base.join("blobs").join(prefix(digest));
        fs::create_dir_all(&parent).map_err(full)?;
        // Replaces what may be there: the same bytes, or damaged ones.
        file.persist(&path).map_err(|error| full(error.error))?;
        files::sync_directory(&parent).map_err(full)?;
        held(&self.verified).insert((Kind::Blob, digest));
        Ok((digest, size))
    }

    /// The file with these bytes, if the store has it. It is read and checked once for each open
    /// store; a damaged one is removed, with a warning, and `None` returned.
    ///
    /// # Errors
    /// When the store cannot be read, or something damaged not removed.
    pub fn blob(&self, digest: Digest) -> Result<Option<PathBuf>> {
        let path = self.blob_path(digest);
        Ok(self.verify(Kind::Blob, digest, &path)?.then_some(path))
    }

    /// The length in bytes of a file of the store, which is not checked; nothing when the store does not have it.
    #[must_use]
    pub fn blob_size(&self, digest: Digest) -> Option<u64> {
        fs::metadata(self.blob_path(digest)).ok().map(|metadata| metadata.len())
    }

    pub(super) fn blob_path(&self, digest: Digest) -> PathBuf {
        self.base.join("blobs").join(prefix(digest)).join(digest.to_string())
    }
}

/// Two digits: 256 directories, so that none gets too long.
fn prefix(digest: Digest) -> String {
    digest.to_string().chars().take(2).collect()
}
