//! The calls that go on for as long as the client likes: reflection and the watching of health.

use prost::Message;

use super::{Call, Connection, State};
use crate::{
    gateway::{Shared, service},
    grpc::{self, Code, Status},
    h2::StreamId,
    proto::grpc::{
        health::v1::health_check_response::ServingStatus, reflection::v1::ServerReflectionRequest,
    },
};

/// Bytes that wait for a client which goes on asking about the services.
const REFLECTION_QUEUE_BYTES: usize = 1 << 20;

impl Connection {
    /// Whether a call here watches the health of a service.
    pub fn has_watchers(&self) -> bool {
        let mut calls = self.calls.values();
        calls.any(|call| matches!(call.state, State::Watching(_)))
    }

    /// Tells watchers what has changed for them.
    pub fn tell_watchers(&mut self, leader_known: bool) {
        let mut gone = Vec::new();
        for (stream, call) in &mut self.calls {
            if let State::Watching(told) = &mut call.state {
                let status = service::health("", leader_known);
                // A service that is unknown stays so: the build knows all of them.
                if *told == ServingStatus::ServiceUnknown || *told == status {
                    continue;
                }
                *told = status;
                let message = grpc::encode(&service::health_message(status));
                if self.h2.send_data(*stream, message, false).is_err() {
                    gone.push(*stream);
                }
            }
        }
        for stream in gone {
            self.calls.remove(&stream);
        }
    }

    pub(super) fn reflects(&self, stream: StreamId) -> bool {
        let call = self.calls.get(&stream);
        call.is_some_and(|call| matches!(call.state, State::Reflecting(_)))
    }

    pub(super) fn watch(&mut self, stream: StreamId, status: ServingStatus) {
        let call = self.calls.get_mut(&stream).expect("the caller found it");
        call.state = State::Watching(status);
        let message = grpc::encode(&service::health_message(status));
        let sent = self
            .h2
            .send_headers(stream, grpc::response_headers(), false)
            .and_then(|()| self.h2.send_data(stream, message, false));
        self.keep_if(stream, sent);
    }

    /// Answers every complete question of a reflection stream.
    pub(super) fn reflect(&mut self, stream: StreamId, shared: &Shared) {
        loop {
            let Some(Call {
                state: State::Reflecting(deframer),
                ..
            }) = self.calls.get_mut(&stream)
            else {
                return;
            };
            let request = match deframer.next() {
                Ok(None) => return,
                Ok(Some(message)) => ServerReflectionRequest::decode(message).map_err(|error| {
                    let text = format!("the message cannot be decoded: {error}");
                    Status::new(Code::InvalidArgument, text)
                }),
                Err(status) => Err(status),
            };
            if self.h2.unsent_bytes() > REFLECTION_QUEUE_BYTES {
                let text = "the answers are not read; read them before asking more";
                return self.end_stream(stream, &Status::new(Code::ResourceExhausted, text));
            }
            match request {
                Ok(request) => {
                    let answer = grpc::encode(&shared.reflection.answer(request));
                    if shared.is_full(|| self.buffered_bytes(), answer.len()) {
                        return self.end_stream(stream, &service::busy());
                    }
                    let sent = self.h2.send_data(stream, answer, false);
                    self.keep_if(stream, sent);
                }
                Err(status) => return self.end_stream(stream, &status),
            }
        }
    }
}
