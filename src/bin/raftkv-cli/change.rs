//! Conducting a change of members: what it costs, whether that is meant, and how far it is.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use raftkv::{
    client::{Client, Error},
    proto::proto::{
        Addition, CatchingUp, Member, MemberChangeRequest, Members, member::Suffrage,
        member_change_response::State, refusal,
    },
};

use crate::{
    Ended, exit, explain,
    member::{Cluster, Consent},
    progress::Progress,
    said,
    status::one_cluster,
    view::{View, list},
};

/// Between two looks at a change.
const POLL: Duration = Duration::from_millis(150);

/// Has the members changed, and waits for the end of it.
pub fn change(request: &MemberChangeRequest, consent: Consent, cluster: &Cluster) -> Ended {
    let view = View::gather(&cluster.endpoints, cluster.timeout).map_err(explain)?;
    one_cluster(&view)?;
    // A command that is repeated may find that the nodes it names have gone.
    let endpoints: BTreeSet<String> = view.addresses().collect();
    let endpoints = cluster.endpoints.iter().cloned().chain(endpoints);
    let mut client = cluster.client(endpoints.collect())?;
    let members = client.members().map_err(explain)?;
    if !is_done(request, &members) {
        let after = voters_after(request, &members);
        let cost = cost(&view, request, &after);
        if let Some(cost) = &cost
            && !consent.allow_unreachable
        {
            let text = format!("{cost}; start them first, or give --allow-unreachable");
            return Err((exit::REFUSED, text));
        }
        let intent = intent(request, &after);
        talk(&cost.map_or(intent.clone(), |cost| format!("{intent}; {cost}")));
        if !request.remove.is_empty() {
            confirm(consent.yes)?;
        }
    }
    conduct(request, &mut client, cluster.timeout)?;
    let members = client.members().map_err(explain)?;
    said(&format!("done: {}", described(&members)))
}

