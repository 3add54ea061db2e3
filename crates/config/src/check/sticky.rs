//! Whether clients can stay where they are told to.

use balancer::{Condition, Glob, RuleAction, RuleSettings, StickySettings};

use crate::Code;
use crate::read::{Draft, GroupDraft, ListenerDraft, RulePlace};
use crate::tree::{At, Findings, Place};

pub(super) fn check(draft: &Draft, found: &Findings<'_>) {
    let sticky = Sticky { draft, found };
    for listener in &draft.listeners {
        for (rule, place) in listener.rules.iter().zip(&listener.rule_places) {
            sticky.rule(rule, place);
        }
        sticky.unbound(&listener.action, &listener.name.place);
        sticky.overwritten(listener);
    }
    for group in &draft.groups {
        sticky.needs_http(group);
    }
    sticky.without_key();
}

struct Sticky<'d> {
    draft: &'d Draft,
    found: &'d Findings<'d>,
}

impl Sticky<'_> {
    /// What a group says, and where.
    fn of_group(&self, name: &str) -> Option<At<StickySettings>> {
        let mut groups = self.draft.groups.iter();
        groups.find(|group| group.name.value == name)?.sticky()
    }

    /// A rule keeps clients with one of several groups.
    fn rule(&self, rule: &RuleSettings, place: &RulePlace) {
        let (Some(sticky), Some(at)) = (&rule.sticky, &place.sticky) else {
            return self.unbound(&Some(rule.action.clone()), &place.rule);
        };
        if !matches!(rule.action, RuleAction::Split(_)) {
            let message =
                "`sticky` of a rule chooses between several groups, and there are not several";
            let remedy = "remove it; to stay with a target, write it in the group".to_owned();
            return self.found.error(Code::Weights, at, message, remedy);
        }
        let same = rule.action.groups().find(|group| {
            let target = self.of_group(group);
            target.is_some_and(|target| target.value.cookie == sticky.cookie)
        });
        if let Some(group) = same {
            let message = format!(
                "the cookie `{}` cannot say both which group and, as in group `{group}`, which target",
                sticky.cookie
            );
            let remedy = format!("call one of them for example `{}_GROUP`", sticky.cookie);
            self.found.error(Code::Duplicate, at, message, remedy);
        }
    }

    /// Targets cannot be kept where the group is drawn anew for each request.
    fn unbound(&self, action: &Option<RuleAction>, place: &Place) {
        let Some(RuleAction::Split(shares)) = action else {
            return;
        };
        let mut names = shares.iter().map(|(name, _)| name);
        let Some(name) = names.find(|name| self.of_group(name).is_some()) else {
            return;
        };
        let message = format!(
            "clients cannot stay with a target of group `{name}`: here the group is drawn anew for each request"
        );
        let remedy = "add to the rule `sticky = { cookie = \"TANDEM_GROUP\", ttl = \"1h\" }`";
        self.found
            .error(Code::Weights, place, message, remedy.to_owned());
    }

    /// Two groups of one site that bind by one cookie take each other's clients away.
    fn overwritten(&self, listener: &ListenerDraft) {
        let rules = listener
            .rules
            .iter()
            .map(|rule| (hosts(rule), Some(&rule.action)));
        let default = (None, listener.action.as_ref());
        let mut seen: Vec<Binder<'_>> = Vec::new();
        for (hosts, action) in rules.chain([default]) {
            let groups = action.into_iter().flat_map(RuleAction::groups);
            let here: Vec<Binder<'_>> = groups
                .filter_map(|group| {
                    Some(Binder {
                        hosts,
                        group,
                        sticky: self.of_group(group)?,
                    })
                })
                .collect();
            for binder in &here {
                if let Some(other) = seen.iter().find(|other| other.takes_from(binder)) {
                    self.taken_away(other, binder);
                }
            }
            // Groups of one action are chosen between: a client is in one of them.
            seen.extend(here);
        }
    }

    fn taken_away(&self, one: &Binder<'_>, other: &Binder<'_>) {
        let message = format!(
            "groups `{}` and `{}` serve the same hosts and bind by the same cookie `{}`: a client of both stays with neither",
            one.group, other.group, other.sticky.value.cookie
        );
        let remedy = "give each group a cookie of its own".to_owned();
        let place = &other.sticky.place;
        self.found.warning(Code::Duplicate, place, message, remedy);
    }

    /// A cookie needs requests.
    fn needs_http(&self, group: &GroupDraft) {
        let Some(sticky) = group.sticky() else {
            return;
        };
        let of_group = |name: &At<String>| name.value == group.name.value;
        let mut blind = self.draft.listeners.iter();
        let blind = blind.find(|listener| {
            !listener.protocol.speaks_http() && listener.groups.iter().any(of_group)
        });
        if let Some(listener) = blind {
            let message = format!(
                "group `{}` binds by a cookie, which listener `{}` cannot see: its protocol is {}",
                group.name.value,
                listener.name.value,
                listener.protocol.as_str()
            );
            let remedy = "write `sticky = \"off\"`, and for example `algorithm = { consistent_hash = \"source\" }`";
            self.found.error(
                Code::ProtocolOption,
                &sticky.place,
                message,
                remedy.to_owned(),
            );
        }
    }

    /// Without a common key each forwarder makes its own.
    fn without_key(&self) {
        let pair = self.draft.pair.as_ref();
        if pair.is_some_and(|pair| pair.has_key_file) {
            return;
        }
        let rules = self
            .draft
            .listeners
            .iter()
            .flat_map(|listener| &listener.rule_places);
        let in_rules = rules.filter_map(|place| place.sticky.clone());
        let in_groups = self.draft.groups.iter().filter_map(GroupDraft::sticky);
        let places = in_rules.chain(in_groups.map(|sticky| sticky.place));
        let Some(place) = places.min_by_key(|place| place.span.start) else {
            return;
        };
        let (message, remedy) = match pair {
            Some(_) => (
                "after a failover the other node does not know these cookies: there is no key of the pair",
                "add `key_file = \"/etc/tandem/pair.key\"` to [pair]",
            ),
            None => (
                "when the forwarder starts again it does not know its cookies: there is no key of a pair",
                "add a [pair] with this node and a `key_file`",
            ),
        };
        self.found
            .warning(Code::NoCookieKey, &place, message, remedy.to_owned());
    }
}

/// A group that binds clients of some hosts.
struct Binder<'d> {
    hosts: Option<&'d [Glob]>,
    group: &'d str,
    sticky: At<StickySettings>,
}

impl Binder<'_> {
    fn takes_from(&self, other: &Binder<'_>) -> bool {
        let same_cookie = self.sticky.value.cookie == other.sticky.value.cookie;
        self.hosts == other.hosts && self.group != other.group && same_cookie
    }
}

/// The hosts a rule is for, if it says so.
fn hosts(rule: &RuleSettings) -> Option<&[Glob]> {
    rule.when.iter().find_map(|condition| match condition {
        Condition::Host(patterns) => Some(&patterns[..]),
        Condition::Path(_)
        | Condition::Method(_)
        | Condition::Header(..)
        | Condition::Query(..)
        | Condition::Cookie(..)
        | Condition::Source(_)
        | Condition::PeerSource(_)
        | Condition::Sni(_)
        | Condition::Not(_) => None,
    })
}
