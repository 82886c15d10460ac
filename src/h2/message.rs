//! What makes a request, a response or trailers well formed (RFC 9113 §8.1 to §8.3).

use super::Header;
use bytes::Bytes;

/// Why a message is malformed; a stream error of type PROTOCOL_ERROR (§8.1.1).
type Malformed = &'static str;

/// What the headers of a message say about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// The `content-length`.
    pub(super) length: Option<u64>,
}

/// What the headers of a response begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// An interim response (1xx); another one follows.
    Informational,
    /// The response.
    Final(Body),
}

/// Checks the headers of a request (§8.3.1, §8.5).
pub(super) fn check_request(headers: &[Header]) -> Result<Body, Malformed> {
    let (pseudo, fields) = split_pseudo(headers);
    let [mut method, mut scheme, mut path, mut authority] = [None; 4];
    for Header { name, value } in pseudo {
        let place = match &name[..] {
            b":method" => &mut method,
            b":scheme" => &mut scheme,
            b":path" => &mut path,
            b":authority" => &mut authority,
            _ => return Err("an unknown pseudo-header in a request"),
        };
        check_value(value)?;
        if place.replace(value).is_some() {
            return Err("a pseudo-header twice");
        }
    }
    let method: &Bytes = method.ok_or("a request without :method")?;
    if method == "CONNECT" {
        if scheme.is_some() || path.is_some() || authority.is_none() {
            return Err("a CONNECT with :scheme or :path, or without :authority");
        }
    } else {
        scheme.ok_or("a request without :scheme")?;
        let path = path.ok_or("a request without :path")?;
        if path.is_empty() {
            return Err("an empty :path");
        }
    }
    check_fields(fields, authority)
}

/// Checks the headers of a response (§8.3.2).
pub(super) fn check_response(headers: &[Header]) -> Result<Response, Malformed> {
    let (pseudo, fields) = split_pseudo(headers);
    let [Header { name, value }] = pseudo else {
        return Err("a response needs :status and no other pseudo-header");
    };
    if name != ":status" {
        return Err("an unknown pseudo-header in a response");
    }
    let body = check_fields(fields, None)?;
    match &value[..] {
        b"101" => Err("status 101, which HTTP/2 does not have"),
        [b'1', b'0'..=b'9', b'0'..=b'9'] => Ok(Response::Informational),
        [b'2'..=b'9', b'0'..=b'9', b'0'..=b'9'] => Ok(Response::Final(body)),
        _ => Err("a :status that is not three digits"),
    }
}

/// Checks the fields after a body (§8.1): no pseudo-headers.
pub(super) fn check_trailers(headers: &[Header]) -> Result<(), Malformed> {
    check_fields(headers, None).map(|_| ())
}

/// The pseudo-headers at the start, and the rest. A later one is then found to be no field name.
fn split_pseudo(headers: &[Header]) -> (&[Header], &[Header]) {
    let first_field = headers
        .iter()
        .position(|header| header.name.first() != Some(&b':'));
    headers.split_at(first_field.unwrap_or(headers.len()))
}

fn check_fields(fields: &[Header], authority: Option<&Bytes>) -> Result<Body, Malformed> {
    let mut body = Body { length: None };
    for Header { name, value } in fields {
        check_name(name)?;
        check_value(value)?;
        match &name[..] {
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding"
            | b"upgrade" => return Err("a field that is about an HTTP/1.1 connection"),
            b"te" if value != "trailers" => return Err("te other than trailers"),
            b"host" if authority.is_some_and(|authority| authority != value) => {
                return Err("host and :authority differ");
            }
            b"content-length" => {
                let length = Some(parse_length(value)?);
                if body.length.is_some_and(|_| body.length != length) {
                    return Err("two content-lengths that differ");
                }
                body.length = length;
            }
            _ => {}
        }
    }
    Ok(body)
}

fn check_name(name: &[u8]) -> Result<(), Malformed> {
    let is_valid = |byte: &u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'A'..=b'Z' | b':');
    if name.is_empty() || !name.iter().all(is_valid) {
        return Err("a field name with a character that is not allowed");
    }
    Ok(())
}

fn check_value(value: &[u8]) -> Result<(), Malformed> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if is_blank(value.first()) || is_blank(value.last()) {
        return Err("a field value that begins or ends with a blank");
    }
    if value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err("a field value with NUL, CR or LF");
    }
    Ok(())
}

