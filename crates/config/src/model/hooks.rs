//! What is run when a virtual router changes its state.

use std::time::Duration;

/// `[vrrp.NAME.hooks]`: the operator's programs, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// What is run, and when.
    pub programs: Vec<Hook>,
    /// How long each may take; 100 ms to 10 min.
    pub timeout: Duration,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The change it is for.
    pub on: HookOn,
    /// Its absolute path and its arguments. Never empty.
    pub run: Vec<String>,
}

/// The change a hook is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookOn {
    /// The router is in this state from here on.
    State(vrrp::State),
    /// Any.
    Transition,
}

impl HookOn {
    /// All of them, in the order in which they are run for one change: what is for the state alone goes first.
    pub const ALL: [HookOn; 5] = [
        HookOn::State(vrrp::State::Active),
        HookOn::State(vrrp::State::Backup),
        HookOn::State(vrrp::State::Fault),
        HookOn::State(vrrp::State::Initialize),
        HookOn::Transition,
    ];

    /// The key of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            HookOn::State(vrrp::State::Active) => "active",
            HookOn::State(vrrp::State::Backup) => "backup",
            HookOn::State(vrrp::State::Fault) => "fault",
            HookOn::State(vrrp::State::Initialize) => "stop",
            HookOn::Transition => "transition",
        }
    }
}

impl Default for Hooks {
    fn default() -> Hooks {
        Hooks {
            programs: Vec::new(),
            timeout: Duration::from_secs(30),
        }
    }
}

impl Hooks {
    /// What is run when the router is in state `to` from here on, in order.
    pub fn on(&self, to: vrrp::State) -> impl Iterator<Item = &Hook> {
        let programs = self.programs.iter();
        programs.filter(move |hook| match hook.on {
            HookOn::State(state) => state == to,
            HookOn::Transition => true,
        })
    }
}
