//! The processes of the floor.

use super::{ACK_BYTES, FOLLOWERS, PUT_BYTES, Path, link::Link};
use crate::disk::AppendFile;
use clap::Subcommand;
use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::{Events, Interest, Poll, Token, Waker};
use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process, thread,
};

/// What a process of the floor is, as its command line says. It prints the addresses on which it
/// listens and ends when whoever connects there has closed.
#[derive(Clone, Debug, Subcommand)]
#[command(hide = true)]
pub enum Role {
    /// Appends, syncs, acknowledges.
    FloorFollower {
        /// The file to make and append to.
        #[arg(long)]
        file: PathBuf,
    },
    /// Forwards, appends, syncs, and answers. Its first address is for [`Path::Direct`], its
    /// second for [`Path::Gateway`].
    FloorLeader {
        /// The file to make and append to.
        #[arg(long)]
        file: PathBuf,
        /// The addresses of the followers.
        #[arg(long = "follower", num_args = 1)]
        followers: Vec<SocketAddr>,
    },
}

impl Role {
    /// The command line that gives this role.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        match self {
            Role::FloorFollower { file } => {
                vec!["floor-follower".into(), "--file".into(), file.into()]
            }
            Role::FloorLeader { file, followers } => {
                let mut arguments = vec!["floor-leader".into(), "--file".into(), file.into()];
                for follower in followers {
                    arguments.extend(["--follower".into(), follower.to_string().into()]);
                }
                arguments
            }
        }
    }

    /// Is this process until the client has gone.
    ///
    /// # Errors
    /// What the network or the file system report.
    pub fn run(self) -> io::Result<()> {
        let ended = match self {
            Role::FloorFollower { file } => follow(AppendFile::create(&file)?),
            Role::FloorLeader { file, followers } => lead(AppendFile::create(&file)?, &followers),
        };
        match ended {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            ended => ended,
        }
    }
}

type Put = [u8; PUT_BYTES];

/// The number at the front of a message.
pub(super) fn number(message: &[u8]) -> u64 {
    let bytes = message.first_chunk().expect("a message holds its number");
    u64::from_le_bytes(*bytes)
}

fn follow(mut file: AppendFile) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    let mut leader = Link::new(listener.accept()?.0, PUT_BYTES)?;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1);
    poll.registry()
        .register(leader.socket(), Token(0), Interest::READABLE)?;
    loop {
        wait(&mut poll, &mut events)?;
        let puts = leader.receive()?;
        // A follower that lagged takes all that has come with one sync.
        if let Some(last) = puts.chunks_exact(PUT_BYTES).next_back().map(number) {
            file.append(puts)?;
            leader.send(&last.to_le_bytes())?;
        }
    }
}