fn parse_length(value: &[u8]) -> Result<u64, Malformed> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err("a content-length that is no number");
    }
    let mut digits = value.iter().map(|digit| u64::from(digit - b'0'));
    let length = digits.try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(digit));
    length.ok_or("a content-length beyond 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [(&str, &str); 4] = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a:1"),
    ];

    fn list(fields: &[(&'static str, &'static str)]) -> Vec<Header> {
        fields
            .iter()
            .map(|(name, value)| Header::from_static(name, value))
            .collect()
    }

    fn request_with(more: &[(&'static str, &'static str)]) -> Result<Body, Malformed> {
        check_request(&list(&[&REQUEST[..], more].concat()))
    }

    #[test]
    fn a_request_with_all_pseudo_headers_is_well_formed() {
        assert_eq!(
            request_with(&[("te", "trailers"), ("x", "")]),
            Ok(Body { length: None })
        );
        assert_eq!(
            request_with(&[("content-length", "12")]),
            Ok(Body { length: Some(12) })
        );
    }

    #[test]
    fn a_request_needs_each_pseudo_header_once() {
        for missing in 0..3 {
            let mut headers = list(&REQUEST);
            headers.remove(missing);
            assert!(check_request(&headers).is_err(), "{missing}");
        }
        for doubled in REQUEST {
            let headers = list(&[&REQUEST[..], &[doubled]].concat());
            assert_eq!(check_request(&headers), Err("a pseudo-header twice"));
        }
        assert!(request_with(&[(":status", "200")]).is_err());
        assert!(request_with(&[("x", "y"), (":method", "POST")]).is_err());
    }

    #[test]
    fn connect_has_an_authority_and_neither_scheme_nor_path() {
        let connect = |more: &[(&'static str, &'static str)]| {
            check_request(&list(&[&[(":method", "CONNECT")], more].concat()))
        };
        assert!(connect(&[(":authority", "a:1")]).is_ok());
        assert!(connect(&[]).is_err());
        assert!(connect(&[(":authority", "a:1"), (":path", "/")]).is_err());
        assert!(connect(&[(":authority", "a:1"), (":scheme", "http")]).is_err());
    }

    #[test]
    fn field_names_are_visible_lower_case_ascii_without_colon() {
        for name in ["", "Upper", "a b", "\u{1}a", "a\u{7f}", "é", "a:b"] {
            assert!(request_with(&[(name, "v")]).is_err(), "{name:?}");
        }
    }

    #[test]
    fn field_values_have_no_line_ends_and_no_blanks_around_them() {
        for value in [" a", "a ", "\ta", "a\t", "a\nb", "a\rb", "a\0b", " "] {
            assert!(request_with(&[("name", value)]).is_err(), "{value:?}");
        }
        assert!(request_with(&[("name", "a b\tc")]).is_ok());
    }

    #[test]
    fn fields_about_an_http_1_connection_are_malformed() {
        for name in [
            "connection",
            "proxy-connection",
            "keep-alive",
            "transfer-encoding",
            "upgrade",
        ] {
            assert!(request_with(&[(name, "x")]).is_err(), "{name}");
        }
        assert!(request_with(&[("te", "gzip")]).is_err());
    }

    #[test]
    fn host_must_equal_the_authority() {
        assert!(request_with(&[("host", "a:1")]).is_ok());
        assert!(request_with(&[("host", "b:1")]).is_err());
    }

    #[test]
    fn content_lengths_must_be_one_number() {
        for value in ["", "-1", "+1", "1,1", "0x1", "18446744073709551616"] {
            assert!(
                request_with(&[("content-length", value)]).is_err(),
                "{value}"
            );
        }
        let two =
            |first, second| request_with(&[("content-length", first), ("content-length", second)]);
        assert!(two("1", "1").is_ok());
        assert!(two("1", "2").is_err());
    }

    #[test]
    fn a_response_has_a_status_of_three_digits_and_nothing_else() {
        let check = |status| check_response(&list(&[(":status", status), ("x", "y")]));
        assert_eq!(check("200"), Ok(Response::Final(Body { length: None })));
        assert_eq!(check("103"), Ok(Response::Informational));
        for status in ["", "20", "2000", "abc", "101", "099"] {
            assert!(check(status).is_err(), "{status}");
        }
        assert!(check_response(&list(&[("x", "y")])).is_err());
        assert!(check_response(&list(&[(":status", "200"), (":path", "/")])).is_err());
    }

    #[test]
    fn trailers_have_no_pseudo_headers() {
        assert!(check_trailers(&list(&[("grpc-status", "0")])).is_ok());
        assert!(check_trailers(&list(&[(":status", "200")])).is_err());
    }
}
