//! What gRPC adds to HTTP/2: statuses, message framing, deadlines, and the headers of a call
//! (the protocol's document: `grpc/grpc`, doc/PROTOCOL-HTTP2.md).

mod call;
mod message;
mod percent;
mod status;
mod timeout;

pub use call::{
    Call, Refusal, header, parse_request, parse_response, parse_status, plain_response,
    request_headers, reset_status, response_headers, trailers, trailers_only,
};
pub use message::{Deframer, MESSAGE_MAX_BYTES, encode, frame};
pub use status::{Code, Status};
