//! How many processes of a kind this host has, from `/proc`.

use std::fs;
use std::path::Path;

use config::ProcessName;

use super::{Outcome, good};

/// Octets that are looked at of a command line.
const COMMAND_LINE: usize = 4096;

/// Looks once; may wait for a disk where a process waits for one itself.
pub(in crate::runner) fn look(which: &ProcessName, min: u32, max: Option<u32>) -> Outcome {
    let count = match which {
        ProcessName::PidFile(path) => u32::from(is_alive(path)?),
        ProcessName::Name(name) => count(|process| has_name(process, name))?,
        ProcessName::Command(begin) => count(|process| {
            command_line(process).is_some_and(|words| words.join(" ").starts_with(begin.as_str()))
        })?,
    };
    let words = match count {
        0 => "it does not run".to_owned(),
        1 => "one process runs".to_owned(),
        count => format!("{count} processes run"),
    };
    if count < min {
        Err(format!("{words}, at least {min} wanted"))
    } else if let Some(max) = max.filter(|max| count > *max) {
        Err(format!("{words}, at most {max} wanted"))
    } else {
        good(words)
    }
}

fn count(matches: impl Fn(&Path) -> bool) -> Result<u32, String> {
    let processes =
        fs::read_dir("/proc").map_err(|error| format!("/proc cannot be read: {error}"))?;
    let own = std::process::id().to_string();
    let is_process = |name: &str| name != own && name.bytes().all(|byte| byte.is_ascii_digit());
    let found = processes.flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(is_process) && matches(&entry.path()) && !has_ended(&entry.path())
    });
    Ok(u32::try_from(found.count()).unwrap_or(u32::MAX))
}

/// The name it has given itself, which the kernel cuts after 15 octets, or the file name of its first word.
fn has_name(process: &Path, name: &str) -> bool {
    let own = fs::read(process.join("comm")).unwrap_or_default();
    let own = own.trim_ascii_end();
    if own == name.as_bytes() {
        return true;
    }
    let may_be_cut = own.len() == 15 && name.as_bytes().starts_with(own);
    // Interpreters and programs that rename themselves show their file only here.
    (may_be_cut || own.len() < 15)
        && command_line(process).is_some_and(|words| {
            let file = words[0].rsplit('/').next();
            file == Some(name)
        })
}

/// The words of its command line; none of a kernel thread.
fn command_line(process: &Path) -> Option<Vec<String>> {
    let mut bytes = fs::read(process.join("cmdline")).ok()?;
    bytes.truncate(COMMAND_LINE);
    let text = String::from_utf8_lossy(&bytes);
    let words: Vec<String> = text
        .trim_end_matches('\0')
        .split('\0')
        .map(str::to_owned)
        .collect();
    (words != [""]).then_some(words)
}

/// Whether the process whose number stands in a file runs.
fn is_alive(path: &Path) -> Result<bool, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(format!("{} is not there", path.display()));
        }
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    let number: u32 = text
        .trim()
        .parse()
        .map_err(|_| format!("{} holds no process number", path.display()))?;
    let process = Path::new("/proc").join(number.to_string());
    Ok(process.exists() && !has_ended(&process))
}

/// Whether it has ended and only waits to be waited for.
fn has_ended(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process with a name of its own, as long as this lives.
    struct Named(Child);

    impl Named {
        fn start(path: &Path) -> Self {
            if !path.exists() {
                fs::copy("/bin/sleep", path).unwrap();
            }
            let child = Command::new(path)
                .args(["1000", "0"])
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            // The child is this program still until it has executed the other.
            let comm = format!("/proc/{}/comm", child.id());
            let name = path.file_name().unwrap().to_str().unwrap();
            while fs::read_to_string(&comm).unwrap().trim_end() != &name[..15.min(name.len())] {
                std::thread::yield_now();
            }
            Self(child)
        }
    }

    impl Drop for Named {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn processes_are_counted_by_name_and_by_command() {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("tdm-{}-with-a-long-name", std::process::id());
        let path = folder.path().join(&name);
        let by_name = ProcessName::Name(name.clone());
        let by_command = ProcessName::Command(format!("{} 1000", path.display()));
        let looks = |min, max| {
            let one = look(&by_name, min, max);
            assert_eq!(one, look(&by_command, min, max));
            one
        };
        assert_eq!(
            looks(1, None),
            Err("it does not run, at least 1 wanted".to_owned())
        );
        let first = Named::start(&path);
        assert_eq!(looks(1, None), good("one process runs"));
        let second = Named::start(&path);
        assert_eq!(looks(2, None), good("2 processes run"));
        assert_eq!(
            looks(1, Some(1)),
            Err("2 processes run, at most 1 wanted".to_owned())
        );
        drop(second);
        assert_eq!(
            looks(2, None),
            Err("one process runs, at least 2 wanted".to_owned())
        );
        drop(first);
        let cut = ProcessName::Name(name[..15].to_owned());
        assert!(look(&cut, 1, None).is_err());
    }

    #[test]
    fn one_that_has_ended_but_is_not_waited_for_does_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let which = ProcessName::PidFile(file.clone());
        let missing = format!("{} is not there", file.display());
        assert_eq!(look(&which, 1, None), Err(missing));
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        fs::write(&file, format!("{}\n", child.id())).unwrap();
        assert_eq!(look(&which, 1, None), good("one process runs"));
        child.kill().unwrap();
        let stat = format!("/proc/{}/stat", child.id());
        while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        assert!(look(&which, 1, None).is_err());
        child.wait().unwrap();
        assert!(look(&which, 1, None).is_err());
        fs::write(&file, "none").unwrap();
        let words = format!("{} holds no process number", file.display());
        assert_eq!(look(&which, 1, None), Err(words));
    }
}
