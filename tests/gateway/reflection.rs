//! Server reflection as a stream; what it answers is tested beside its code.

use raftkv::{
    grpc,
    node::Answer,
    proto::grpc::reflection::v1::{
        ServerReflectionRequest, ServerReflectionResponse,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    proto::proto::PutResponse,
};

use crate::{
    kv::{PUT, put_request},
    node::Node,
    wire::Wire,
};

const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

fn symbol(name: &str) -> ServerReflectionRequest {
    ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(name.into())),
    }
}

#[test]
fn each_question_is_answered_before_the_next_and_beside_other_calls() {
    let node = Node::answering(Answer::Put);
    for path in PATHS {
        let mut wire = Wire::connect(node.address());
        let stream = wire.open(path, &[]);
        for (count, name) in ["raftkv.proto.KvService", "nothing", "grpc.health.v1.Health"]
            .into_iter()
            .enumerate()
        {
            wire.send(stream, grpc::encode(&symbol(name)), false);
            let reply = wire.wait(stream, |reply| {
                reply.messages::<ServerReflectionResponse>().len() > count
            });
            let answer = reply.messages::<ServerReflectionResponse>().remove(count);
            assert_eq!(answer.original_request, Some(symbol(name)));
            let is_error = matches!(
                answer.message_response,
                Some(MessageResponse::ErrorResponse(_))
            );
            assert_eq!(is_error, name == "nothing");
            assert!(
                wire.call(PUT, &put_request("a", "1"))
                    .message::<PutResponse>()
                    .ok
            );
        }
        wire.send(stream, "", true);
        assert_eq!(wire.reply(stream).code(), 0);
    }
}

#[test]
fn a_question_that_cannot_be_decoded_ends_its_stream_only() {
    let node = Node::answering(Answer::Put);
    let mut wire = Wire::connect(node.address());
    let stream = wire.open(PATHS[0], &[]);
    wire.send(stream, grpc::frame(&[7]), false);
    assert_eq!(wire.reply(stream).code(), grpc::Code::InvalidArgument as u8);
    assert!(
        wire.call(PUT, &put_request("a", "1"))
            .message::<PutResponse>()
            .ok
    );
}
