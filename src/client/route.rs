//! Which endpoint to ask next, and after what pause.

use std::time::Duration;

use super::Error;

/// First pause, once every endpoint was asked; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// The endpoints of a cluster and the way around them.
pub struct Route {
    endpoints: Vec<String>,
    /// Which of them to ask, unless there is a hint.
    at: usize,
    /// Where a node said that the leader is. It need not be among the endpoints.
    hint: Option<String>,
    /// Failed attempts since the last pause.
    unpaused: usize,
    /// Pauses of this call.
    pauses: u32,
}

impl Route {
    /// A route over `endpoints`, first to last and round again.
    pub fn new(endpoints: Vec<String>) -> Result<Route, Error> {
        if endpoints.is_empty() {
            let endpoint = String::new();
            return Err(Error::Endpoint { endpoint });
        }
        if let Some(endpoint) = endpoints.iter().find(|it| !is_host_port(it)) {
            let endpoint = endpoint.clone();
            return Err(Error::Endpoint { endpoint });
        }
        Ok(Route {
            endpoints,
            at: 0,
            hint: None,
            unpaused: 0,
            pauses: 0,
        })
    }

    /// A call begins, where the last one ended.
    pub fn begin_call(&mut self) {
        self.unpaused = 0;
        self.pauses = 0;
    }

    /// Whom to ask now.
    pub fn current(&self) -> &str {
        self.hint.as_deref().unwrap_or(&self.endpoints[self.at])
    }

    /// The current one did not help, and gave this hint or an empty one. Gives the pause before
    /// the next attempt: none until all endpoints and one hint were asked, since one of them may
    /// lead; then a time that grows, in part random so that clients do not return together. Two
    /// nodes that name each other are thereby not asked without pause.
    pub fn advance(&mut self, hint: &str) -> Duration {
        if is_host_port(hint) && hint != self.current() {
            self.hint = Some(hint.to_owned());
        } else {
            self.hint = None;
            self.at = (self.at + 1) % self.endpoints.len();
        }
        self.unpaused += 1;
        if self.unpaused <= self.endpoints.len() {
            return Duration::ZERO;
        }
        let full = PAUSE_MAX.min(PAUSE_MIN * 2u32.saturating_pow(self.pauses));
        self.unpaused = 0;
        self.pauses += 1;
        full / 2 + full.mul_f64(random_fraction() / 2.0)
    }
}

fn is_host_port(endpoint: &str) -> bool {
    endpoint
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// From 0 to 1. Without random bytes all clients pause the same time, which still works.
fn random_fraction() -> f64 {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(endpoints: &[&str]) -> Route {
        Route::new(endpoints.iter().map(|it| (*it).to_owned()).collect()).expect("good endpoints")
    }

    #[test]
    fn endpoints_are_asked_in_turn_and_then_a_pause_is_made() {
        let mut route = route(&["a:1", "b:2"]);
        route.begin_call();
        assert_eq!(route.current(), "a:1");
        assert_eq!(route.advance(""), Duration::ZERO);
        assert_eq!(route.current(), "b:2");
        assert_eq!(route.advance(""), Duration::ZERO);
        assert_eq!(route.current(), "a:1");
        assert!(route.advance("") >= PAUSE_MIN / 2);
    }

    #[test]
    fn a_hint_is_followed_at_once_even_to_an_unknown_endpoint() {
        let mut route = route(&["a:1", "b:2"]);
        assert_eq!(route.advance("c:3"), Duration::ZERO);
        assert_eq!(route.current(), "c:3");
    }

    #[test]
    fn the_one_that_answered_is_asked_first_in_the_next_call() {
        let mut route = route(&["a:1", "b:2"]);
        route.advance("c:3");
        route.begin_call();
        assert_eq!(route.current(), "c:3");
    }

    #[test]
    fn two_nodes_that_name_each_other_are_not_asked_without_pause() {
        let mut route = route(&["a:1", "b:2"]);
        let pauses: Vec<bool> = ["b:2", "a:1", "b:2", "a:1", "b:2", "a:1"]
            .into_iter()
            .map(|hint| route.advance(hint) > Duration::ZERO)
            .collect();
        assert_eq!(pauses, [false, false, true, false, false, true]);
    }

    #[test]
    fn a_hint_that_is_no_address_is_not_followed() {
        let mut route = route(&["a:1", "b:2"]);
        for hint in ["", "nonsense", "a:1", ":5", "host:99999"] {
            let before = route.at;
            route.advance(hint);
            assert_ne!(route.at, before, "{hint:?}");
        }
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut route = route(&["a:1"]);
        let pauses: Vec<Duration> = (0..100).map(|_| route.advance("")).collect();
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX));
        assert!(pauses[99] >= PAUSE_MAX / 2);
    }

    #[test]
    fn no_endpoint_and_a_bad_one_are_refused_by_name() {
        let refused = |endpoints: Vec<String>| Route::new(endpoints).err().expect("refused");
        assert!(refused(vec![]).to_string().contains("at least one"));
        let error = refused(vec!["localhost".into()]);
        assert!(error.to_string().contains("\"localhost\""), "{error}");
    }
}