/// Says something to whoever sits there.
fn talk(text: &str) {
    // Without a reader of stderr there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

fn is_done(request: &MemberChangeRequest, members: &Members) -> bool {
    let find = |id: u64| members.members.iter().find(|member| member.id == id);
    let added = request.add.iter().all(|addition| {
        let wanted = match addition.learner {
            true => Suffrage::Learner,
            false => Suffrage::Voter,
        };
        find(addition.id).is_some_and(|member| member.suffrage() == wanted)
    });
    added && request.remove.iter().all(|&id| find(id).is_none())
}

/// Who votes when the change is done.
fn voters_after(request: &MemberChangeRequest, members: &Members) -> Vec<u64> {
    let members = members.members.iter();
    let votes = |member: &&Member| matches!(member.suffrage(), Suffrage::Voter | Suffrage::Joining);
    let now = members.filter(votes).map(|member| member.id);
    let to_be = request.add.iter().filter(|addition| !addition.learner);
    let mut voters: BTreeSet<u64> = now.chain(to_be.map(|addition| addition.id)).collect();
    voters.retain(|id| !request.remove.contains(id));
    voters.into_iter().collect()
}

/// What a change costs after which too few voters are there; nothing, if enough are. New ones are:
/// the leader waits until they have the log.
fn cost(view: &View, request: &MemberChangeRequest, after: &[u64]) -> Option<String> {
    let is_new = |id: u64| request.add.iter().any(|addition| addition.id == id);
    let away: Vec<u64> = after
        .iter()
        .copied()
        .filter(|&id| !is_new(id) && !view.is_reachable(id))
        .collect();
    let needed = after.len() / 2 + 1;
    let there = after.len() - away.len();
    (there < needed && !after.is_empty()).then(|| {
        format!(
            "of the voters {} only {there} would be reachable, and {needed} are needed: nothing \
             could be written or read, and the change not be undone, until enough of nodes {} are \
             back",
            list(after.iter().copied()),
            list(away)
        )
    })
}

/// What is about to be done.
fn intent(request: &MemberChangeRequest, after: &[u64]) -> String {
    let name = |addition: &Addition| match addition.peer_address.as_str() {
        "" => addition.id.to_string(),
        address => format!("{} at {address}", addition.id),
    };
    let mut doing = Vec::new();
    for addition in &request.add {
        let voice = if addition.learner { ", a learner" } else { "" };
        doing.push(format!("adds node {}{voice}", name(addition)));
    }
    for id in &request.remove {
        doing.push(format!("removes node {id} for good"));
    }
    let tolerated = (after.len().max(1) - 1) / 2;
    let failures = if tolerated == 1 {
        "failure"
    } else {
        "failures"
    };
    format!(
        "{}: voters {} then, which tolerate {tolerated} {failures}",
        doing.join(", "),
        list(after.iter().copied())
    )
}

/// Asks whoever sits at a terminal.
fn confirm(yes: bool) -> Result<(), (u8, String)> {
    if yes {
        return Ok(());
    }
    let not_confirmed = |text: &str| Err((exit::USAGE, text.to_owned()));
    if !io::stdin().is_terminal() {
        return not_confirmed("nothing is done: give --yes where nobody can be asked");
    }
    let _ = write!(io::stderr(), "Go on? Type yes: ");
    let mut answer = String::new();
    match io::stdin().read_line(&mut answer) {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        _ => not_confirmed("nothing is done: not confirmed"),
    }
}

/// Asks for the change until it is done, and shows how far it is.
fn conduct(
    request: &MemberChangeRequest,
    client: &mut Client,
    timeout: Duration,
) -> Result<(), (u8, String)> {
    let mut shown = Shown::default();
    let mut refused_since = None;
    loop {
        let response = client.change_members(request);
        let state = response.map_err(|error| shown.broken(error))?.state;
        match state {
            Some(State::Done(_)) => {
                shown.caught_up();
                return Ok(());
            }
            Some(State::Refused(refusal)) => {
                use refusal::Code;
                let passes = matches!(refusal.code(), Code::Transferring | Code::TermNotCommitted);
                let since = *refused_since.get_or_insert_with(Instant::now);
                if !passes || since.elapsed() >= timeout {
                    shown.end();
                    return Err((exit::REFUSED, refusal.reason));
                }
            }
            Some(state) => {
                refused_since = None;
                shown.show(&state);
            }
            None => {
                let text = "the answer has no state: this program is older than the cluster";
                return Err((exit::REFUSED, text.to_owned()));
            }
        }
        thread::sleep(POLL);
    }
}

/// What was shown of a change.
struct Shown {
    phase: Option<String>,
    bar: Progress,
    /// The log's end, while somebody takes it.
    last: u64,
}

impl Default for Shown {
    fn default() -> Shown {
        Shown {
            phase: None,
            bar: Progress::new(),
            last: 0,
        }
    }
}

impl Shown {
    fn show(&mut self, state: &State) {
        let phase = match state {
            State::CatchingUp(CatchingUp { node_id, .. }) => {
                format!("learner: node {node_id} takes the log")
            }
            State::Joint(_) => "joint: the old and the new majority both decide".to_owned(),
            _ => "committing: it waits for its entry in the log to be on a majority".to_owned(),
        };
        if self.phase.as_ref() != Some(&phase) {
            self.caught_up();
            talk(&phase);
            self.phase = Some(phase);
        }
        if let State::CatchingUp(CatchingUp { matched, last, .. }) = *state {
            self.last = last;
            self.show_bar(matched);
        }
    }

    fn show_bar(&mut self, matched: u64) {
        let last = self.last;
        self.bar
            .show(matched, last, || format!("{matched} of {last} entries"));
    }

    /// Whoever took the log has it.
    fn caught_up(&mut self) {
        if self.last > 0 {
            self.show_bar(self.last);
            self.last = 0;
        }
        self.end();
    }

    fn end(&mut self) {
        self.bar.end();
    }

    /// Once it has begun, a change goes on by itself.
    fn broken(&mut self, error: Error) -> (u8, String) {
        self.end();
        let (code, text) = explain(error);
        match &self.phase {
            Some(_) if code == exit::UNAVAILABLE => (
                exit::OUTCOME_UNKNOWN,
                format!(
                    "the change has begun and may go on, repeat it to see how far it is: {text}"
                ),
            ),
            _ => (code, text),
        }
    }
}

/// Who the members are, in one line.
fn described(members: &Members) -> String {
    let with = |suffrage: Suffrage| {
        let members = members.members.iter();
        let members = members.filter(|member| member.suffrage() == suffrage);
        list(members.map(|member| member.id))
    };
    match with(Suffrage::Learner).as_str() {
        "" => format!("voters {}", with(Suffrage::Voter)),
        learners => format!("voters {}, learners {learners}", with(Suffrage::Voter)),
    }
}
