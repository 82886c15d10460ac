//! `--peers`: who the members are and where they are found.

use std::collections::BTreeMap;

use crate::raft::{MEMBERS_MAX, NodeId};

/// A host name is no longer than this (RFC 1035 §2.3.4).
const HOST_MAX_BYTES: usize = 253;

/// Reads `0@host:port,1@host:port,…`.
///
/// # Errors
/// What is wrong, and the cure, in one line.
pub fn parse_peers(text: &str) -> Result<BTreeMap<NodeId, String>, String> {
    let mut peers = BTreeMap::new();
    for item in text.split(',') {
        let (id, address) = item
            .split_once('@')
            .ok_or_else(|| format!("\"{item}\" is no member; write each as ID@HOST:PORT"))?;
        let id = id
            .parse()
            .map_err(|_| format!("\"{id}\" is no node id; ids are whole numbers from 0"))?;
        check_address(address)?;
        if let Some((other, _)) = peers.iter().find(|(_, known)| *known == address) {
            return Err(format!(
                "nodes {other} and {id} share {address}; give each its own address"
            ));
        }
        if peers.insert(NodeId(id), address.to_owned()).is_some() {
            return Err(format!(
                "node id {id} occurs twice; give each node its own id"
            ));
        }
    }
    if peers.len() > MEMBERS_MAX {
        return Err(format!(
            "{} members exceed {MEMBERS_MAX}, the limit; name fewer",
            peers.len()
        ));
    }
    Ok(peers)
}

/// Whether this is HOST:PORT, with an IPv6 address in brackets.
///
/// # Errors
/// What is wrong, and the cure, in one line.
pub fn check_address(text: &str) -> Result<(), String> {
    let wrong = |what: &str| {
        Err(format!(
            "\"{text}\" has {what}; write HOST:PORT, with an IPv6 address in brackets"
        ))
    };
    let Some((host, port)) = split_address(text) else {
        return wrong("no port");
    };
    let is_sound = port.parse::<u16>().is_ok_and(|port| port > 0);
    if port.len() > "65535".len() || !is_sound {
        return wrong("no port from 1 to 65535");
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let sound = match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    if host.is_empty() || host.len() > HOST_MAX_BYTES || !sound {
        return wrong("no host that can be looked up");
    }
    Ok(())
}

/// Host, with its brackets, and port.
#[must_use]
pub fn split_address(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_in_any_order() {
        let peers = parse_peers("2@[::1]:9020,0@10.0.0.1:9000,1@node-1.local:9010").expect("sound");
        let ids: Vec<u64> = peers.keys().map(|id| id.0).collect();
        assert_eq!(ids, [0, 1, 2]);
        assert_eq!(peers[&NodeId(1)], "node-1.local:9010");
    }

    #[test]
    fn what_is_no_list_of_members_is_refused_with_the_cure() {
        let many: Vec<String> = (0..10).map(|i| format!("{i}@a:{}", i + 1)).collect();
        for (text, says) in [
            ("", "write each as ID@HOST:PORT"),
            ("0@a:1,", "write each as ID@HOST:PORT"),
            ("x@a:1", "ids are whole numbers"),
            ("-1@a:1", "ids are whole numbers"),
            ("0@a:1,0@b:1", "node id 0 occurs twice"),
            ("0@a:1,1@a:1", "share a:1"),
            ("0@a", "no port"),
            ("0@a:0", "no port from 1"),
            ("0@a:65536", "no port from 1"),
            ("0@a:0000000001", "no port from 1"),
            ("0@:1", "no host"),
            ("0@a b:1", "no host"),
            ("0@::1:1", "no host"),
            ("0@[::g]:1", "no host"),
            (many.join(",").as_str(), "10 members exceed 9"),
        ] {
            let problem = parse_peers(text).expect_err(text);
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }
}
