//! The headers around a call: request, response, trailers.

use super::{Code, Status, percent, timeout};
use crate::h2::{ErrorCode, Header};
use bytes::Bytes;
use std::time::Duration;

/// Longest `grpc-message` before its encoding, in bytes. Clients take header lists of 8 or 16 KiB
/// and fail calls beyond, and a message may quote what a client sent, such as a long path.
const STATUS_MESSAGE_MAX_BYTES: usize = 1024;

/// What a server needs to know of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `/package.Service/Method`.
    pub path: Bytes,
    /// How long the caller waits, if it said so.
    pub timeout: Option<Duration>,
}

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not gRPC at all: answer with this HTTP status and a body, by [`plain_response`], after the
    /// request has ended.
    Http(u16),
    /// gRPC, but not valid: answer with [`trailers_only`].
    Grpc(Status),
}

/// The value of the first field with this name.
pub fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a Bytes> {
    headers
        .iter()
        .find(|header| header.name == name.as_bytes())
        .map(|header| &header.value)
}

/// Reads the headers of a request.
///
/// # Errors
/// 405 for another method than POST, 415 for another content type than gRPC's, INTERNAL for a
/// malformed `grpc-timeout`, UNIMPLEMENTED for a compression (`grpc-encoding`) other than identity.
pub fn parse_request(headers: &[Header]) -> Result<Call, Refusal> {
    if !header(headers, "content-type").is_some_and(|value| is_grpc(value)) {
        return Err(Refusal::Http(415));
    }
    if header(headers, ":method").is_none_or(|method| method != "POST") {
        return Err(Refusal::Http(405));
    }
    let timeout = match header(headers, "grpc-timeout") {
        None => None,
        Some(value) => Some(timeout::decode(value).ok_or_else(|| {
            let text = format!(
                "malformed grpc-timeout {:?}",
                String::from_utf8_lossy(value)
            );
            Refusal::Grpc(Status::new(Code::Internal, text))
        })?),
    };
    if let Some(encoding) = header(headers, "grpc-encoding").filter(|value| *value != "identity") {
        let name = String::from_utf8_lossy(encoding);
        let text = format!("grpc-encoding {name:?} is not spoken here, only identity");
        return Err(Refusal::Grpc(Status::new(Code::Unimplemented, text)));
    }
    let path = header(headers, ":path").cloned().unwrap_or_default();
    Ok(Call { path, timeout })
}

fn is_grpc(content_type: &[u8]) -> bool {
    match content_type.strip_prefix(b"application/grpc") {
        Some([]) | Some([b'+' | b';', ..]) => true,
        Some(_) | None => false,
    }
}

/// The headers of a client's request.
pub fn request_headers(
    authority: impl Into<Bytes>,
    path: &'static str,
    timeout: Option<Duration>,
) -> Vec<Header> {
    let mut headers = vec![
        Header::from_static(":method", "POST"),
        Header::from_static(":scheme", "http"),
        Header::from_static(":path", path),
        Header::new(":authority", authority),
        Header::from_static("te", "trailers"),
        Header::from_static("content-type", "application/grpc"),
        Header::from_static("user-agent", concat!("raftkv/", env!("CARGO_PKG_VERSION"))),
    ];
    headers.extend(timeout.map(|left| Header::new("grpc-timeout", timeout::encode(left))));
    headers
}

/// The headers before a server's messages.
pub fn response_headers() -> &'static [Header] {
    static HEADERS: [Header; 2] = [
        Header::from_static(":status", "200"),
        Header::from_static("content-type", "application/grpc"),
    ];
    &HEADERS
}

/// The trailers after a server's messages. `metadata` follows the status.
pub fn trailers(status: &Status, metadata: &[Header]) -> Vec<Header> {
    with_status(Vec::with_capacity(2 + metadata.len()), status, metadata)
}

/// The one header block of an answer without messages, for `send_headers` with `end_stream`.
pub fn trailers_only(status: &Status, metadata: &[Header]) -> Vec<Header> {
    let mut headers = response_headers().to_vec();
    if status.code == Code::Unimplemented {
        // A client whose grpc-encoding is not spoken learns from this what is.
        headers.push(Header::from_static("grpc-accept-encoding", "identity"));
    }
    with_status(headers, status, metadata)
}

