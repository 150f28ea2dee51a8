//! Showing where in a large file a text was found.

/// The printable characters around an offset, for a message.
pub(super) fn printable_around(bytes: &[u8], offset: usize) -> String {
    const REACH: usize = 60;
    let printable = |byte: &&u8| byte.is_ascii_graphic() || **byte == b' ';
    let (before, after) = bytes.split_at(offset.min(bytes.len()));
    let mut text: Vec<u8> = before.iter().rev().take(REACH / 3).take_while(printable).copied().collect();
    text.reverse();
    text.extend(after.iter().take(REACH).take_while(printable));
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_stands_around() {
        let bytes = b"\0\x01built in /root/x\0rest";
        assert_eq!(printable_around(bytes, 11), "built in /root/x");
    }
}
