//! Text as XML can hold it.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::report::bytes;

/// Text as XML 1.0 can hold it: characters it forbids are shown as `#x1B`.
pub fn clean(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let may_be = |word| bytes::less_than(word, 0x20) | bytes::equal_to(word, 0xEF);
    let is = |byte: u8| byte < 0x20 || byte == 0xEF;
    let mut cleaned = String::new();
    let (mut copied, mut from) = (0, 0);
    while let Some(at) = bytes::find(bytes, from, may_be, is) {
        from = at + 1;
        if let Some(forbidden) = forbidden(&bytes[at..]) {
            cleaned.push_str(&text[copied..at]);
            // Writing to a String cannot fail.
            let _ = write!(cleaned, "#x{:X}", u32::from(forbidden));
            from = at + forbidden.len_utf8();
            copied = from;
        }
    }
    if cleaned.is_empty() {
        return Cow::Borrowed(text);
    }
    cleaned.push_str(&text[copied..]);
    Cow::Owned(cleaned)
}

/// The character that begins here, if XML 1.0 forbids it.
fn forbidden(bytes: &[u8]) -> Option<char> {
    match *bytes {
        [b'\t' | b'\n' | b'\r', ..] => None,
        [control, ..] if control < 0x20 => Some(char::from(control)),
        [0xEF, 0xBF, 0xBE, ..] => Some('\u{FFFE}'),
        [0xEF, 0xBF, 0xBF, ..] => Some('\u{FFFF}'),
        _ => None,
    }
}

/// The text cleaned for a CDATA section: `]]>` is split over two.
pub(super) fn cdata(text: String) -> String {
    let clean = match clean(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(cleaned) => cleaned,
    };
    // Looking for one character is quick, and nearly always the end of it.
    if clean.contains('>') && clean.contains("]]>") {
        clean.replace("]]>", "]]]]><![CDATA[>")
    } else {
        clean
    }
}

/// Appends clean text as the value of an attribute. Line breaks and tabs become references: as they are,
/// every reader makes spaces of them.
pub(super) fn push_attribute(out: &mut Vec<u8>, name: &str, clean: &str) {
    // Numbers are most of it, and stay as they are.
    let (mut value, bytes) = (Cow::Borrowed(clean), clean.as_bytes());
    let mut at = 0;
    while at < bytes.len() && matches!(bytes[at], b'0'..=b'9' | b'.') {
        at += 1;
    }
    if at < bytes.len() {
        value = Cow::Owned(escaped(clean, true));
    }
    out.extend_from_slice(format!(" {name}=\"{value}\"").as_bytes());
}

/// Appends clean text as text.
pub(super) fn push_text(out: &mut Vec<u8>, clean: &str) {
    out.extend_from_slice(escaped(clean, false).as_bytes());
}

fn escaped(clean: &str, keep_lines: bool) -> String {
    let mut escaped = String::with_capacity(clean.len() + 16);
    for character in clean.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\r' | '\t' if keep_lines => escaped.push_str(line_reference(character as u8)),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A line break or a tab as a reference.
pub(super) fn line_reference(byte: u8) -> &'static str {
    match byte {
        b'\n' => "&#xA;",
        b'\r' => "&#xD;",
        _ => "&#x9;",
    }
}
