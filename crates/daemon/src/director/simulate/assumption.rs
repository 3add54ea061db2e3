//! What can be assumed, and how it is said.

use super::super::tracking::LinkFact;

/// What is assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Assumption {
    Link { name: String, fact: LinkFact },
    PeerSilent,
    PeerPriority(u8),
    Track { name: String, up: bool },
    Number { name: String, number: i64 },
    Group { name: String, up: bool },
    Forwarder { up: bool },
    Maintenance { on: bool },
    Handover,
    Stop,
}

impl Assumption {
    /// Every form there is, for who has used another one.
    pub(super) const FORMS: &str = "IFACE down|up, peer silent, peer priority 1-255, track NAME ok|fail|NUMBER, group NAME down|up, forwarder down|up, maint on|off, handover, stop";

    /// What `words` assume; none if that is not known.
    pub(super) fn parse(words: &str) -> Option<Self> {
        let words: Vec<&str> = words.split_whitespace().collect();
        match &words[..] {
            ["peer", "silent"] => Some(Self::PeerSilent),
            ["peer", "priority", number] => number
                .parse()
                .ok()
                .filter(|number| *number > 0)
                .map(Self::PeerPriority),
            ["forwarder", how] => Some(Self::Forwarder { up: is_up(how)? }),
            ["maint", how @ ("on" | "off")] => Some(Self::Maintenance { on: *how == "on" }),
            ["handover"] => Some(Self::Handover),
            ["stop"] => Some(Self::Stop),
            ["group", name, how] => Some(Self::Group {
                name: (*name).to_owned(),
                up: is_up(how)?,
            }),
            ["track", name @ .., how] if !name.is_empty() => {
                let name = name.join(" ");
                match *how {
                    "ok" => Some(Self::Track { name, up: true }),
                    "fail" => Some(Self::Track { name, up: false }),
                    number => number
                        .parse()
                        .ok()
                        .map(|number| Self::Number { name, number }),
                }
            }
            [name, how] => Some(Self::Link {
                name: (*name).to_owned(),
                fact: if is_up(how)? {
                    LinkFact::Running
                } else {
                    LinkFact::Down
                },
            }),
            _ => None,
        }
    }
}

fn is_up(word: &str) -> Option<bool> {
    match word {
        "up" => Some(true),
        "down" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_assumed() {
        let link = |name: &str, fact| Assumption::Link {
            name: name.to_owned(),
            fact,
        };
        let track = |name: &str, up| Assumption::Track {
            name: name.to_owned(),
            up,
        };
        let (name, number) = ("manual".to_owned(), -20);
        let group = "web".to_owned();
        let cases = [
            ("eth0 down", Some(link("eth0", LinkFact::Down))),
            (" eth1  up ", Some(link("eth1", LinkFact::Running))),
            ("peer silent", Some(Assumption::PeerSilent)),
            ("peer priority 254", Some(Assumption::PeerPriority(254))),
            ("track disk fail", Some(track("disk", false))),
            ("track script disk ok", Some(track("script disk", true))),
            (
                "track manual -20",
                Some(Assumption::Number { name, number }),
            ),
            (
                "group web down",
                Some(Assumption::Group {
                    name: group,
                    up: false,
                }),
            ),
            ("forwarder down", Some(Assumption::Forwarder { up: false })),
            ("forwarder up", Some(Assumption::Forwarder { up: true })),
            ("maint on", Some(Assumption::Maintenance { on: true })),
            ("maint off", Some(Assumption::Maintenance { on: false })),
            ("peer priority 0", None),
            ("peer priority 256", None),
            ("track fail", None),
            ("track disk maybe", None),
            ("group web", None),
            ("maint maybe", None),
            ("eth0", None),
            ("", None),
        ];
        for (words, expected) in cases {
            assert_eq!(Assumption::parse(words), expected, "{words}");
        }
    }
}