/// The status as fields. Its message is cut at [`STATUS_MESSAGE_MAX_BYTES`].
fn with_status(mut headers: Vec<Header>, status: &Status, metadata: &[Header]) -> Vec<Header> {
    headers.push(Header::from_static("grpc-status", status.code.digits()));
    if !status.message.is_empty() {
        let text = percent::encode(start_of(&status.message)).into_owned();
        headers.push(Header::new("grpc-message", text));
    }
    headers.extend_from_slice(metadata);
    headers
}

/// As much of a message as is sent.
fn start_of(message: &str) -> &str {
    let mut ends = (0..=STATUS_MESSAGE_MAX_BYTES.min(message.len())).rev();
    let end = ends.find(|end| message.is_char_boundary(*end));
    &message[..end.unwrap_or(0)]
}

/// The headers and the body of an answer to a request that is not gRPC.
pub fn plain_response(http_status: u16) -> ([Header; 2], Bytes) {
    let headers = [
        Header::new(":status", http_status.to_string()),
        Header::from_static("content-type", "text/plain"),
    ];
    (
        headers,
        Bytes::from_static(b"this port speaks gRPC: POST with content-type application/grpc\n"),
    )
}

/// Reads the headers of a response: `None` when messages may follow, else the status of an answer
/// without messages, or the one that stands for what is no gRPC answer at all.
pub fn parse_response(headers: &[Header]) -> Option<Status> {
    let http_status = header(headers, ":status").map_or(&b""[..], |value| value);
    if let Some(status) = read_status(headers) {
        return Some(status);
    }
    if http_status != b"200" {
        let code = match http_status {
            b"400" => Code::Internal,
            b"401" => Code::Unauthenticated,
            b"403" => Code::PermissionDenied,
            b"404" => Code::Unimplemented,
            b"429" | b"502" | b"503" | b"504" => Code::Unavailable,
            _ => Code::Unknown,
        };
        let text = format!(
            "HTTP status {}, not gRPC",
            String::from_utf8_lossy(http_status)
        );
        return Some(Status::new(code, text));
    }
    let content_type = header(headers, "content-type").map_or(&b""[..], |value| value);
    if !is_grpc(content_type) {
        let name = String::from_utf8_lossy(content_type);
        return Some(Status::new(
            Code::Unknown,
            format!("content-type {name:?}, not gRPC"),
        ));
    }
    None
}

/// Reads the status of a call from its trailers. None there: [`Code::Unknown`], as gRPC's
/// document asks.
pub fn parse_status(trailers: &[Header]) -> Status {
    read_status(trailers)
        .unwrap_or_else(|| Status::new(Code::Unknown, "the answer ended without grpc-status"))
}

fn read_status(headers: &[Header]) -> Option<Status> {
    let digits = header(headers, "grpc-status")?;
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok());
    let code = number.map_or(Code::Unknown, Code::from_number);
    let message = header(headers, "grpc-message").map_or(String::new(), |it| percent::decode(it));
    Some(Status { code, message })
}

