//! Whether a file is there, or the number in it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use config::FileExpectation;

use super::{Outcome, good};

/// Octets that are read of a file: more than any number has.
const READ: u64 = 64;

/// Looks once; may wait for a disk.
pub(in crate::runner) fn look(path: &Path, expect: FileExpectation) -> Outcome {
    match expect {
        FileExpectation::Number => number(path),
        FileExpectation::Present => {
            if is_there(path)? {
                good("it is there")
            } else {
                Err("it is not there".to_owned())
            }
        }
        FileExpectation::Absent => {
            if is_there(path)? {
                Err("it is there".to_owned())
            } else {
                good("it is not there")
            }
        }
    }
}

fn is_there(path: &Path) -> Result<bool, String> {
    path.try_exists()
        .map_err(|error| format!("cannot be looked at: {error}"))
}

/// The first word. A file that is empty or not there holds 0.
fn number(path: &Path) -> Outcome {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok((Some(0), "it is not there".to_owned()));
        }
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    match text.split_whitespace().next() {
        None => Ok((Some(0), "it is empty".to_owned())),
        Some(word) => match word.parse::<i64>() {
            Ok(number) => Ok((Some(number), format!("it holds {number}"))),
            Err(_) => Err("it does not begin with a number".to_owned()),
        },
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut options = File::options();
    // A named pipe without a writer would wait for one.
    let flags = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_CLOEXEC;
    let file = options.read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_number_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weight");
        let look = || look(&path, FileExpectation::Number);
        assert_eq!(look(), Ok((Some(0), "it is not there".to_owned())));
        for (text, number) in [
            ("", Some(0)),
            ("\n", Some(0)),
            ("-20\n", Some(-20)),
            ("  +5 # why", Some(5)),
            ("007", Some(7)),
            ("five", None),
            ("1.5", None),
            ("99999999999999999999", None),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(look().ok().and_then(|(number, _)| number), number, "{text}");
        }
        std::fs::write(&path, "x".repeat(1_000_000)).unwrap();
        assert_eq!(look(), Err("it does not begin with a number".to_owned()));
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_and_a_folder_are_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        for path in [&path, folder.path()] {
            assert_eq!(
                look(path, FileExpectation::Number),
                Err("cannot be read: it is not a regular file".to_owned())
            );
        }
    }

    #[test]
    fn whether_a_file_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stop");
        assert!(look(&path, FileExpectation::Present).is_err());
        assert!(look(&path, FileExpectation::Absent).is_ok());
        std::fs::write(&path, "").unwrap();
        assert!(look(&path, FileExpectation::Present).is_ok());
        assert!(look(&path, FileExpectation::Absent).is_err());
    }
}
