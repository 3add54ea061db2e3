//! The client against servers that answer well, badly, late or not at all.
#![allow(clippy::unwrap_used)]

mod streams;

use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;

use super::*;

/// A socket in a folder of its own, removed with it.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("tandem-control-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// Answers one request with `answer`, closes, and gives back the request.
    fn serve(&self, answer: impl Into<Vec<u8>>) -> tokio::task::JoinHandle<String> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let answer = answer.into();
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let request = read_request(&mut connection).await;
            // The client may have seen enough and be gone.
            let _ = connection.write_all(&answer).await;
            request
        })
    }

    async fn ask(&self, answer: impl Into<Vec<u8>>) -> Result<Value, ClientError> {
        let server = self.serve(answer);
        let result = Client::new(self.socket()).get::<Value>("/status").await;
        server.await.unwrap();
        result
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn read_request(connection: &mut UnixStream) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        assert!(
            connection.read_buf(&mut request).await.unwrap() > 0,
            "request ended early: {text}"
        );
    }
}

fn protocol(result: Result<Value, ClientError>) -> String {
    match result {
        Err(ClientError::Protocol { what, .. }) => what,
        other => panic!("expected a protocol error, got {other:?}"),
    }
}

#[tokio::test]
async fn answer_with_a_content_length() {
    let place = Place::new("length");
    let server = place.serve("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"a\": 1}\nleft over");
    let answer: Value = Client::new(place.socket())
        .get("/status?x=1")
        .await
        .unwrap();
    assert_eq!(answer, json!({"a": 1}));
    let request = server.await.unwrap();
    assert_eq!(
        request,
        "GET /status?x=1 HTTP/1.1\r\nHost: tandem\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    );
}

#[tokio::test]
async fn answer_in_chunks() {
    let place = Place::new("chunks");
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n{\"a\":\r\nA\r\n [1, 2, 3]\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n";
    assert_eq!(place.ask(answer).await.unwrap(), json!({"a": [1, 2, 3]}));
}

#[tokio::test]
async fn answer_up_to_the_close() {
    let place = Place::new("close");
    assert_eq!(
        place.ask("HTTP/1.0 200 OK\n\n[true]").await.unwrap(),
        json!([true])
    );
}

#[tokio::test]
async fn answer_byte_by_byte() {
    let place = Place::new("drip");
    let listener = UnixListener::bind(place.socket()).unwrap();
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        read_request(&mut connection).await;
        for byte in
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"
        {
            connection.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(
        Client::new(place.socket())
            .get::<Value>("/x")
            .await
            .unwrap(),
        json!([1, 2])
    );
    server.await.unwrap();
}

#[tokio::test]
async fn post_sends_its_body() {
    let place = Place::new("post");
    let server = place.serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    let body = crate::HandoverRequest {
        name: Some("main".to_owned()),
    };
    let _: Value = Client::new(place.socket())
        .post("/handover", &body)
        .await
        .unwrap();
    let request = server.await.unwrap();
    assert!(
        request.starts_with("POST /handover HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.ends_with("Content-Length: 15\r\n\r\n{\"name\":\"main\"}"),
        "{request}"
    );
}

#[tokio::test]
async fn text_is_given_as_it_is() {
    let place = Place::new("text");
    let server = place.serve("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nup 1\n");
    assert_eq!(
        Client::new(place.socket())
            .get_text("/metrics")
            .await
            .unwrap(),
        "up 1\n"
    );
    server.await.unwrap();
}

#[tokio::test]
async fn refusal_carries_the_words_of_the_daemon() {
    let place = Place::new("refused");
    let body = r#"{"error": "no peer is heard", "remedy": "look at lb2", "more": 1}"#;
    let answer = format!(
        "HTTP/1.1 409 Conflict\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    match place.ask(answer).await.unwrap_err() {
        ClientError::Refused {
            status: 409,
            error,
            remedy,
        } => {
            assert_eq!(
                (error.as_str(), remedy.as_deref()),
                ("no peer is heard", Some("look at lb2"))
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn refusal_without_json_gives_the_status() {
    let place = Place::new("plain");
    let error = place
        .ask("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope")
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { status: 404, .. }),
        "{error:?}"
    );
    assert_eq!(error.to_string(), "the daemon answered with status 404");
}

#[tokio::test]
async fn garbage_is_named() {
    let long_line = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000));
    let many_lines = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(10_000));
    let cases: &[(&str, &str)] = &[
        ("SSH-2.0-OpenSSH_9.2\r\n", "not HTTP/1.1"),
        ("HTTP/1.1 20 OK\r\n\r\n", "not HTTP/1.1"),
        ("HTTP/1.1 +20 OK\r\n\r\n", "not HTTP/1.1"),
        ("HTTP/1.1 101 Switching\r\n\r\n", "not HTTP/1.1"),
        ("HTTP/1.1 302 Found\r\n\r\n", "unexpected status 302"),
        ("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "without a colon"),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "no number"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n1",
            "two content lengths",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n1",
            "transfer encoding",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            "chunk size",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11111111111111111\r\n",
            "chunk size",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[]]\r\n",
            "does not end",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{",
            "not the JSON expected",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", "not the JSON expected"),
        (&long_line, "head longer than 16384"),
        (&many_lines, "head longer than 16384"),
    ];
    for (number, (answer, expected)) in cases.iter().enumerate() {
        let what = protocol(Place::new(&format!("garbage{number}")).ask(*answer).await);
        assert!(what.contains(expected), "{answer:.60?}: {what}");
    }
}

#[tokio::test]
async fn answer_that_stops_early_is_closed() {
    let cases = [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{}",
        "HTTP/1.1 500 Oops\r\ncontent-length: 10\r\n\r\n{",
    ];
    for (number, answer) in cases.iter().enumerate() {
        let error = Place::new(&format!("early{number}"))
            .ask(*answer)
            .await
            .unwrap_err();
        assert!(
            matches!(error, ClientError::Closed { .. }),
            "{answer:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn oversized_answers_are_not_read() {
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 16777217\r\n\r\n".to_owned();
    let until_close = format!("HTTP/1.1 200 OK\r\n\r\n[{}]", " ".repeat(BODY_LIMIT));
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(0x10_0000));
    let chunks = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
        chunk.repeat(17)
    );
    for (number, answer) in [announced, until_close, chunks].into_iter().enumerate() {
        let what = protocol(Place::new(&format!("big{number}")).ask(answer).await);
        assert_eq!(what, "body longer than 16777216 bytes");
    }
}

#[tokio::test]
async fn nobody_listens() {
    let place = Place::new("nobody");
    let missing = Client::new(place.socket())
        .get::<Value>("/status")
        .await
        .unwrap_err();
    assert!(
        matches!(missing, ClientError::Unreachable { .. }),
        "{missing:?}"
    );
    assert!(
        missing
            .remedy()
            .unwrap()
            .contains("systemctl start tandemd")
    );

    drop(UnixListener::bind(place.socket()).unwrap());
    let refused = Client::new(place.socket())
        .get::<Value>("/status")
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ClientError::Unreachable { .. }),
        "{refused:?}"
    );
}

#[test]
fn permission_names_the_group() {
    let place = Place::new("permission");
    std::fs::write(place.socket(), "").unwrap();
    let client = Client::new(place.socket());
    let error = client.not_connected(io::ErrorKind::PermissionDenied.into());
    let gid = std::fs::metadata(place.socket()).unwrap().gid();
    let groups = std::fs::read_to_string("/etc/group").unwrap();
    let expected = group_name(&groups, gid).unwrap_or(gid.to_string());
    assert_eq!(
        error.remedy().unwrap(),
        format!("become root or a member of the group `{expected}`")
    );
}

#[test]
fn group_names_are_looked_up_by_number() {
    let groups = "root:x:0:\nbroken\ntandem:x:998:alice,bob\n";
    assert_eq!(group_name(groups, 998).as_deref(), Some("tandem"));
    assert_eq!(group_name(groups, 99), None);
}

#[tokio::test]
async fn silence_is_limited() {
    let place = Place::new("silent");
    let listener = UnixListener::bind(place.socket()).unwrap();
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        read_request(&mut connection).await;
        // Reads on until the client gives up.
        assert_eq!(connection.read(&mut [0; 1]).await.unwrap(), 0);
    });
    let begun = Instant::now();
    let client = Client::new(place.socket()).answer_within(Duration::from_millis(50));
    let error = client.get::<Value>("/status").await.unwrap_err();
    assert!(
        matches!(error, ClientError::TimedOut { what: "answer", .. }),
        "{error:?}"
    );
    assert!(begun.elapsed() >= Duration::from_millis(50));
    server.await.unwrap();
}

