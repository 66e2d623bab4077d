//! W3C trace context: a valid one is passed on untouched, a request without one begins a trace.
//!
//! Facts: W3C "Trace Context", level 1, sections 3.2 and 4.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::proxy::hex;

pub(crate) const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// Leaves a valid context as it is. Drops an invalid one, with its state, and begins a trace of `numbers`.
pub(crate) fn keep_or_begin(headers: &mut HeaderMap, numbers: impl FnOnce() -> [u64; 3]) {
    let mut parents = headers.get_all(&PARENT).iter();
    let valid = parents.next().is_some_and(|parent| is_valid(parent.as_bytes()));
    if valid && parents.next().is_none() {
        return;
    }
    headers.remove(&STATE);
    headers.insert(PARENT, begin(numbers()));
}

/// `00-<trace id>-<span id>-01`. It is marked as sampled: unmarked, those behind would record nothing of any request.
fn begin([high, low, span]: [u64; 3]) -> HeaderValue {
    let (high, low, span) = (hex(high), hex(low.max(1)), hex(span.max(1)));
    let text = [b"00-".as_slice(), &high, &low, b"-", &span, b"-01"].concat();
    HeaderValue::from_maybe_shared(Bytes::from(text))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Whether `parent` can be read: by any version that is known, and by what later ones have promised.
pub(crate) fn is_valid(parent: &[u8]) -> bool {
    let Some((known, later)) = parent.split_at_checked(55) else { return false };
    let hex = |from: usize, to: usize| {
        let field = known.get(from..to).unwrap_or_default();
        let fits = field.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
        fits.then_some(field)
    };
    let named = |field: Option<&[u8]>| field.is_some_and(|f| f.iter().any(|b| *b != b'0'));
    let dashes = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
    let version = hex(0, 2);
    let ends = match version {
        Some(b"00") => later.is_empty(),
        Some(_) => later.first().is_none_or(|b| *b == b'-'),
        None => false,
    };
    dashes
        && ends
        && version != Some(b"ff".as_slice())
        && named(hex(3, 35))
        && named(hex(36, 52))
        && hex(53, 55).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_parent_is_valid_in_its_own_version_and_in_later_ones() {
        let rows = [
            (GOOD, true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-", false),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
            ("00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x", false),
            ("", false),
        ];
        for (parent, valid) in rows {
            assert_eq!(is_valid(parent.as_bytes()), valid, "{parent}");
        }
    }

    fn kept(lines: &[(&'static str, &'static str)]) -> Vec<String> {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        headers.extend(lines.iter().map(pair));
        for (name, value) in lines.iter().map(pair).skip(headers.len()) {
            headers.append(name, value);
        }
        keep_or_begin(&mut headers, || [1, 2, 3]);
        headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect()
    }

    #[test]
    fn a_valid_context_is_untouched_and_an_invalid_one_is_replaced() {
        let begun = "traceparent: 00-00000000000000010000000000000002-0000000000000003-01";
        let valid = kept(&[("traceparent", GOOD), ("tracestate", "a=1")]);
        assert_eq!(valid, [format!("traceparent: {GOOD}"), "tracestate: a=1".to_owned()]);
        assert_eq!(kept(&[]), [begun]);
        assert_eq!(kept(&[("tracestate", "a=1")]), [begun]);
        assert_eq!(kept(&[("traceparent", "x"), ("tracestate", "a=1")]), [begun]);
        let mut twice = HeaderMap::new();
        twice.append(PARENT, HeaderValue::from_static(GOOD));
        twice.append(PARENT, HeaderValue::from_static(GOOD));
        keep_or_begin(&mut twice, || [0, 0, 0]);
        assert_eq!(twice.len(), 1);
        assert!(is_valid(twice[PARENT].as_bytes()), "what is begun is valid: {twice:?}");
    }

    proptest! {
        #[test]
        fn whatever_is_valid_has_the_shape_of_a_context(
            parent in "[0-9a-f]{2}[-x][0-9a-fx]{32}-[0-9a-f]{16}-[0-9a-f]{2}.{0,4}",
        ) {
            if is_valid(parent.as_bytes()) {
                let fields: Vec<&str> = parent.splitn(4, '-').collect();
                prop_assert_eq!((fields[0].len(), fields[1].len(), fields[2].len()), (2, 32, 16));
                prop_assert!(u128::from_str_radix(fields[1], 16).unwrap() > 0);
            }
        }

        #[test]
        fn no_bytes_are_too_odd(parent in prop::collection::vec(any::<u8>(), 0..80)) {
            is_valid(&parent);
        }
    }
}
