//! What `--help` says below the list of options: what a command does beyond its first line, and how it is used.

const EXIT_CODES: &str = "\
Exit codes:
   0  good
   1  fault: it was tried and did not work
   2  wrong usage
   3  degraded: service is given, something is wrong (status)
   4  no service (status)
  69  the daemon cannot be reached
  77  no permission
  78  the configuration has errors";

const EXAMPLES: &str = "\
Examples:
  tandem status                        how is this node?
  tandem vrrp main                     why is it active, or not?
  tandem why                           the story of the last change of state
  tandem events -f                     what happens, as it happens
  tandem drain app/10.0.0.21:8080      give a target nothing new
  tandem check tandem.toml             is the file right?
  tandem diff tandem.toml              what would a reload change?
  tandem --json status | jq .config    for scripts";

/// Below the help of the whole program.
pub(super) fn whole() -> String {
    format!("{EXAMPLES}\n\n{EXIT_CODES}")
}

pub(super) const STATUS: &str = "\
The exit code is the verdict: 0 good, 3 degraded, 4 no service, 69 daemon not
reachable. The node that answers is marked with a star. P50 and P99 of a
listener: whole requests; of a group: until answers began.

Examples:
  tandem status
  tandem status > /dev/null || echo 'look at this node'
  tandem --json status | jq -r '.vrrp[] | .name + \" \" + .state'";

pub(super) const TOP: &str = "\
Keys: r requests a second, i in flight, e failures, p p99, n name; q or Ctrl-C
to leave. Requests a second are of the last 5 to 10 seconds, P50 and P99 of the
time the forwarder runs. Without a terminal, and with --json, it prints once.

Examples:
  tandem top
  tandem top --sort errors
  tandem top --once | head -20";

pub(super) const PAIR: &str = "\
What each node says of itself: version, hash of the configuration, clock, marks
of the keys that session tickets are made of, serial numbers of certificates,
orders, and targets whose check does not find them up. The other one tells it
on the second path (heartbeat under [pair]), once a second. Exit code: 0 they
agree, 3 they do not, or the other one is not heard there.

Examples:
  tandem pair
  tandem --json pair | jq -r '.differences[]'";

pub(super) const VRRP: &str = "Examples:\n  tandem vrrp\n  tandem vrrp main";

pub(super) const TARGETS: &str = "\
STATE is what was observed and ordered in one word, with what the check says
below it where that is not told; a target that drains shows how long bound
clients and what is in flight may still use it. WEIGHT is the one that counts,
with the file's in brackets where an order has changed it. REQ/S is of the last
5 to 10 seconds; P50 and P99 are how long answers took to begin, ERR how often
it failed. These and SINCE go back no further than the forwarder runs. WHY goes
below the row where there is no room beside it.

Examples:
  tandem targets
  tandem targets app
  tandem --json targets | jq '.[].targets[] | select(.state != \"up\")'";

pub(super) const CERTS: &str = "\
Files are read again with `tandem reload`, and when they change. A file that
cannot be used changes nothing: what was read before stays in use.

Examples:
  tandem certs
  tandem --json certs | jq -r '.[] | .name + \" \" + .not_after'";

pub(super) const RULES: &str = "\
Counters begin with the forwarder and stay over a reload with the rule's name.

Examples:
  tandem rules
  tandem rules https
  tandem --json rules https | jq '.[].rules[] | select(.requests_total == 0)'";

pub(super) const EVENTS: &str = "\
Examples:
  tandem events                    everything the daemon remembers
  tandem events --since 10m        the last ten minutes
  tandem events --since 41 -f      what follows event number 41, without end
  tandem --json events -f | jq .   one JSON object a line";

pub(super) const WHY: &str = "\
The flight recorder keeps the minute before each change and the two seconds
after it. Times are distances from the change, by the monotonic clock.

