//! JSON written by hand, as serde_json writes it: for what there is a lot of.
//!
//! Where nothing is optimised, one `format!` of many parts is quicker than appending them one by one: the standard
//! library's own code puts them together.

use std::borrow::Cow;

use crate::report::bytes;

/// Appends what is JSON already.
pub(super) fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Appends an array.
pub(super) fn push_array<'a, T>(out: &mut Vec<u8>, values: &'a [T], push: impl Fn(&mut Vec<u8>, &'a T)) {
    if values.is_empty() {
        return put(out, "[]");
    }
    put(out, "[");
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            put(out, ",");
        }
        push(out, value);
    }
    put(out, "]");
}

/// Appends a string as JSON.
pub(super) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    put(out, &escaped(text));
    out.push(b'"');
}

/// What is between the quotes of a string in JSON.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    let may_be =
        |word| bytes::less_than(word, 0x20) | bytes::equal_to(word, b'"') | bytes::equal_to(word, b'\\');
    let is = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    if bytes::find(text.as_bytes(), 0, may_be, is).is_none() {
        return Cow::Borrowed(text);
    }
    // A string cannot fail to be JSON.
    let quoted = serde_json::to_string(text).unwrap_or_default();
    Cow::Owned(
        quoted
            .get(1..quoted.len().max(2) - 1)
            .unwrap_or_default()
            .to_owned(),
    )
}

/// Appends a number.
pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    if number < 10 {
        out.push(b'0' + number as u8);
    } else {
        put(out, &number.to_string());
    }
}
