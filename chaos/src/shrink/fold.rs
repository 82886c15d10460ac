//! What happens again and again is told once.

use std::collections::BTreeMap;

use raftkv::raft::NodeId;

use crate::sim::Line;

/// Who says it, and what it is that is said.
type Key = (Option<NodeId>, String);

/// Of lines that say the same, the first and the last stay, when there are more than can be read.
/// At first that is what one node says in the same words, then what differs in numbers alone, and
/// then whoever says it.
pub(super) fn fold(lines: Vec<Line>, readable: usize) -> Vec<Line> {
    let keys: [fn(&Line) -> Key; 3] = [
        |line| (line.node, without_token(&line.what)),
        |line| (line.node, without_numbers(&line.what)),
        |line| (None, without_numbers(&line.what)),
    ];
    if lines.len() <= readable {
        return lines;
    }
    let mut told = Vec::new();
    for key in keys {
        told = once(&lines, key);
        if told.len() <= readable {
            break;
        }
    }
    told
}

/// The number of a request is never the same.
fn without_token(what: &str) -> String {
    let is_token = |word: &&str| {
        let number = word.strip_prefix('t').unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let words: Vec<&str> = what.split(' ').filter(|word| !is_token(word)).collect();
    words.join(" ")
}

/// Nor are bytes of values, nor how many entries there are in a list.
fn without_numbers(what: &str) -> String {
    let unquoted = what.split('"').step_by(2);
    let plain: String = unquoted
        .flat_map(|part| part.chars().filter(|char| !char.is_ascii_digit()))
        .collect();
    let mut words: Vec<&str> = plain.split(' ').collect();
    words.dedup();
    words.join(" ")
}

fn once(lines: &[Line], key: fn(&Line) -> Key) -> Vec<Line> {
    // How often each was said, when at first, and the number of the last line that says it.
    let mut said: BTreeMap<Key, (u64, usize, usize)> = BTreeMap::new();
    for (number, line) in lines.iter().enumerate() {
        let said = said.entry(key(line)).or_insert((0, number, number));
        (said.0, said.2) = (said.0 + 1, number);
    }
    let mut kept: Vec<(usize, Line)> = Vec::new();
    for (count, first, last) in said.into_values() {
        kept.push((first, lines[first].clone()));
        if count > 1 {
            let mut line = lines[last].clone();
            if count > 2 {
                line.what += &format!(" ({} more like it before)", count - 2);
            }
            kept.push((last, line));
        }
    }
    kept.sort_by_key(|(number, _)| *number);
    kept.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize, what: impl Fn(usize) -> String) -> Vec<Line> {
        let line = |number: usize| Line {
            at: number as u64,
            node: Some(NodeId(number as u64 % 2)),
            what: what(number),
            is_routine: false,
        };
        (0..count).map(line).collect()
    }

    #[test]
    fn what_can_be_read_stays() {
        let all = lines(10, |_| "answers t1".to_owned());
        assert_eq!(fold(all.clone(), 10), all);
    }

    #[test]
    fn the_same_words_are_told_first_and_last() {
        let folded = fold(lines(12, |number| format!("is asked t{number} Get")), 10);
        let told: Vec<(u64, &str)> = folded.iter().map(|l| (l.at, &*l.what)).collect();
        let more = |number| format!("is asked t{number} Get (4 more like it before)");
        let (tenth, last) = (more(10), more(11));
        let first = [(0, "is asked t0 Get"), (1, "is asked t1 Get")];
        assert_eq!(told, [&first[..], &[(10, &tenth), (11, &last)]].concat());
    }

    #[test]
    fn a_flood_of_frames_is_told_once_for_each_kind() {
        let folded = fold(
            lines(60_000, |number| format!("<- n1 Append {number}")),
            200,
        );
        assert_eq!(folded.len(), 4);
    }
}
