//! Bodies of requests: by length or in chunks.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many octets; 0 where there is none.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

/// What a client sends after its head, without the framing. It has to be read to its end before the next head.
pub(super) struct Body<'r> {
    reader: &'r mut BufReader<TcpStream>,
    framing: Framing,
    /// Octets left of the body, or of the chunk.
    left: u64,
    ended: bool,
}

impl<'r> Body<'r> {
    pub(super) fn new(reader: &'r mut BufReader<TcpStream>, framing: Framing) -> Body<'r> {
        let left = match framing {
            Framing::Length(length) => length,
            Framing::Chunked => 0,
        };
        Body {
            reader,
            framing,
            left,
            ended: framing == Framing::Length(0),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Reads the size of the next chunk, after the last one the trailers.
    fn next_chunk(&mut self) -> io::Result<()> {
        let line = self.line()?;
        self.left = u64::from_str_radix(&line, 16).map_err(io::Error::other)?;
        if self.left == 0 {
            self.ended = true;
            while !self.line()?.is_empty() {}
        }
        Ok(())
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            self.next_chunk()?;
        }
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let got = self.reader.read(&mut buffer[..most])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= got as u64;
        if self.left == 0 {
            match self.framing {
                Framing::Length(_) => self.ended = true,
                Framing::Chunked => drop(self.line()?),
            }
        }
        Ok(got)
    }
}

/// Answers with the body while it comes, framed as it is.
pub(super) fn send_back(writer: &mut impl Write, mut body: Body<'_>) -> io::Result<()> {
    let framing = match body.framing {
        Framing::Length(length) => format!("content-length: {length}"),
        Framing::Chunked => "transfer-encoding: chunked".to_owned(),
    };
    write!(
        writer,
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n{framing}\r\n\r\n"
    )?;
    let chunked = body.framing == Framing::Chunked;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let got = body.read(&mut buffer)?;
        if chunked {
            write!(writer, "{got:x}\r\n")?;
        }
        writer.write_all(&buffer[..got])?;
        if chunked {
            writer.write_all(b"\r\n")?;
        }
        if got == 0 {
            return Ok(());
        }
    }
}
