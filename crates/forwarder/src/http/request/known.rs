//! Request heads whose lines are known: they were written by us, of parts that were checked. What they mean is judged like that of
//! any other.

use httparse::Header;

use super::{Rejection, RequestHead, bad, judge};

/// Where the lines of a head stand in it.
#[derive(Default, Debug)]
pub(crate) struct Lines {
    method: usize,
    path: usize,
    fields: Vec<Line>,
}

/// Where a field begins, and how long its parts are.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: u32,
    name: u32,
    value: u32,
}

impl Lines {
    /// Forgets all of them, but not their memory.
    pub(crate) fn clear(&mut self) {
        self.fields.clear();
    }

    /// Appends a request line to an empty head.
    pub(crate) fn begin(&mut self, head: &mut Vec<u8>, method: &[u8], path: &[u8]) {
        debug_assert!(head.is_empty(), "lines are counted from its beginning");
        (self.method, self.path) = (method.len(), path.len());
        for part in [method, b" ", path, b" HTTP/1.1\r\n"] {
            head.extend_from_slice(part);
        }
    }

    /// Appends a field to a head.
    pub(crate) fn write(&mut self, head: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        self.fields.push(Line {
            start: head.len() as u32,
            name: name.len() as u32,
            value: value.len() as u32,
        });
        for part in [name, b": ", value, b"\r\n"] {
            head.extend_from_slice(part);
        }
    }

    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The head of these lines; `room` is for as many fields as there are.
    pub(crate) fn parse<'h, 'b>(
        &self,
        head: &'b [u8],
        room: &'h mut [Header<'b>],
        (fields, url_bytes): (usize, usize),
    ) -> Result<RequestHead<'h, 'b>, Rejection> {
        if self.len() > fields {
            return Err(Rejection {
                status: 431,
                detail: "too many fields",
            });
        }
        let text = |bytes: &'b [u8]| std::str::from_utf8(bytes);
        let (method, rest) = head.split_at(self.method);
        let path = &rest[1..=self.path];
        for (line, room) in self.fields.iter().zip(&mut *room) {
            let (name, rest) = head[line.start as usize..].split_at(line.name as usize);
            let value = &rest[2..2 + line.value as usize];
            let name = text(name).map_err(|_| bad("malformed field name"))?;
            *room = Header { name, value };
        }
        let mut request = httparse::Request::new(room);
        request.method = Some(text(method).map_err(|_| bad("malformed method"))?);
        request.path = Some(text(path).map_err(|_| bad("malformed target"))?);
        request.version = Some(1);
        judge(request, head, url_bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_would_have_been_parsed() {
        let (mut lines, mut head) = (Lines::default(), Vec::new());
        lines.begin(&mut head, b"POST", b"/a?b");
        lines.write(&mut head, b"host", b"example.com");
        lines.write(&mut head, b"x-empty", b"");
        lines.write(&mut head, b"content-length", b"3");
        head.extend(b"\r\n");
        let mut room = [httparse::EMPTY_HEADER; 3];
        let known = lines.parse(&head, &mut room, (3, 100)).unwrap();
        let mut copy = head.clone();
        let mut other = [const { std::mem::MaybeUninit::uninit() }; super::super::MAX_FIELDS];
        let parsed = super::super::parse(&mut copy, &mut other, 100).unwrap();
        assert_eq!(format!("{known:?}"), format!("{parsed:?}"));
        assert_eq!(
            lines
                .parse(&head, &mut [httparse::EMPTY_HEADER; 3], (2, 100))
                .unwrap_err()
                .status,
            431
        );
        assert_eq!(
            lines
                .parse(&head, &mut [httparse::EMPTY_HEADER; 3], (3, 2))
                .unwrap_err()
                .status,
            414
        );
    }
}
