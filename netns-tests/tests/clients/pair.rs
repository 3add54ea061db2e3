//! A running pair as clients from outside need it, and how they are started.

use std::process::{Child, Command, Output, Stdio};

use netns_tests::{Device as _, Host, Lab, PairConfig, Part, Tandem, wait_until};

use crate::common::{LIMIT, certificate};

/// A pair with an https listener and one for HTTP/2 in clear text on the floating address.
pub(crate) struct Pair<'lab> {
    pub(crate) lab: &'lab Lab,
    config: PairConfig,
    more: &'static str,
    nodes: [Tandem<'lab>; 2],
}

impl<'lab> Pair<'lab> {
    /// `more` is added to both configurations.
    pub(crate) fn start(lab: &'lab Lab, more: &'static str) -> Pair<'lab> {
        certificate(lab.folder());
        let config = PairConfig::default();
        let nodes = [Host::Lb1, Host::Lb2].map(|host| {
            let mut node = Tandem::new(lab, host, &config).unwrap();
            for file in ["app.pem", "app.key"] {
                let to = node.config_path().with_file_name(file);
                std::fs::copy(lab.folder().join(file), to).unwrap();
            }
            node.write_config(&text(&config, host, more, "")).unwrap();
            node.start().unwrap();
            node
        });
        Tandem::wait_pair(nodes.each_ref(), &config).unwrap();
        Pair {
            lab,
            config,
            more,
            nodes,
        }
    }

    /// Reloads both nodes with a change in the listener that is in use, in its group, and another listener, and back again.
    pub(crate) fn reload(&self) {
        let changed = PairConfig {
            health_every: std::time::Duration::from_millis(1500),
            ..self.config.clone()
        };
        let added = "[listener.more]\nbind = \"10.0.0.10:8082\"\nprotocol = \"http\"\nforward = \"app\"\n\
                     [[listener.secure.rule]]\nwhen = { path = \"/nowhere\" }\nrespond = 404\n";
        let before = self.state();
        for (config, added) in [(&changed, added), (&self.config, "")] {
            for node in &self.nodes {
                let hash = |node: &Tandem<'_>| node.status().unwrap()["config"]["hash"].to_string();
                let old = hash(node);
                node.write_config(&text(config, node.host(), self.more, added))
                    .unwrap();
                let (code, out, err) = node.cli(&["reload"]).unwrap();
                assert_eq!(code, 0, "{out}{err}");
                assert_ne!(hash(node), old, "the new configuration runs");
            }
        }
        assert_eq!(
            self.state(),
            before,
            "a reload moved a state or replaced a process"
        );
    }

    /// An order to a node that is followed.
    pub(crate) fn order(&self, host: Host, words: &[&str]) {
        let (code, out, err) = self.node(host).cli(words).unwrap();
        assert_eq!(code, 0, "{words:?}: {out}{err}\n{}", self.logs());
    }

    /// Waits until a node is ready to pass on what belongs to the one before it, which takes a second after it held the address itself.
    pub(crate) fn wait_steered(&self, host: Host) {
        let mut nft = Command::new("nft");
        nft.args(["list", "ruleset"]);
        wait_until("segments would be passed on", LIMIT, || {
            let listed = self.lab.net(host).enter(|| nft.output()).unwrap().unwrap();
            String::from_utf8_lossy(&listed.stdout).contains("fwd ip to")
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.logs()));
    }

    /// Stops a node as systemd does.
    pub(crate) fn stop(&mut self, host: Host) {
        let at = self.nodes.iter().position(|node| node.host() == host);
        self.nodes[at.unwrap()].stop(2 * LIMIT).unwrap();
    }

    /// Kills a node whole: nobody says goodbye.
    pub(crate) fn kill(&self, host: Host) {
        self.node(host).kill(Part::All).unwrap();
    }

    /// Starts it again.
    pub(crate) fn start_again(&mut self, host: Host) {
        let at = self.nodes.iter().position(|node| node.host() == host);
        self.nodes[at.unwrap()].start().unwrap();
    }

    /// The floating address.
    pub(crate) fn address(&self) -> std::net::IpAddr {
        self.config.address()
    }

    fn node(&self, host: Host) -> &Tandem<'lab> {
        let mut nodes = self.nodes.iter();
        nodes.find(|node| node.host() == host).unwrap()
    }

    fn state(&self) -> Vec<(String, Vec<u32>)> {
        let look = |node: &Tandem<'_>| {
            let moved = node.last_transition().unwrap().to_string();
            (moved, node.pids(Part::All))
        };
        self.nodes.iter().map(look).collect()
    }

    /// Starts a client with its standard input and output open to us.
    pub(crate) fn client(&self, command: &mut Command) -> Child {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.lab.net(Host::Client).spawn(command).unwrap()
    }

    /// Runs a client to its end.
    pub(crate) fn run(&self, command: &mut Command) -> Output {
        command.stdin(Stdio::null());
        let run = || command.output().expect("it is installed (scripts/setup)");
        self.lab.net(Host::Client).enter(run).unwrap()
    }

    /// A curl that knows where the names are and whom to trust, and says the version at the end.
    pub(crate) fn curl(&self, words: &[&str]) -> Command {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--fail", "--max-time", "120"])
            .args([
                "--no-buffer",
                "--write-out",
                "%{stderr}HTTP/%{http_version}",
            ])
            .arg("--cacert")
            .arg(self.lab.folder().join("app.pem"));
        for port in [443, 8081] {
            let known = format!("app.test:{port}:{}", self.config.address());
            command.args(["--resolve", &known]);
        }
        command.args(words);
        command
    }

    /// Requests that wait for [`Pair::release`].
    pub(crate) fn held(&self) -> u64 {
        [Host::Backend1, Host::Backend2]
            .map(|host| self.lab.origin(host).unwrap().held())
            .iter()
            .sum()
    }

    /// Lets all of them be answered.
    pub(crate) fn release(&self) {
        for host in [Host::Backend1, Host::Backend2] {
            self.lab.origin(host).unwrap().release();
        }
    }

    /// What both nodes have logged, for messages.
    pub(crate) fn logs(&self) -> String {
        let [one, two] = &self.nodes;
        let listeners =
            |node: &Tandem<'_>| node.status().map(|status| status["listeners"].to_string());
        let told = [one, two].map(|node| listeners(node).unwrap_or_default());
        let [seen_by_one, seen_by_two] = told;
        format!(
            "--- lb1\n{}\n{seen_by_one}\n--- lb2\n{}\n{seen_by_two}",
            one.tail(),
            two.tail()
        )
    }
}

fn text(config: &PairConfig, host: Host, more: &str, added: &str) -> String {
    let vip = config.address();
    config.tandem(host)
        + &format!(
            "\n[listener.secure]\nbind = \"{vip}:443\"\nforward = \"app\"\ntls = {{ certificates = [\"app\"] }}\n\
             [listener.clear]\nbind = \"{vip}:8081\"\nprotocol = \"http\"\nh2c = true\nforward = \"app\"\n\
             [certificate.app]\ncert = \"app.pem\"\nkey = \"app.key\"\n"
        )
        + more
        + added
}

/// What a client has printed, the beginning of it.
pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
