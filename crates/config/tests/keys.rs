//! Key files: what is taken, and that everything else is an error and never no authentication.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use config::{Config, Facts, Outcome, diff, load};
use vrrp::{AuthMode, Authentication, Freshness, Key};

/// A folder of this test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("tandem-keys-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, keys: &str, mode: u32) {
        let path = self.0.join("key");
        fs::write(&path, keys).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Loads a pair whose `auth` has `more` behind its file.
    fn load(&self, more: &str) -> Outcome {
        let text = format!(
            "[pair]\nnodes = {{ lb1 = \"10.0.0.2\", lb2 = \"10.0.0.3\" }}\n[vrrp.a]\ninterface = \"eth0\"\n\
             vrid = 1\nvips = [\"10.0.0.1/24\"]\nauth = {{ hmac_file = \"key\"{more} }}\n"
        );
        let facts = Facts {
            host_name: "lb1".to_owned(),
            file_access: true,
            ..Facts::default()
        };
        load(&self.0.join("t.toml"), &text, &facts)
    }

    fn with(&self, keys: &str, more: &str) -> Outcome {
        self.write(keys, 0o600);
        self.load(more)
    }

    /// What is said about a file, without the folder's name.
    fn problems(&self, keys: &str, more: &str) -> Vec<String> {
        let outcome = self.with(keys, more);
        assert!(outcome.config.is_none(), "it would run");
        self.texts(&outcome)
    }

    fn texts(&self, outcome: &Outcome) -> Vec<String> {
        let folder = format!("{}/", self.0.display());
        let problems = outcome.report.problems.iter();
        problems
            .map(|p| {
                format!("{}:{} {} {}", p.line, p.column, p.code, p.message).replace(&folder, "")
            })
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const HEX: &str = "hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn authentication(outcome: Outcome) -> Authentication {
    let config: Config = outcome.config.unwrap();
    let settings = config.vrrp[0].settings.clone();
    Authentication::clone(&settings.authentication.unwrap())
}

#[test]
fn a_key_file_of_keepalived_is_key_one() {
    let folder = Folder::new("plain");
    let secret: Vec<u8> = (0..32).collect();
    let mut expected = Authentication::new(vec![Key::new(1, &secret).unwrap()], 1).unwrap();
    // Between two nodes a wrong clock must not silence one.
    expected.freshness = Freshness::Growth;
    let found = authentication(folder.with(&format!("{HEX}\n"), ""));
    assert_eq!(found.mode, AuthMode::Enforce);
    assert_eq!(found, expected);
    let text = "an ASCII text of 32 to 64 octets";
    let ascii = authentication(folder.with(text, ", anti_replay = \"time\", window = \"9s\""));
    let expected = Authentication::new(vec![Key::new(1, text.as_bytes()).unwrap()], 1).unwrap();
    assert_eq!(ascii, expected.with_window(9));
}

#[test]
fn several_keys_and_the_one_that_signs() {
    let folder = Folder::new("several");
    let file = format!("# rotation\n\n1  {HEX}\n2\t{}\n", "x".repeat(64));
    let found = authentication(folder.with(&file, ", active_key = 2, mode = \"receive-only\""));
    assert_eq!((found.active(), found.mode), (2, AuthMode::ReceiveOnly));
    assert_eq!(found.ids().collect::<Vec<u8>>(), [1, 2]);
}

#[test]
fn whatever_is_wrong_with_a_key_is_an_error_that_shows_none_of_it() {
    let folder = Folder::new("wrong");
    let cases = [
        ("", "", "7:22 E040 the key file key holds no key"),
        ("# none\n", "", "7:22 E040 the key file key holds no key"),
        (
            "too short",
            "",
            "7:22 E040 key line 1: key 1 has 9 octets; a key has 32 to 64",
        ),
        (
            &"x".repeat(65),
            "",
            "7:22 E040 key line 1: key 1 has 65 octets; a key has 32 to 64",
        ),
        (
            "hex:0g",
            "",
            "7:22 E040 key line 1: `hex:` needs pairs of hexadecimal digits",
        ),
        (
            "hex:000",
            "",
            "7:22 E040 key line 1: `hex:` needs pairs of hexadecimal digits",
        ),
        (
            &format!("0 {HEX}"),
            "",
            "7:22 E040 key line 1: a key has a number from 1 to 255",
        ),
        (
            &format!("300 {HEX}"),
            "",
            "7:22 E040 key line 1: a key has a number from 1 to 255",
        ),
        (
            &format!("1 {HEX}\n1 {HEX}"),
            ", active_key = 1",
            "7:42 E040 key: key 1 is there twice",
        ),
        (
            HEX,
            ", active_key = 2",
            "7:42 E040 key: there is no key 2 to sign with",
        ),
        (&format!("1 {HEX}\n2 {HEX}"), "", "7:22 E013 key has 2 keys"),
        (
            &"#".repeat(17_000),
            "",
            "7:22 E040 cannot use the key file key: it is larger than 16 KiB",
        ),
    ];
    for (keys, more, expected) in cases {
        assert_eq!(folder.problems(keys, more), [expected], "for {keys:.20}");
    }
    let absent = ", active_key = 0";
    assert_eq!(folder.problems(HEX, absent).len(), 1);
    fs::remove_file(folder.0.join("key")).unwrap();
    let expected = "7:22 E040 cannot use the key file key: No such file or directory (os error 2)";
    let outcome = folder.load("");
    assert_eq!(
        (folder.texts(&outcome), outcome.config.is_none()),
        (vec![expected.to_owned()], true)
    );
}

