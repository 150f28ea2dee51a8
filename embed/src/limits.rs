//! Limits of time and memory, and how they are written on the command line.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::error::Error as Message;
use crate::failure::{Error, Result};
use crate::setters::setters;

/// What one instance may use. The default limits nothing; [`Limits::untrusted`] is for code of others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest that the start and, separately, each call may take.
    ///
    /// Python code that runs over it gets the exception `eryx.Stopped`, again and again if it catches it, and has half a
    /// second to end the call; after that the session is over. The call ends with [`Error::TimeLimit`] either way. This
    /// costs nothing while the code runs: the exception is requested by a bit that CPython looks at anyway. A guest that
    /// waits is stopped likewise.
    pub timeout: Option<Duration>,
    /// Whether native code of the guest is stopped, too: a loop in a C extension that neither runs Python code nor asks
    /// for signals, and Python code that resists (it has means to, when it is hostile).
    ///
    /// The component is then compiled a second time, for an engine whose code looks at a counter in every loop and
    /// function: that costs about a fifth of its speed. Without it such a guest runs on; a program that runs one
    /// sandbox and then ends, as `eryx-build run` does, can as well end itself.
    pub stop_native_code: bool,
    /// The most linear memory of an instance, in bytes, over all its memories. A request beyond it
    /// is refused, which a Python program sees as `MemoryError`.
    pub max_memory: Option<u64>,
    /// The most entries that all tables of an instance may have; they grow when functions are made at run time, which
    /// Python does not do. A request beyond it is refused.
    pub max_table: Option<u64>,
    /// The most that an instance may write to standard output and standard error, and in trace events, in bytes. What
    /// goes beyond it is not written, which a Python program sees as `OSError` (`ENOSPC`). Each answer of a call, and each
    /// traceback, is cut at this length, too.
    pub max_output: Option<u64>,
    /// The most that the files of an instance in memory (`/tmp`, `/home/sandbox`) may have, in bytes, with their names and
    /// bookkeeping. What goes beyond it is not written, which a Python program sees as `OSError` (`ENOSPC`). Without it, it
    /// is 256 MiB.
    pub max_tmp: Option<u64>,
    /// The most that an instance may pass to the embedder at once, in bytes: a snapshot, or the arguments of all callbacks
    /// under way. More arguments are refused; a snapshot that is larger ends the session with
    /// [`Error::TransferLimit`]. Without it, it is 1 GiB.
    pub max_transfer: Option<u64>,
}

setters!(Limits {
    timeout: Option<Duration>,
    stop_native_code: bool,
    max_memory: Option<u64>,
    max_table: Option<u64>,
    max_output: Option<u64>,
    max_tmp: Option<u64>,
    max_transfer: Option<u64>,
});

impl Limits {
    /// The most that a guest may pass at once without another limit, in bytes: a snapshot of a large session must fit.
    const TRANSFER: u64 = 1 << 30;
    /// What answers and small calls have in any case.
    const LEAST_TRANSFER: u64 = 64 << 10;

    /// Limits for code that nobody answers for, to be changed as need be: 5 seconds, every loop stopped, 256 MiB of memory,
    /// 1 MiB of output, 16 MiB at once.
    ///
    /// That every loop is stopped costs about a fifth of the speed; see [`Limits::stop_native_code`].
    #[must_use]
    pub fn untrusted() -> Self {
        Self {
            timeout: Some(Duration::from_secs(5)),
            stop_native_code: true,
            max_memory: Some(256 << 20),
            max_table: Some(1 << 17),
            max_output: Some(1 << 20),
            max_tmp: None,
            max_transfer: Some(16 << 20),
        }
    }

    /// [`Limits::max_transfer`], or what stands for it.
    pub(super) fn transfer(&self) -> u64 {
        self.max_transfer.unwrap_or(Self::TRANSFER)
    }

