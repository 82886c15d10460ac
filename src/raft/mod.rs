//! Raft, from "In Search of an Understandable Consensus Algorithm" (Ongaro and Ousterhout, 2014,
//! extended version). `§n` in comments is a section of it, `th. n` one of Ongaro's dissertation.
//!
//! # The problem
//!
//! Several nodes are to apply the same commands in the same order, although any of them may crash
//! and come back, and messages may be lost, repeated, delayed and reordered. A minority may be
//! gone at any time. Each node keeps a **log** of commands; nodes that apply equal logs to equal
//! state machines stay equal. So consensus is about one thing: that logs agree.
//!
//! # Terms and leaders (§5.1, §5.2)
//!
//! Time is cut into **terms**, counted up. In each term at most one node leads: it needs the
//! votes of a majority, everyone has one vote a term, and any two majorities share a node
//! (*Election Safety*). All entries come from leaders, so that agreement is a matter of copying.
//! A follower that hears no leader for its election timeout campaigns; timeouts are random, so
//! that one is usually first. Who sees a higher term adopts it and follows.
//!
//! Three additions keep elections quiet. A candidate first asks whether it *would* win
//! (**pre-vote**, th. 9.6), so that a node that was cut off does not come back with a higher term
//! and depose a leader for nothing. A voter that hears a leader refuses (**stickiness**,
//! th. 4.2.3). And a leader that hears no majority steps down (**check-quorum**, th. 6.2).
//!
//! # The log (§5.3)
//!
//! A leader sends entries with the position of the one before them, and a follower takes them only
//! if it has that one. By induction, two logs that hold the same entry agree in everything before
//! it (*Log Matching*). A follower whose log forks drops its own entries from the fork on; a
//! leader never overwrites its own (*Leader Append-Only*).
//!
//! # Commitment (§5.4)
//!
//! An entry of the leader's own term that a majority holds durably is **committed**: a node that
//! lacks it cannot win an election any more, since voters refuse a candidate whose log is behind
//! theirs (§5.4.1), so every later leader has it (*Leader Completeness*). For an entry of an older
//! term a majority is not enough: Figure 8 shows one that was lost. It commits when an entry of
//! the current term commits above it (§5.4.2), and so each new leader begins with a no-op. What is
//! committed is applied, in order; no two nodes apply different entries at one index (*State
//! Machine Safety*).
//!
//! # What is durable, and when
//!
//! Term, vote and log must survive a crash before anyone relies on them (Figure 2, "persistent
//! state"). Writes are numbered; a message that vouches for something names the write that it
//! waits for. A vote that can be forgotten is two votes; an acknowledgement that can be forgotten
//! is none. Only a leader's own appends go out at once, since its own copy counts only when it is
//! durable (th. 10.2.1). The commit index is not kept: it is learnt again.
//!
//! # Snapshots (§7)
//!
//! A log must not grow for ever. From time to time a node writes its state to disk, as of the last
//! entry that it applied, and drops the log up to there: a **snapshot**. Every node does so by
//! itself; what it includes is committed, so no agreement is needed. A follower that lacks what a
//! leader's log has no more is **offered** the leader's newest snapshot. It fetches the bytes,
//! and only when they are whole and durable takes them for its state and for the beginning of its
//! log. So a snapshot never turns a commit back, and a crash leaves the old state or the new one.
//!
//! # Members (§6)
//!
//! The members themselves may change. Were each node to switch from one set to another at a moment
//! of its own, two majorities could exist that share nobody, and each elect a leader. So the change
//! goes through the log, in two steps. First **C_old,new**: while it is in force, every decision
//! needs a majority of the old members *and* one of the new. When it has committed, neither set can
//! decide alone any more, and **C_new** follows. A configuration is in force as soon as it is in a
//! node's log, and no longer when it is cut off. New voters take the log as **learners** first, so
//! that the majority that needs them need not wait for them.
//!
//! # Reads (§8)
//!
//! A leader may have been replaced without knowing. So a read notes the commit index, waits until
//! a majority has confirmed that this node still leads, by answering a question asked *after* the
//! read arrived, and until the index is applied. No log entry, no disk, no clock.
//!
//! # How to read the code
//!
//! | file | what |
//! |---|---|
//! | `types` | [`Term`], [`Index`], [`NodeId`], [`LogPos`]: numbers that cannot be mixed up |
//! | `input`, `message`, `effect`, `note` | all that can happen, be said, follow, and be remarked |
//! | `core` | [`Raft::step`], changes of role, what is written and what waits for it |
//! | `receive`, `votes` | rules for all roles; RequestVote |
//! | `follower`, `candidate`, `leader` | one role each |
//! | `progress`, `reads` | what a leader knows of a follower; read rounds |
//! | `snapshots` | log compaction; snapshots that are offered, fetched and installed |
//! | `config`, `configs` | the members and their majorities; which are in force |
//! | `membership` | what a leader does about a change of members |
//! | `log` | terms and sizes of entries |
//!
//! `docs/raft-spec-mapping.md` leads from each rule of Figure 2 to its function and its test.
//!
//! # What is not here
//!
//! Nothing in this module knows a socket, a file, a clock or a thread, and none of it can fail on
//! what a peer sends. There are no leases: they would bring the clock back in. Payloads pass
//! through once and are otherwise named by index.

mod candidate;
pub mod canonical;
mod config;
mod configs;
mod core;
mod display;
mod effect;
mod follower;
mod input;
pub mod invariants;
mod leader;
mod log;
mod membership;
mod message;
mod note;
mod options;
mod progress;
mod reads;
mod receive;
mod rng;
mod snapshots;
mod types;
mod votes;

pub use self::core::Raft;
pub use config::{
    ADDRESS_MAX_BYTES, Addition, Change, Config, Description, Incarnation, MEMBERS_MAX, Member,
    Suffrage,
};
pub use effect::{Effect, Effects, HardState, RefusalReason, RoleChange, RoleName};
pub use input::Input;
pub use leader::APPEND_MAX_ENTRIES;
pub use log::Log;
pub use membership::{ChangeRefusal, ChangeState};
pub use message::{Append, AppendOutcome, Entry, EntryKind, Message, VoteKind};
pub use note::{Note, StepDown, VoteDenial};
pub use options::{Options, PeerStatus, Saved, Status};
pub use types::{Index, LogPos, NodeId, Round, Seq, Snapshot, Term, Token};