#[test]
fn a_key_that_others_may_read_is_none() {
    let folder = Folder::new("mode");
    for mode in [0o644, 0o640, 0o604, 0o660] {
        folder.write(HEX, mode);
        let outcome = folder.load("");
        assert!(outcome.config.is_none());
        let expected = format!(
            "7:22 E040 cannot use the key file key: others than its owner may use it (mode {mode:04o}); `chmod 600` it"
        );
        assert_eq!(folder.texts(&outcome), [expected]);
    }
}

#[test]
fn a_rotation_is_seen_and_no_secret_shown() {
    let folder = Folder::new("diff");
    let config = |keys: &str, more: &str| folder.with(keys, more).config.unwrap();
    let words = |old: &Config, new: &Config| -> Vec<String> {
        diff(old, new).iter().map(ToString::to_string).collect()
    };
    let one = config(HEX, "");
    let both = config(
        &format!("1 {HEX}\n2 {}", "x".repeat(32)),
        ", active_key = 1",
    );
    let other = config(&"y".repeat(32), "");
    assert_eq!(
        words(&one, &both),
        [
            "vrrp.a: auth hmac enforce, signs with key 1 of 1, anti_replay monotonic, window 5 s -> hmac enforce, \
             signs with key 1 of 1, 2, anti_replay monotonic, window 5 s (in place)"
        ]
    );
    assert_eq!(
        words(&one, &other),
        ["vrrp.a: secret of auth (changed in place)"]
    );
    assert_eq!(words(&one, &one.clone()), [""; 0]);
}

/// Loads a pair with this key file and, if wanted, the second path.
fn pair(folder: &Folder, heartbeat: bool) -> Outcome {
    let path = "heartbeat = { lb1 = \"10.9.0.2:5112\", lb2 = \"10.9.0.3:5112\" }\n";
    let text = format!(
        "[pair]\nnodes = {{ lb1 = \"10.0.0.2\", lb2 = \"10.0.0.3\" }}\nkey_file = \"key\"\n{}\
         [listener.web]\nbind = \"0.0.0.0:80\"\nrespond = 404\n",
        if heartbeat { path } else { "" }
    );
    let facts = Facts {
        host_name: "lb1".to_owned(),
        file_access: true,
        ..Facts::default()
    };
    load(&folder.0.join("t.toml"), &text, &facts)
}

#[test]
fn the_pair_derives_from_each_of_its_keys_the_first_one_first() {
    let folder = Folder::new("pair");
    let other = "ab".repeat(32);
    let derived = |keys: &str| {
        folder.write(keys, 0o600);
        let outcome = pair(&folder, true);
        let lines = folder.texts(&outcome);
        let pair = outcome
            .config
            .unwrap_or_else(|| panic!("{lines:?}"))
            .pair
            .unwrap();
        let signs = pair.heartbeat.unwrap().authentication.active();
        (signs, pair.secret.unwrap().derive("cookies"))
    };
    let (signs, one) = derived(&format!("1 {HEX}"));
    assert_eq!((signs, one.len()), (1, 1));
    let (signs, two) = derived(&format!("2 hex:{other}\n1 {HEX}"));
    assert_eq!((signs, two.len()), (2, 2));
    assert_eq!(two[1], one[0], "what the key before made is still read");
    assert_ne!(two[0], one[0]);
}

#[test]
fn a_key_file_of_the_pair_is_as_strict_as_any() {
    let folder = Folder::new("pair-strict");
    let problems = |keys: &str, mode| {
        folder.write(keys, mode);
        folder.texts(&pair(&folder, false))
    };
    assert_eq!(problems(HEX, 0o600), [""; 0]);
    assert_eq!(
        problems(HEX, 0o640),
        [
            "3:12 E040 cannot use the key file key: others than its owner may use it (mode 0640); `chmod 600` it"
        ]
    );
    let many: String = (1..=5).map(|id| format!("{id} {HEX}\n")).collect();
    assert_eq!(problems(&many, 0o600), ["3:12 E040 key has 5 keys"]);
    assert_eq!(
        problems("", 0o600),
        ["3:12 E040 the key file key holds no key"]
    );
}

#[test]
fn another_key_of_the_pair_is_a_change_that_shows_nothing_of_it() {
    let folder = Folder::new("pair-diff");
    let config = |keys: &str| {
        folder.write(keys, 0o600);
        pair(&folder, false).config.unwrap()
    };
    let (one, two) = (config(HEX), config(&format!("hex:{}", "ab".repeat(32))));
    let changes: Vec<String> = diff(&one, &two).iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["pair: key (changed in place)"]);
    assert!(!format!("{two:?}").contains("171, 171"), "abab...");
}