#[tokio::test]
async fn listener_that_never_accepts_is_a_time_out() {
    let place = Place::new("backlog");
    let listener = std::os::unix::net::UnixListener::bind(place.socket()).unwrap();
    let mut waiting = Vec::new();
    let full = loop {
        let attempt = tokio::time::timeout(
            Duration::from_millis(200),
            UnixStream::connect(place.socket()),
        )
        .await;
        match attempt {
            Ok(Ok(connection)) => waiting.push(connection),
            Ok(Err(error)) => break error.kind() == io::ErrorKind::WouldBlock,
            Err(_) => break true,
        }
    };
    assert!(full);
    let error = Client::new(place.socket())
        .get::<Value>("/status")
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::TimedOut {
                what: "accept a connection",
                ..
            }
        ),
        "{error:?}"
    );
    drop((listener, waiting));
}

#[tokio::test]
async fn random_answers_never_panic() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let pieces: &[&[u8]] = &[
        b"HTTP/1.1 ",
        b"200 OK",
        b"\r\n",
        b"\r\n\r\n",
        b"content-length: 5",
        b"transfer-encoding: chunked",
        b"5\r\n",
        b"{}",
        b"0\r\n\r\n",
        b"\xff\xfe\x00",
        b"ffffffffffffffff\r\n",
        b":",
        b"{\"a\":1}",
    ];
    for _ in 0..20_000 {
        let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
        for _ in 0..8 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            bytes.extend_from_slice(pieces[(seed % pieces.len() as u64) as usize]);
        }
        if let Ok(mut answer) = Answer::read_head(bytes.as_slice()).await {
            let body = answer.body(64).await;
            assert!(body.is_err() || body.unwrap().len() <= bytes.len());
        }
    }
}
