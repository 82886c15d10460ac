//! A node that does what the test says.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crossbeam_channel::Sender;
use raftkv::{
    gateway::{Backend, Gateway, Wake},
    node::{Answer, NodeStatus, Request, SubmitError},
    raft::Token,
    replica::Operation,
};

/// What the script wants with a request.
pub enum Step {
    /// Answered when the gateway wakes the node.
    Answer(Answer),
    /// Kept until [`Node::answer_held`].
    Hold,
    /// Not queued.
    Refuse(SubmitError),
}

type Script = Box<dyn FnMut(&Operation) -> Step + Send>;

/// The test's side of a scripted node behind a running gateway.
pub struct Node {
    state: Arc<State>,
    gateway: Option<Gateway>,
    address: String,
}

struct State {
    script: Mutex<Script>,
    answers: Sender<(Token, Answer)>,
    wake: Mutex<Wake>,
    seen: Mutex<Vec<Operation>>,
    held: Mutex<Vec<Token>>,
    wakes: AtomicUsize,
    leader_known: AtomicBool,
    status: Mutex<NodeStatus>,
}

struct Way(Arc<State>);

impl Node {
    /// A node with this script, serving clients.
    pub fn start(script: impl FnMut(&Operation) -> Step + Send + 'static) -> Node {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut made = None;
        let gateway = Gateway::start(listener, |answers, wake| {
            let state = Arc::new(State {
                script: Mutex::new(Box::new(script)),
                answers,
                wake: Mutex::new(wake),
                seen: Mutex::default(),
                held: Mutex::default(),
                wakes: AtomicUsize::new(0),
                leader_known: AtomicBool::new(true),
                status: Mutex::default(),
            });
            made = Some(state.clone());
            Way(state)
        })
        .expect("a gateway");
        Node {
            state: made.expect("the gateway connects"),
            address: gateway.address().to_string(),
            gateway: Some(gateway),
        }
    }

    /// A node that gives this answer to everything.
    pub fn answering(answer: Answer) -> Node {
        Node::start(move |_| Step::Answer(answer.clone()))
    }

    /// A node that points elsewhere.
    pub fn following(leader_hint: &str) -> Node {
        let leader_hint = leader_hint.to_owned();
        Node::answering(Answer::NotLeader { leader_hint })
    }

    /// Where it serves clients.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<Operation> {
        lock(&self.state.seen).clone()
    }

    /// How often the gateway woke it.
    pub fn wakes(&self) -> usize {
        self.state.wakes.load(Ordering::SeqCst)
    }

    /// Waits until it holds so many requests.
    pub fn await_held(&self, count: usize) {
        wait_until("requests are held", || {
            lock(&self.state.held).len() == count
        });
    }

    /// Answers all requests that are held.
    pub fn answer_held(&self, answer: &Answer) {
        for token in lock(&self.state.held).drain(..) {
            let sent = self.state.answers.send((token, answer.clone()));
            sent.expect("a gateway that runs");
        }
        (lock(&self.state.wake))();
    }

    /// Whether it knows a leader.
    pub fn know_leader(&self, known: bool) {
        self.state.leader_known.store(known, Ordering::SeqCst);
    }

    /// What it says of itself from here on.
    pub fn say(&self, status: NodeStatus) {
        *lock(&self.state.status) = status;
    }

    /// The gateway in front of it, to be stopped by the test.
    pub fn take_gateway(&mut self) -> Gateway {
        self.gateway.take().expect("taken once")
    }
}

impl Backend for Way {
    fn submit(&self, request: Request) -> Result<(), SubmitError> {
        lock(&self.0.seen).push(request.operation.clone());
        match lock(&self.0.script)(&request.operation) {
            Step::Answer(answer) => {
                let sent = self.0.answers.send((request.token, answer));
                sent.expect("a gateway that runs");
            }
            Step::Hold => lock(&self.0.held).push(request.token),
            Step::Refuse(error) => return Err(error),
        }
        Ok(())
    }

    fn wake(&self) {
        self.0.wakes.fetch_add(1, Ordering::SeqCst);
        (lock(&self.0.wake))();
    }

    fn leader_known(&self) -> bool {
        self.0.leader_known.load(Ordering::SeqCst)
    }

    fn status(&self) -> NodeStatus {
        lock(&self.0.status).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test thread panicked")
}

/// Waits for what another thread is about to do.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed().as_secs() < 20, "in vain: {what}");
        std::thread::yield_now();
    }
}