Examples:
  tandem why                  the last change of this node
  tandem why main             the last change of [vrrp.main]
  tandem why 41               the change that is event number 41
  tandem why target app/10.0.0.21:8080    how a target stands, and its events
  tandem why --list           which changes have been recorded
  tandem --json why | jq .facts";

pub(super) const RELOAD: &str = "\
A file with errors changes nothing: the errors are printed, what runs goes on,
and the exit code is 78. To see first what would change: tandem diff FILE

--wait: a forwarder that is down or has just been started does not serve yet;
this waits for it, says what it serves, and is 1 if it does not in a minute.

Examples:
  tandem reload
  tandem reload --wait && echo 'clients meet the new configuration'
  tandem check && tandem reload";

pub(super) const HANDOVER: &str = "\
The addresses are kept until the other node is heard. If it does not take over,
this node stays active, says why, and the exit code is 1.

Examples:
  tandem handover          everything this node is active for
  tandem handover main     only [vrrp.main]";

pub(super) const DRAIN: &str = "\
Clients that are bound to it stay; what is in flight has the `drain` time of its
group to end. `tandem targets` shows how much is left.

The order is kept across reload and restart of every process, until it is
cleared (tandem ready, tandem overrides --clear) or its time is over. It is one
of this node: give it on both nodes of a pair.

Examples:
  tandem drain app/10.0.0.21:8080
  tandem drain app/10.0.0.21:8080 --for 2h --why 'disk swap'";

pub(super) const MAINT: &str = "\
on: the node gives its addresses to the other one, and has priority 1 from then
on. It takes over only while nobody else is active, and gives the addresses back
as soon as somebody is. off: priority and preempt are those of the file again.

GROUP/TARGET: the target gets nothing at all, not even from clients that are
bound to it; what is in flight has the `drain` time of its group to end. Its
health check goes on. The order is one of this node: give it on both of a pair.

Both are kept across reload and restart of every process, until they are cleared
(off, tandem ready, tandem overrides --clear) or their time is over.

Examples:
  tandem maint on --why 'new kernel' --for 2h
  tandem maint off
  tandem maint app/10.0.0.21:8080 --why 'new disk'";

pub(super) const READY: &str = "\
It takes back drain and maint; a weight stays (tandem weight --reset).

Examples:
  tandem ready app/10.0.0.21:8080";

pub(super) const WEIGHT: &str = "\
For a rule that forwards to several groups the weights that are named change,
the others stay; what each group gets is printed. A listener is named for what
none of its rules matches.

The order is kept across reload and restart of every process, until it is
cleared (--reset, tandem overrides --clear) or its time is over. It is one of
this node: give it on both nodes of a pair.

Examples:
  tandem weight app/10.0.0.21:8080 5
  tandem weight site web-v1=75 web-v2=25 --why canary
  tandem weight https/site web-v2=0 --for 1h
  tandem weight site --reset                  as in the file again";

pub(super) const CANARY: &str = "\
The others share the rest in the proportions they have: 25 for web-v2 makes 75
for web-v1. Clients that a rule binds to their group stay with it. What each
group gets is printed.

The order stands as one of `tandem weight`: kept across reload and restart of
every process, until it is cleared (tandem weight RULE --reset, tandem overrides
--clear) or its time is over. Give it on both nodes of a pair.

Examples:
  tandem canary site web-v2=5 --for 1h --why 'new checkout'
  tandem canary https/site web-v2=25";

pub(super) const SWITCH: &str = "\
The other groups of the rule get nothing; naming another group switches back.
Clients that a rule binds to their group stay with it as long as it can serve.

The order stands as one of `tandem weight`: kept across reload and restart of
every process, until it is cleared (tandem weight RULE --reset, tandem overrides
--clear) or its time is over. Give it on both nodes of a pair.

Examples:
  tandem switch site green --why 'release 7'
  tandem switch site blue";