/// Waits for events; a signal in between gives none.
pub(super) fn wait(poll: &mut Poll, events: &mut Events) -> io::Result<()> {
    match poll.poll(events, None) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

const CLIENT: Token = Token(FOLLOWERS);
const WAKE: Token = Token(FOLLOWERS + 1);

fn lead(file: AppendFile, followers: &[SocketAddr]) -> io::Result<()> {
    let listeners = [
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
    ];
    let [direct, gateway] = &listeners;
    println!("{} {}", direct.local_addr()?, gateway.local_addr()?);
    let poll = Poll::new()?;
    let mut client = Link::new(direct.accept()?.0, PUT_BYTES)?;
    poll.registry()
        .register(client.socket(), CLIENT, Interest::READABLE)?;
    let mut links = Vec::new();
    for (at, follower) in followers.iter().enumerate() {
        let mut link = Link::new(TcpStream::connect(follower)?, ACK_BYTES)?;
        poll.registry()
            .register(link.socket(), Token(at), Interest::READABLE)?;
        links.push(link);
    }
    let gateway = start_gateway(gateway.accept()?.0, Waker::new(poll.registry(), WAKE)?)?;
    let leader = Leader {
        file,
        followers: links,
        client,
        gateway,
        puts: 0,
        acknowledged: 0,
        unanswered: None,
    };
    leader.run(poll)
}

/// The event loop's end of the gateway.
struct Gateway {
    requests: Receiver<Put>,
    answers: Sender<u64>,
    waker: Waker,
}

struct Leader {
    file: AppendFile,
    followers: Vec<Link>,
    client: Link,
    gateway: Gateway,
    /// Puts begun so far: the number of the newest.
    puts: u64,
    /// The newest put that a follower has acknowledged.
    acknowledged: u64,
    unanswered: Option<Unanswered>,
}

/// A put that is synced here and has no follower's acknowledgement yet.
struct Unanswered {
    came_by: Path,
    client_number: u64,
}

impl Leader {
    fn run(mut self, mut poll: Poll) -> io::Result<()> {
        let mut events = Events::with_capacity(8);
        loop {
            wait(&mut poll, &mut events)?;
            for event in &events {
                match event.token() {
                    CLIENT => {
                        if let Some(put) = self.client.receive()?.first_chunk().copied() {
                            self.replicate(put, Path::Direct)?;
                        }
                    }
                    WAKE => {
                        if let Ok(put) = self.gateway.requests.try_recv() {
                            self.replicate(put, Path::Gateway)?;
                        }
                    }
                    Token(at) => {
                        let acks = self.followers[at].receive()?;
                        let last = acks.chunks_exact(ACK_BYTES).next_back().map(number);
                        self.acknowledged = self.acknowledged.max(last.unwrap_or(0));
                    }
                }
            }
            self.answer()?;
        }
    }

    fn replicate(&mut self, mut put: Put, came_by: Path) -> io::Result<()> {
        self.unanswered = Some(Unanswered {
            came_by,
            client_number: number(&put),
        });
        self.puts += 1;
        put[..ACK_BYTES].copy_from_slice(&self.puts.to_le_bytes());
        // The followers' disks work while ours does.
        for follower in &mut self.followers {
            follower.send(&put)?;
        }
        self.file.append(&put)
    }

    fn answer(&mut self) -> io::Result<()> {
        if self.acknowledged < self.puts {
            return Ok(());
        }
        let Some(put) = self.unanswered.take() else {
            return Ok(());
        };
        match put.came_by {
            Path::Direct => self.client.send(&put.client_number.to_le_bytes()),
            Path::Gateway => {
                let sent = self.gateway.answers.send(put.client_number);
                sent.map_err(|_| io::ErrorKind::UnexpectedEof)?;
                self.gateway.waker.wake()
            }
        }
    }
}

fn start_gateway(client: TcpStream, loop_waker: Waker) -> io::Result<Gateway> {
    let poll = Poll::new()?;
    let mut client = Link::new(client, PUT_BYTES)?;
    poll.registry()
        .register(client.socket(), CLIENT, Interest::READABLE)?;
    let (request_sender, requests) = unbounded();
    let (answers, answer_receiver) = unbounded();
    let gateway = Gateway {
        requests,
        answers,
        waker: Waker::new(poll.registry(), WAKE)?,
    };
    thread::spawn(move || {
        let ended = pass_on(poll, client, &request_sender, &loop_waker, &answer_receiver);
        let Err(error) = ended;
        // The event loop has nobody left to answer.
        let is_fault = error.kind() != io::ErrorKind::UnexpectedEof;
        if is_fault {
            eprintln!("the floor's gateway failed: {error}");
        }
        process::exit(i32::from(is_fault));
    });
    Ok(gateway)
}

fn pass_on(
    mut poll: Poll,
    mut client: Link,
    requests: &Sender<Put>,
    loop_waker: &Waker,
    answers: &Receiver<u64>,
) -> io::Result<std::convert::Infallible> {
    let mut events = Events::with_capacity(2);
    loop {
        wait(&mut poll, &mut events)?;
        for event in &events {
            if event.token() == CLIENT {
                if let Some(put) = client.receive()?.first_chunk() {
                    let sent = requests.send(*put);
                    sent.map_err(|_| io::ErrorKind::UnexpectedEof)?;
                    loop_waker.wake()?;
                }
            } else if let Ok(client_number) = answers.try_recv() {
                client.send(&client_number.to_le_bytes())?;
            }
        }
    }
}
