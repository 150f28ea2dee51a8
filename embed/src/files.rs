//! Files in a grant that a guest must not open, those that can keep whoever opens them waiting; and those that it cannot
//! name.
//!
//! Opening a FIFO waits until somebody opens its other end, with a thread of ours that no time limit frees, and devices
//! may wait in other ways. WASI has no words for them either. So `open-at`, and `set-times-at`, which opens what it is
//! given, look at the kind of file first. Who can rename files in a grant that has a FIFO can still change one for the
//! other in between; what is lost then is that thread.
//!
//! Names are UTF-8 in WASI. A directory in which one is not lists the others.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor as Opened, OpenMode, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, DirectoryEntryStream, ErrorCode, HostDescriptor,
    HostDirectoryEntryStream, NewTimestamp, OpenFlags, PathFlags,
};

use crate::bindings::Guest;

/// The interface as the engine offers it; components may import any version that this one is compatible with.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

type Outcome<T> = (Result<T, ErrorCode>,);
type Opening = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);
type SettingTimes = (Resource<Descriptor>, PathFlags, String, NewTimestamp, NewTimestamp);

/// Puts our functions before those of WASI.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, Guest>, (directory, follow, path, how, flags): Opening| {
            Box::new(async move {
                let mut files = store.data_mut().filesystem();
                let opened = match check(&mut files, &directory, follow, &path).await {
                    Ok(()) => files.open_at(directory, follow, path, how, flags).await,
                    refused => refused.map(|()| directory),
                };
                outcome(opened)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.set-times-at",
        |mut store: StoreContextMut<'_, Guest>, (directory, follow, path, access, change): SettingTimes| {
            Box::new(async move {
                let mut files = store.data_mut().filesystem();
                let set = match check(&mut files, &directory, follow, &path).await {
                    Ok(()) => files.set_times_at(directory, follow, path, access, change).await,
                    refused => refused,
                };
                outcome(set)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]directory-entry-stream.read-directory-entry",
        |mut store: StoreContextMut<'_, Guest>, (stream,): (Resource<DirectoryEntryStream>,)| {
            Box::new(async move {
                let mut files = store.data_mut().filesystem();
                loop {
                    let entry = files.read_directory_entry(Resource::new_borrow(stream.rep())).await;
                    match outcome(entry)? {
                        (Err(ErrorCode::IllegalByteSequence),) => {}
                        read => return Ok(read),
                    }
                }
            })
        },
    )
}

/// Refuses what is there and is neither a file, a directory nor a link that is not followed.
async fn check(
    files: &mut WasiFilesystemCtxView<'_>,
    directory: &Resource<Descriptor>,
    follow: PathFlags,
    path: &str,
) -> FsResult<()> {
    let directory = Resource::new_borrow(directory.rep());
    // What cannot be looked at is not opened either: it fails by itself, with its own error.
    let Ok(found) = files.stat_at(directory, follow, path.to_owned()).await else { return Ok(()) };
    match found.type_ {
        DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink => Ok(()),
        _ => Err(ErrorCode::NotPermitted.into()),
    }
}

/// The files that are open for writing, each once.
pub(crate) fn being_written(table: &mut ResourceTable) -> Vec<PathBuf> {
    let open = table.iter_mut().filter_map(|entry| match entry.downcast_ref::<Opened>()? {
        Opened::File(file) if file.open_mode.contains(OpenMode::WRITE) => path_of(&file.file),
        _ => None,
    });
    open.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(target_os = "linux")]
fn path_of(file: &File) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file))).ok()
}

#[cfg(not(target_os = "linux"))]
fn path_of(_: &File) -> Option<PathBuf> {
    None
}

/// What the guest gets, or a trap.
fn outcome<T>(result: FsResult<T>) -> wasmtime::Result<Outcome<T>> {
    Ok(match result {
        Ok(value) => (Ok(value),),
        Err(error) => (Err(error.downcast()?),),
    })
}