/// The status of a call that RST_STREAM broke off (`grpc/grpc`, doc/PROTOCOL-HTTP2.md, "Errors").
pub fn reset_status(code: ErrorCode) -> Status {
    let grpc = match code {
        ErrorCode::REFUSED_STREAM => Code::Unavailable,
        ErrorCode::CANCEL => Code::Cancelled,
        ErrorCode::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        ErrorCode::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    };
    Status::new(grpc, format!("the stream was reset with {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(more: &[(&'static str, &'static str)]) -> Result<Call, Refusal> {
        let mut headers = vec![
            Header::from_static(":method", "POST"),
            Header::from_static(":path", "/a.B/C"),
        ];
        headers.extend(
            more.iter()
                .map(|(name, value)| Header::from_static(name, value)),
        );
        parse_request(&headers)
    }

    const GRPC: (&str, &str) = ("content-type", "application/grpc");

    fn code(refused: Result<Call, Refusal>) -> Option<Code> {
        match refused {
            Err(Refusal::Grpc(status)) => Some(status.code),
            _ => None,
        }
    }

    #[test]
    fn a_request_is_known_by_its_content_type() {
        for accepted in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=x",
        ] {
            assert!(request(&[("content-type", accepted)]).is_ok(), "{accepted}");
        }
        for refused in ["", "text/plain", "application/grpc-web", "application/json"] {
            let refusal = request(&[("content-type", refused)]);
            assert_eq!(refusal, Err(Refusal::Http(415)), "{refused}");
        }
        assert_eq!(request(&[]), Err(Refusal::Http(415)));
    }

    #[test]
    fn only_post_is_a_call() {
        let headers = [
            Header::from_static(":method", "GET"),
            Header::from_static("content-type", "application/grpc"),
        ];
        assert_eq!(parse_request(&headers), Err(Refusal::Http(405)));
    }

    #[test]
    fn path_and_timeout_are_read() {
        let call = request(&[GRPC, ("grpc-timeout", "5010m")]).unwrap();
        assert_eq!(call.path, "/a.B/C");
        assert_eq!(call.timeout, Some(Duration::from_millis(5_010)));
        assert_eq!(request(&[GRPC]).unwrap().timeout, None);
    }

    #[test]
    fn a_malformed_timeout_is_an_internal_error() {
        let refused = request(&[GRPC, ("grpc-timeout", "123456789m")]);
        assert_eq!(code(refused), Some(Code::Internal));
    }

    #[test]
    fn an_encoding_we_do_not_speak_is_unimplemented_and_the_answer_names_ours() {
        assert!(request(&[GRPC, ("grpc-encoding", "identity")]).is_ok());
        let Err(Refusal::Grpc(status)) = request(&[GRPC, ("grpc-encoding", "gzip")]) else {
            panic!("gzip is not spoken");
        };
        assert_eq!(status.code, Code::Unimplemented);
        let answer = trailers_only(&status, &[]);
        assert_eq!(header(&answer, "grpc-accept-encoding").unwrap(), "identity");
    }

    #[test]
    fn a_status_survives_trailers() {
        let status = Status::new(Code::InvalidArgument, "key ü is 100% wrong");
        let metadata = [Header::from_static("raftkv-applied", "no")];
        let sent = trailers(&status, &metadata);
        assert_eq!(parse_status(&sent), status);
        assert_eq!(header(&sent, "raftkv-applied").unwrap(), "no");
        assert_eq!(
            parse_response(&trailers_only(&status, &metadata)),
            Some(status)
        );
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let status = Status::new(Code::Internal, format!("x{}", "ü".repeat(2_000)));
        let received = parse_status(&trailers(&status, &[])).message;
        assert_eq!(received, format!("x{}", "ü".repeat(511)));
    }

    #[test]
    fn response_headers_begin_an_answer_with_messages() {
        assert_eq!(parse_response(response_headers()), None);
    }

    #[test]
    fn what_is_no_grpc_answer_gets_a_status_by_its_http_status() {
        let parse = |status: &'static str| {
            parse_response(&[Header::from_static(":status", status)]).map(|it| it.code)
        };
        assert_eq!(parse("503"), Some(Code::Unavailable));
        assert_eq!(parse("404"), Some(Code::Unimplemented));
        assert_eq!(parse("400"), Some(Code::Internal));
        assert_eq!(parse("302"), Some(Code::Unknown));
        assert_eq!(parse("200"), Some(Code::Unknown));
    }

    #[test]
    fn missing_and_undefined_statuses_are_unknown() {
        assert_eq!(parse_status(&[]).code, Code::Unknown);
        for value in ["17", "-1", "x", "99999999999999999999"] {
            let status = parse_status(&[Header::from_static("grpc-status", value)]);
            assert_eq!(status.code, Code::Unknown, "{value}");
        }
    }

    #[test]
    fn each_code_survives_its_number() {
        for number in 0..=16 {
            let code = Code::from_number(number);
            assert_eq!(code.digits(), number.to_string());
            assert_eq!(
                parse_status(&trailers(&Status::new(code, ""), &[])).code,
                code
            );
        }
    }

    #[test]
    fn our_own_requests_are_understood() {
        let headers = request_headers("host:1", "/a.B/C", Some(Duration::from_secs(1)));
        let call = parse_request(&headers).unwrap();
        assert_eq!(
            call,
            Call {
                path: Bytes::from_static(b"/a.B/C"),
                timeout: Some(Duration::from_secs(1)),
            }
        );
    }

    #[test]
    fn a_refused_stream_is_unavailable_and_a_cancelled_one_cancelled() {
        assert_eq!(
            reset_status(ErrorCode::REFUSED_STREAM).code,
            Code::Unavailable
        );
        assert_eq!(reset_status(ErrorCode::CANCEL).code, Code::Cancelled);
        assert_eq!(reset_status(ErrorCode(99)).code, Code::Internal);
    }
}
