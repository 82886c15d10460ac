//! A gateway with no node behind it.

use crossbeam_channel::Sender;
use raftkv::{
    gateway::{Backend, Gateway, Wake},
    node::{Answer, NodeStatus, Request, SubmitError},
    raft::Token,
    replica::Operation,
};
use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

/// A gateway on a free port of this machine, where operations get `answer` at once, or none ever.
///
/// # Errors
/// Of the operating system.
pub fn gateway(
    answer: impl Fn(&Operation) -> Option<Answer> + Send + 'static,
) -> io::Result<Gateway> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Gateway::start(listener, |answers, wake| Stub {
        answers,
        wake,
        answer,
    })
}

struct Stub<A> {
    answers: Sender<(Token, Answer)>,
    wake: Wake,
    answer: A,
}

impl<A: Fn(&Operation) -> Option<Answer> + Send + 'static> Backend for Stub<A> {
    fn submit(&self, request: Request) -> Result<(), SubmitError> {
        if let Some(answer) = (self.answer)(&request.operation) {
            // Nobody wants it while the gateway stops.
            let _ = self.answers.send((request.token, answer));
        }
        Ok(())
    }

    fn wake(&self) {
        (self.wake)();
    }

    fn leader_known(&self) -> bool {
        true
    }

    fn status(&self) -> NodeStatus {
        NodeStatus::default()
    }
}