pub(super) const SESSIONS: &str = "\
Connections of tcp and tls listeners, and requests that were answered with
another protocol (WebSocket), the oldest first, a thousand at most. IN and OUT
are octets from the client and to it. Nothing is kept for this list: each
connection says what it is when it is asked.

Examples:
  tandem sessions --older 1h
  tandem sessions --target db/10.0.0.31:5432
  tandem --json sessions | jq '.sessions[] | select(.bytes_in == 0)'";

pub(super) const KILL: &str = "\
Ends just these. A client of TCP sees a reset, a WebSocket is closed in its own
words. Who ordered it is in the journal (tandem events). Exit code: 0 they were
ended, or nothing matched; 1 none of those that were named was there.

Examples:
  tandem kill 0.17 1.3
  tandem kill --target db/10.0.0.31:5432 --older 1h";

pub(super) const METRICS: &str = "\
The same as /metrics of the control socket; docs/metrics.md says what each is.
With --json an object a line for each sample: name, labels, value.

Examples:
  tandem metrics | grep '^tandem_target_up'
  tandem metrics tandem_vrrp";

pub(super) const OVERRIDES: &str = "\
Orders stand beside the file: who gave them, when, until when, why. One for
something that is not in the file is kept, shown as `matches nothing`, and holds
when the thing is back.

Examples:
  tandem overrides
  tandem overrides --clear app/10.0.0.21:8080
  tandem overrides --clear                    all of them";

pub(super) const RESTART: &str = "\
Replaces it by the program on disk. Announces a pause to the other node, which
waits meanwhile. The next one takes over addresses and data plane as they are:
no connection is touched. If it does not get there within some seconds, the
other node takes over and the exit code is 1. Not possible with VRRPv2, a
virtual MAC or accept_mode = false: there, hand over first.
The same by signal: kill -USR2 of tandemd.

Examples:
  tandem restart           after an upgrade of the package";

pub(super) const SIMULATE: &str = "\
Goes through the election of this node and of the other one in made-up time,
with the state and the configuration of now. Nothing is touched.

  IFACE down|up            an interface that is used or tracked
  peer silent              the other router is gone
  peer priority N          the other router has this priority
  track NAME ok|fail       a script, file, process or probe
  track NAME NUMBER        a file that holds a number
  group NAME down|up       a target group that is tracked
  forwarder down|up        the data plane has died, or is there
  maint on|off             this node in maintenance, or out of it
  handover, stop           what these orders would do

Examples:
  tandem simulate eth0 down
  tandem simulate track disk fail";

pub(super) const EXPLAIN: &str = "\
Nothing is sent and nothing counted. The daemon is asked, with what it knows of
targets and cookies; with --config a file is, as if every target were unknown.
The exit code is 0 if the request would be answered by a target or a rule, 1 if
it would be refused, closed or find no target, 2 if no listener takes it.

Examples:
  tandem explain GET https://app.example.com/api/x -H 'X-Beta: yes'
  tandem explain GET http://shop.example.com/ --from 198.51.100.7
  tandem explain POST https://app.example.com/ --config new.toml
  tandem --json explain GET http://a.test/ | jq -r .rule";

pub(super) const CHECK: &str = "\
Prints every error and warning with place and remedy; 78 if there are errors.
--peer asks the daemon of this node what the other one runs (E061).

Examples:
  tandem check tandem.toml
  tandem check tandem.toml --node lb2     as the other node would read it
  tandem check --peer --strict            does the other node run it?";

pub(super) const DIFF: &str = "\
Compares with what the daemon runs, or without a daemon with another file.

Examples:
  tandem diff tandem.toml
  tandem diff new.toml --against old.toml";

pub(super) const COMPLETION: &str = "\
Examples:
  tandem completion bash > /etc/bash_completion.d/tandem
  tandem completion zsh > /usr/local/share/zsh/site-functions/_tandem
  tandem completion fish > ~/.config/fish/completions/tandem.fish";
