//! Programs that the daemon runs: that they are there, and that nobody else decides what they do.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::Code;
use crate::read::Files;
use crate::tree::Item;

/// A program with its arguments: an absolute path first, never empty.
///
/// With access to files, a program that is not there is a warning, since the other node may have it; one that others may change is an error.
pub(super) fn command(item: &Item<'_>, files: Files<'_>) -> Option<Vec<String>> {
    let what = "a list of program and arguments like [\"/usr/local/bin/program\"]";
    let words = item.list(what)?;
    let run: Option<Vec<String>> = words
        .iter()
        .map(|word| word.string_like("a text without NUL").map(str::to_owned))
        .collect();
    let run = run?;
    if let Some(word) = words.iter().find(|word| {
        word.as_str()
            .is_some_and(|text| text.contains('\0') || text.len() > 4096)
    }) {
        let message = "a word of a command is at most 4096 bytes long and holds no NUL";
        word.error(Code::OutOfRange, message, None);
        return None;
    }
    let Some(program) = run.first() else {
        item.error(
            Code::MissingKey,
            "the list is empty",
            "write the path of a program".to_owned(),
        );
        return None;
    };
    if !program.starts_with('/') {
        let message = format!("{program:?} is not an absolute path");
        item.error(Code::OutOfRange, message, None);
        return None;
    }
    if files.access {
        look_at(item, Path::new(program), files.user);
    }
    Some(run)
}

fn look_at(item: &Item<'_>, program: &Path, user: &str) {
    let place = item.place();
    let warn = |message: String, remedy: &str| {
        item.found()
            .warning(Code::File, &place, message, remedy.to_owned());
    };
    let shown = program.display();
    let found = match std::fs::metadata(program) {
        Ok(found) => found,
        Err(error) => {
            let message = format!("{shown} cannot be run: {error}");
            return warn(message, "install it, or correct the path");
        }
    };
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        let message = format!("{shown} is not executable");
        return warn(message, "chmod 755 it, or correct the path");
    }
    let foreign = program
        .ancestors()
        .find_map(|path| Some((path, foreign_owner(path, user)?)));
    if let Some((path, owner)) = foreign {
        let path = path.display();
        let message = format!(
            "{shown} is not run, because {path} belongs to user {owner}, not to root or `{user}`"
        );
        return item.error(Code::File, message, format!("chown root {path}"));
    }
    let above = program.ancestors().find_map(changeable);
    if let Some(path) = above {
        let message = format!(
            "{shown} is not run, because others than root may change {}",
            path.display()
        );
        item.error(
            Code::File,
            message,
            format!("chmod go-w {}", path.display()),
        );
    }
}

/// Whether a file or folder may be changed by a group other than root's or by everybody. A folder in which everybody may only remove what
/// is his own does no harm.
fn changeable(path: &Path) -> Option<&Path> {
    let found = std::fs::metadata(path).ok()?;
    let mode = found.permissions().mode();
    let by_group = mode & 0o020 != 0 && found.gid() != 0;
    let by_all = mode & 0o002 != 0;
    let sticky_folder = found.is_dir() && mode & 0o1000 != 0;
    ((by_group || by_all) && !sticky_folder).then_some(path)
}

/// The owner of a file or folder who is neither root nor `user`, whom programs run as. Who runs this very process may do what he likes
/// to himself.
fn foreign_owner(path: &Path, user: &str) -> Option<u32> {
    let owner = std::fs::metadata(path).ok()?.uid();
    let own = std::fs::metadata("/proc/self").ok().map(|own| own.uid());
    (!is_trusted(owner, own, user)).then_some(owner)
}

fn is_trusted(owner: u32, own: Option<u32>, user: &str) -> bool {
    owner == 0 || Some(owner) == own || is_called(owner, user)
}

/// Whether the local user database has this number for this name. A user of a directory service owns no programs.
fn is_called(owner: u32, user: &str) -> bool {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    users.lines().any(|line| {
        let mut fields = line.split(':');
        fields.next() == Some(user) && fields.nth(1).and_then(|id| id.parse().ok()) == Some(owner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_trusted_as_its_owner_is() {
        assert!(is_trusted(0, Some(1000), "tandem"), "root");
        assert!(is_trusted(1000, Some(1000), "tandem"), "who runs this");
        assert!(is_trusted(1, Some(0), "daemon"), "whom programs run as");
        assert!(!is_trusted(1, Some(0), "tandem"));
        assert!(!is_trusted(1, None, "root"));
        assert_eq!(foreign_owner(Path::new("/bin/sh"), "tandem"), None);
    }
}
