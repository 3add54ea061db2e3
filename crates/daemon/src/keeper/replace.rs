//! A planned restart of the director: one ends, another one goes on, and the will of the first waits meanwhile.

use std::time::Instant;

use super::child::Image;
use crate::EXIT_LANGUAGE;

/// A director that is to go on where another one left off.
#[derive(Debug)]
pub(super) struct Replacement {
    /// Virtual routers whose addresses are left in place.
    pub(super) routers: Vec<String>,
    /// From here on the will is executed.
    pub(super) resume_by: Instant,
    started: Option<Image>,
}

impl Replacement {
    pub(super) fn new(routers: Vec<String>, resume_by: Instant) -> Self {
        Self {
            routers,
            resume_by,
            started: None,
        }
    }

    /// A director has ended with `code`: which program the next one is started from, none if there is to be none. First the one on disk,
    /// and if that speaks another language than the processes that run, the one that runs.
    pub(super) fn next(&mut self, code: Option<i32>) -> Option<Image> {
        let next = match (self.started, code) {
            (None, _) => Some(Image::OnDisk),
            (Some(Image::OnDisk), Some(code)) if code == i32::from(EXIT_LANGUAGE) => {
                Some(Image::Own)
            }
            (Some(_), _) => None,
        };
        self.started = next;
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_on_disk_goes_first_and_ours_only_if_that_speaks_another_language() {
        let language = Some(i32::from(EXIT_LANGUAGE));
        let new = || Replacement::new(Vec::new(), Instant::now());
        let mut upgrade = new();
        assert_eq!(upgrade.next(Some(0)), Some(Image::OnDisk));
        assert_eq!(upgrade.next(language), Some(Image::Own));
        assert_eq!(upgrade.next(language), None, "not again and again");
        let mut broken = new();
        assert_eq!(broken.next(None), Some(Image::OnDisk));
        assert_eq!(broken.next(Some(1)), None);
    }
}
