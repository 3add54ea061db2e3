//! What signing needs of the world outside the core: the wall clock, stamps in order, and the highest ones heard.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use control::AuthenticationStatus;
use vrrp::{
    Advertisement, AlarmKind, Authentication, Datagram, Marks, PeerStatus, Reject, Sequencer,
    Stamp, WallTime,
};

/// By how much the farewells in the last will are stamped ahead: the keeper cannot sign, and what it sends must be later than everything
/// this process has sent since the will was deposited.
const WILL_LEAD: Duration = Duration::from_secs(1);
/// How often a will with signed farewells is written anew, so that its stamps stay ahead and within the window.
pub(super) const WILL_REFRESH: Duration = Duration::from_millis(500);

/// The highest stamp that anything this node signs may carry by now, the same for all its virtual routers. One that begins, because a
/// reload has replaced it or brought it back, goes on after it: the clock alone may have been set back since.
#[derive(Debug, Clone, Default)]
pub(super) struct Highest(Rc<Cell<Option<Stamp>>>);

impl Highest {
    /// As far as the keeper knows of directors before this one.
    pub(super) fn told(told: Option<Stamp>) -> Self {
        Self(Rc::new(Cell::new(told)))
    }

    fn note(&self, stamp: Stamp) -> Stamp {
        if self.0.get().is_none_or(|highest| stamp.follows(highest)) {
            self.0.set(Some(stamp));
        }
        stamp
    }
}

/// Stamps of one virtual router, both ways.
#[derive(Debug)]
pub(super) struct Signing {
    highest: Highest,
    sequencer: Sequencer,
    pub(super) marks: Marks,
    /// When the will has to be written anew.
    pub(super) will_due_at: Option<Instant>,
}

impl Signing {
    /// Begins beyond every stamp that this node may have used before.
    pub(super) fn new(highest: Highest) -> Self {
        Self {
            sequencer: Sequencer::beginning_at(wall().after(WILL_LEAD), highest.0.get()),
            highest,
            marks: Marks::default(),
            will_due_at: None,
        }
    }

    /// The stamp of an advertisement that is sent now; the first one for what is not signed.
    pub(super) fn stamp(&mut self, advertisement: &Advertisement) -> Stamp {
        advertisement
            .authentication()
            .map_or_else(Stamp::default, |authentication| {
                let stamp = self.sequencer.next(wall(), authentication);
                self.highest.note(stamp)
            })
    }

    /// The stamp of farewells in the last will; none where nothing is signed.
    pub(super) fn will_stamp(&self, authentication: Option<&Authentication>) -> Option<Stamp> {
        let ahead = |authentication| self.sequencer.ahead(wall(), WILL_LEAD, authentication);
        authentication
            .map(ahead)
            .map(|stamp| self.highest.note(stamp))
    }
}

/// The wall clock; 1970 if it is before that.
pub(super) fn wall() -> WallTime {
    WallTime(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// What an operator may see of it.
pub(super) fn status(
    authentication: &Authentication,
    peer: Option<&PeerStatus>,
) -> AuthenticationStatus {
    let signed = peer.and_then(|peer| Some((peer.last_heard.elapsed(), peer.proof?)));
    AuthenticationStatus {
        mode: authentication.mode.as_str().to_owned(),
        active_key: authentication.active(),
        keys: authentication.ids().collect(),
        anti_replay: authentication.freshness.as_str().to_owned(),
        peer_key: signed.map(|(_, proof)| proof.key),
        peer_skew_s: signed.map(|(ago, proof)| {
            proof.stamp.age_s(wall()) - i64::try_from(ago.as_secs()).unwrap_or(i64::MAX)
        }),
    }
}

/// What kind of alarm a packet makes that looks like one of a peer that is set up in another way, or of a strange pair with our id; none
/// for other reasons.
pub(super) fn alarm_kind(reject: Reject) -> Option<AlarmKind> {
    match reject {
        Reject::TrailerMissing
        | Reject::TrailerForm
        | Reject::KeyUnknown
        | Reject::Hmac
        | Reject::Replay
        | Reject::AuthType
        | Reject::Password => Some(AlarmKind::Unauthenticated),
        Reject::AddressList => Some(AlarmKind::ListMismatch),
        Reject::OffLink => Some(AlarmKind::OffLink),
        Reject::Stale => Some(AlarmKind::ClockSkew),
        Reject::Short
        | Reject::IpLength
        | Reject::Protocol
        | Reject::Destination
        | Reject::OwnSource
        | Reject::HopLimit
        | Reject::Version
        | Reject::Length
        | Reject::Type
        | Reject::UnknownVrid
        | Reject::Checksum
        | Reject::CountZero
        | Reject::IntervalZero
        | Reject::NotLinkLocal
        | Reject::V2Interval => None,
    }
}

/// The same for a person. Only where the HMAC held is anything said that the packet says of its sender.
pub(super) fn alarm_words(datagram: &Datagram<'_>, reject: Reject) -> String {
    let peer = datagram.source;
    let skew_s = vrrp::claimed_skew_s(datagram.payload, wall()).unwrap_or_default();
    match reject {
        Reject::Stale => format!(
            "{}; its advertisements are refused until then",
            vrrp::skew_words(peer, skew_s)
        ),
        Reject::Replay => format!(
            "advertisements from {peer} are refused, signed {skew_s} s ago but not later than what was heard before: recorded and sent \
             again, or its clock went back"
        ),
        _other => format!("advertisements from {peer} are refused: {reject}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vrrp::{Freshness, Key};

    #[test]
    fn a_virtual_router_that_is_replaced_goes_on_after_the_stamps_of_the_one_before() {
        let keys = vec![Key::new(1, &[7; 32]).unwrap()];
        let mut authentication = Authentication::new(keys, 1).unwrap();
        authentication.freshness = Freshness::Growth;
        // What was signed before somebody set the clock back by an hour.
        let hour_ahead = Stamp::at(wall().after(Duration::from_secs(3600)));
        let highest = Highest::told(Some(hour_ahead));
        let mut first = Signing::new(highest.clone());
        let sent = first.sequencer.next(wall(), &authentication);
        assert!(sent.follows(hour_ahead));
        let will = first.will_stamp(Some(&authentication)).unwrap();
        assert!(will.follows(sent));
        drop(first);
        let mut second = Signing::new(highest);
        let sent = second.sequencer.next(wall(), &authentication);
        assert!(sent.follows(will), "{sent:?} is refused as a replay");
    }
}
