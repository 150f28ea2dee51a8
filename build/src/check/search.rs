//! Finding texts in a large file.

/// Every offset at which `needle` occurs in `haystack`, without overlaps (Horspool's algorithm).
pub(super) fn find_all(haystack: &[u8], needle: &[u8]) -> Vec<usize> {
    let length = needle.len();
    let mut found = Vec::new();
    if length == 0 {
        return found;
    }
    let mut skip = [length; 256];
    for (index, byte) in needle.iter().enumerate().take(length - 1) {
        skip[usize::from(*byte)] = length - 1 - index;
    }
    let mut at = 0;
    while let Some(window) = haystack.get(at..at + length) {
        if window == needle {
            found.push(at);
            at += length;
        } else {
            at += skip[usize::from(window[length - 1])];
        }
    }
    found
}

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
    fn finds_what_a_plain_search_finds() {
        let text = b"abracadabra/home/x/home/xab";
        for needle in ["abra", "a", "/home/x", "ab", "zzz", "abracadabra/home/x/home/xab"] {
            let mut expected = Vec::new();
            let mut at = 0;
            while at + needle.len() <= text.len() {
                if &text[at..at + needle.len()] == needle.as_bytes() {
                    expected.push(at);
                    at += needle.len();
                } else {
                    at += 1;
                }
            }
            assert_eq!(find_all(text, needle.as_bytes()), expected, "{needle}");
        }
        assert!(find_all(b"ab", b"abc").is_empty());
        assert!(find_all(b"ab", b"").is_empty());
    }

    #[test]
    fn shows_what_stands_around() {
        let bytes = b"\0\x01built in /root/x\0rest";
        assert_eq!(printable_around(bytes, 11), "built in /root/x");
    }
}
