//! The catalogue of problems: one code for each kind, stable, so that people can search for it.
//!
//! A code never changes its meaning. It says nothing about severity: the same kind may be an error in one place and
//! a warning in another (see [`crate::Severity`]).

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($variant:ident = $name:literal, $text:literal;)*) => {
        /// The kind of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $name, "`: ", $text, ".")] $variant,)*
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code as it is printed, such as `E012`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// What the code stands for, in one line.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }
        }
    };
}

codes! {
    Syntax = "E001", "the file is not TOML at this place";
    WrongType = "E010", "a value of another type or form was expected";
    NotInList = "E011", "the value is not one of the possible words";
    UnknownKey = "E012", "there is no such key here";
    MissingKey = "E013", "a key that is needed is not there";
    OutOfRange = "E014", "a number or duration is outside what is possible or sensible";
    NoSuchNode = "E020", "a node is not listed in pair.nodes";
    Dangling = "E021", "a name is used that nothing in the file defines";
    Duplicate = "E022", "the same name, bind address or target twice";
    ForeignBind = "E023", "a listener binds an address that is neither a VIP nor this node's own";
    VipConflict = "E024", "a VIP belongs to two virtual routers, is a node's own address, or is in no network of its interface";
    VridConflict = "E025", "a VRID twice on one interface, or an advertisement interval that cannot be sent";
    Family = "E026", "IPv4 and IPv6 do not fit together here";
    GroupMismatch = "E027", "virtual routers of one group differ in what the group has once";
    Shadowed = "E030", "a rule that is never reached";
    Pattern = "E031", "a pattern or prefix that can never match or does not parse";
    RedirectLoop = "E032", "a redirect that leads to itself";
    Weights = "E033", "weights that choose nothing";
    File = "E040", "a file named in the configuration cannot be used";
    ProtocolOption = "E041", "an option that does not fit the protocol";
    CheckProtocol = "E050", "a health check that is impossible for the protocol";
    Unused = "E051", "a group without targets, or a part that nothing uses";
    Loop = "E052", "a target that is this balancer itself";
    Descriptors = "E060", "the limits of connections need more descriptors than this host allows";
    Exposed = "W070", "an administrative port is reachable through a VIP or any address";
    Unordered = "W072", "advertisements too fast, or priorities too close, to order the nodes";
    Password = "W073", "a password that will not be used as written";
    Refused = "W074", "a listener on a VIP whose packets are dropped (`accept_mode = false`)";
    NoCookieKey = "W075", "cookies that the other node, or this one after a restart, will not know";
    NoTicketKey = "W076", "TLS sessions that the other node, or this one after a restart, will not resume";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
