//! The password file of version 2.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use config::{Facts, Outcome, load};
use vrrp::Password;

/// A folder of this test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("tandem-config-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Loads a file in this folder whose password stands beside it.
    fn load(&self, password: Option<&str>, file_access: bool) -> Outcome {
        if let Some(password) = password {
            fs::write(self.0.join("password"), password).unwrap();
        }
        let text = "[vrrp.a]\ninterface = \"eth0\"\nvrid = 1\nversion = 2\nvips = [\"10.0.0.1/24\"]\n\
                    auth = { password_file = \"password\" }\n";
        load(
            &self.0.join("t.toml"),
            text,
            &Facts {
                file_access,
                ..Facts::default()
            },
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn password(outcome: Outcome) -> Option<Password> {
    outcome.config.unwrap().vrrp[0].settings.password.clone()
}

fn texts(outcome: &Outcome) -> Vec<String> {
    outcome
        .report
        .problems
        .iter()
        .map(|p| format!("{}:{} {} {}", p.line, p.column, p.code, p.message))
        .collect()
}

#[test]
fn the_first_line_is_the_password() {
    let folder = Folder::new("line");
    for written in ["s3cret", "s3cret\n", "s3cret\r\nsecond line\n"] {
        let outcome = folder.load(Some(written), true);
        assert_eq!(texts(&outcome), [""; 0]);
        assert_eq!(password(outcome), Password::new(b"s3cret"));
    }
}

#[test]
fn only_eight_bytes_are_used_with_a_warning() {
    let folder = Folder::new("long");
    let outcome = folder.load(Some("12345678\n"), true);
    assert_eq!(
        (texts(&outcome).len(), password(outcome)),
        (0, Password::new(b"12345678"))
    );
    let outcome = folder.load(Some("123456789\n"), true);
    let path = folder.0.join("password");
    let expected = format!(
        "6:26 W073 the password in {} is longer than 8 bytes; the rest is not used",
        path.display()
    );
    assert_eq!(texts(&outcome), [expected]);
    assert_eq!(password(outcome), Password::new(b"12345678"));
}

#[test]
fn a_file_that_is_not_there_or_empty_is_an_error() {
    let folder = Folder::new("missing");
    let path = folder.0.join("password");
    let expected = format!(
        "6:26 E040 cannot read the password from {}: No such file or directory (os error 2)",
        path.display()
    );
    assert_eq!(texts(&folder.load(None, true)), [expected]);
    let expected = format!("6:26 E040 the password file {} is empty", path.display());
    assert_eq!(texts(&folder.load(Some("\n"), true)), [expected]);
}

#[test]
fn without_file_access_nothing_is_read() {
    let folder = Folder::new("no-access");
    let outcome = folder.load(None, false);
    assert_eq!(texts(&outcome), [""; 0]);
    assert_eq!(password(outcome), Password::new(&[0]));
}
