//! `tandem sessions`: what is open for long, the oldest first; and what became of an order to end some of it.

use control::{KillResult, SessionList};

use super::table::{Align, Table, cell};
use super::words::{count, octets, sentence, span_of_seconds};

/// The screen of `tandem sessions`.
pub(crate) fn sessions(list: &SessionList) -> String {
    if list.sessions.is_empty() {
        return "no connection of TCP and no tunnel is open that matches\n".to_owned();
    }
    let mut table = Table::new(
        0,
        &[
            ("ID", Align::Left),
            ("CLIENT", Align::Left),
            ("KIND", Align::Left),
            ("AGE", Align::Right),
            ("IN", Align::Right),
            ("OUT", Align::Right),
            ("TARGET", Align::Left),
        ],
    );
    for session in &list.sessions {
        table.row(vec![
            cell(&session.id),
            cell(session.client.to_string()),
            cell(session.kind.as_str()),
            cell(span_of_seconds(session.age_s)),
            cell(octets(session.bytes_in)),
            cell(octets(session.bytes_out)),
            cell(format!(
                "{}/{} by {}",
                session.group, session.target, session.listener
            )),
        ]);
    }
    let mut out = table.draw();
    let left_out = list.total.saturating_sub(list.sessions.len() as u64);
    if left_out > 0 {
        let words = format!("{} younger ones are not shown", count(left_out));
        out.push_str(&sentence("", 2, &words));
    }
    out
}

/// What became of an order to end sessions; `left` of them match and were not named in it.
pub(crate) fn killed(result: &KillResult, left: u64) -> String {
    let mut out = match (result.ended.len(), result.not_found.is_empty()) {
        (0, true) => "nothing that matches is open\n".to_owned(),
        (0, false) => "nothing was ended\n".to_owned(),
        (ended, _) => format!("{} ended\n", count(ended as u64)),
    };
    if !result.not_found.is_empty() {
        let words = format!("not there any more: {}", result.not_found.join(", "));
        out.push_str(&sentence("", 2, &words));
    }
    if left > 0 {
        out.push_str(&format!("{} more match: order it again\n", count(left)));
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_listed_and_what_is_left_out_is_counted() {
        let text = r#"{"total": 7, "sessions": [
            {"id": "0.17", "kind": "tcp", "listener": "db", "group": "db", "target": "db1", "client": "198.51.100.7:50112",
                "age_s": 7500, "bytes_in": 1234567, "bytes_out": 3400000000},
            {"id": "1.3", "kind": "tunnel", "listener": "https", "group": "chat", "target": "10.0.0.21:8080",
                "client": "198.51.100.8:40000", "age_s": 12, "bytes_in": 0, "bytes_out": 999}]}"#;
        let mut list: SessionList = serde_json::from_str(text).unwrap();
        let expected = "\
ID    CLIENT              KIND      AGE    IN   OUT  TARGET
0.17  198.51.100.7:50112  tcp     2h05m  1.2M  3.4G  db/db1 by db
1.3   198.51.100.8:40000  tunnel    12s     0   999  chat/10.0.0.21:8080 by
                                                     https
5 younger ones are not shown
";
        assert_eq!(sessions(&list), expected, "got:\n{}", sessions(&list));
        list.sessions.clear();
        assert!(sessions(&list).starts_with("no connection of TCP"));
    }

    #[test]
    fn what_was_ended_and_what_was_not() {
        let result = |ended: &[&str], not_found: &[&str]| KillResult {
            ended: ended.iter().map(ToString::to_string).collect(),
            not_found: not_found.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(killed(&result(&["0.1", "0.2"], &[]), 0), "2 ended\n");
        assert_eq!(
            killed(&result(&[], &[]), 0),
            "nothing that matches is open\n"
        );
        let expected = "nothing was ended\nnot there any more: 0.9\n";
        assert_eq!(killed(&result(&[], &["0.9"]), 0), expected);
        let expected = "1 ended\n3 more match: order it again\n";
        assert_eq!(killed(&result(&["0.1"], &[]), 3), expected);
    }
}