    /// The most that any one call may take from the guest's memory, in bytes.
    pub(super) fn largest_call(&self) -> usize {
        let most = self.transfer().max(self.max_output.unwrap_or(0)).saturating_add(Self::LEAST_TRANSFER);
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}

/// Adds up the memories of an instance and refuses growth beyond the limit.
#[derive(Debug, Default)]
pub(super) struct MemoryLimiter {
    max: Option<u64>,
    max_table: Option<u64>,
    used: u64,
    table_used: u64,
    /// The total that the last refused request would have led to, in bytes.
    pub(super) refused: Option<u64>,
}

impl MemoryLimiter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { max: limits.max_memory, max_table: limits.max_table, ..Self::default() }
    }

    /// The limit and the total that was refused, when that happened since the last [`Self::forget`].
    pub(super) fn overrun(&self) -> Option<(u64, u64)> {
        self.max.zip(self.refused)
    }

    pub(super) fn forget(&mut self) {
        self.refused = None;
    }

    /// The bytes of linear memory in use.
    pub(super) fn used(&self) -> u64 {
        self.used
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.used.saturating_add(desired.saturating_sub(current) as u64);
        if self.max.is_some_and(|max| total > max) {
            self.refused = Some(total);
            return Ok(false);
        }
        // The engine itself refuses what is beyond the memory's own maximum: that is no growth.
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.used = total;
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_used.saturating_add(desired.saturating_sub(current) as u64);
        if self.max_table.is_some_and(|max| total > max) {
            return Ok(false);
        }
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.table_used = total;
        }
        Ok(true)
    }
}

/// Reads a duration such as `30`, `1.5s`, `200ms` or `2m`; a bare number is in seconds.
///
/// # Errors
/// When the text is no such duration, or is zero.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let malformed = || {
        let message = Message::new(format!("expected a duration but found `{text}`"));
        Error::Malformed(
            message.hint("write seconds such as `30` or `1.5`, or use a unit: `200ms`, `30s`, `2m`, `1h`"),
        )
    };
    let (number, unit) = split_unit(text);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(malformed()),
    };
    let number: f64 = number.parse().map_err(|_| malformed())?;
    let duration = Duration::try_from_secs_f64(number * scale).map_err(|_| malformed())?;
    if duration.is_zero() { Err(malformed()) } else { Ok(duration) }
}

/// Reads a size in bytes such as `268435456`, `256M` or `1.5GiB`; units are powers of 1024.
///
/// # Errors
/// When the text is no such size, or is zero.
pub fn parse_size(text: &str) -> Result<u64> {
    let malformed = || {
        let message = Message::new(format!("expected a size but found `{text}`"));
        Error::Malformed(
            message.hint("write bytes such as `268435456`, or use a unit: `512K`, `256M`, `1.5G`"),
        )
    };
    let (number, unit) = split_unit(text);
    let scale: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(malformed()),
    };
    let size = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(scale).ok_or_else(malformed)?,
        Err(_) => {
            let number: f64 = number.parse().map_err(|_| malformed())?;
            let bytes = number * scale as f64;
            if !bytes.is_finite() || bytes > (1_u64 << 53) as f64 {
                return Err(malformed());
            }
            bytes as u64
        }
    };
    if size == 0 { Err(malformed()) } else { Ok(size) }
}

/// Splits before the first character that cannot be part of a number.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// A duration as told to the user, such as `1.5 s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{} s", duration.as_millis() as f64 / 1000.0)
    }
}

/// A size as told to the user, such as `64 MiB`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (name, scale) in UNITS {
        if bytes >= scale {
            let tenths = (bytes as f64 / scale as f64 * 10.0).round() / 10.0;
            return format!("{tenths} {name}");
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in
            [("30", 30_000), ("1.5", 1500), ("200ms", 200), ("2 m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "0", "s", "-1", "1x", "1.2.3", "1e400", "nan", "inf"] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert_eq!(
                error.lines().next(),
                Some(format!("expected a duration but found `{text}`").as_str())
            );
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [("17", 17), ("512K", 512 << 10), ("256MiB", 256 << 20), ("1.5g", 3 << 29)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "M", "-1", "1T", "99999999999999999999", "18446744073709551615K"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_told_briefly() {
        assert_eq!(format_size(64 << 20), "64 MiB");
        assert_eq!(format_size(1000), "1000 bytes");
        assert_eq!(format_size((3 << 30) / 2), "1.5 GiB");
        assert_eq!(format_duration(Duration::from_millis(200)), "200 ms");
        assert_eq!(format_duration(Duration::from_millis(1500)), "1.5 s");
        assert_eq!(format_duration(Duration::from_secs(2)), "2 s");
    }

    #[test]
    fn the_limit_counts_all_memories() {
        let limits = Limits { max_memory: Some(100), max_table: Some(10), ..Limits::default() };
        let mut limiter = MemoryLimiter::new(&limits);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.memory_growing(40, 41, None).unwrap());
        assert_eq!((limiter.used(), limiter.overrun()), (100, Some((100, 101))));
        limiter.forget();
        assert_eq!(limiter.overrun(), None);
        assert!(limiter.table_growing(0, 10, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
    }
}
