//! A target that is a process of its own, to be killed and frozen: an HTTP/1.1 origin that notes each request in a file before it answers.
//!
//! `target PORT FILE`. A line is a method and a path; what is noted was read whole, and stays when the process is killed. `/healthz` is
//! answered at once and not noted, everything else after 20 ms, so that some requests are always in flight.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

/// How long an answer takes.
const THOUGHT: Duration = Duration::from_millis(20);

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let port: u16 = words.next().context("no port")?.parse()?;
    let file = words.next().context("no file")?;
    let file = OpenOptions::new().create(true).append(true).open(file)?;
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    for stream in listener.incoming() {
        let (stream, file) = (stream?, file.try_clone()?);
        // A client that goes away in the middle is no event here.
        std::thread::spawn(move || drop(serve(&stream, &file)));
    }
    Ok(())
}

fn serve(stream: &TcpStream, file: &File) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        let is_check = request.ends_with(" /healthz");
        if !is_check {
            let mut file = file;
            // One write: lines of other threads do not come between.
            file.write_all(format!("{request}\n").as_bytes())?;
            std::thread::sleep(THOUGHT);
        }
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
    }
    Ok(())
}

/// Method and path of the next request, its body read; none at the end.
fn read(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<String>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        line.clear();
    }
    io::copy(&mut reader.take(length), &mut io::sink())?;
    Ok(first
        .rsplit_once(' ')
        .map(|(request, _)| request.to_owned()))
}
