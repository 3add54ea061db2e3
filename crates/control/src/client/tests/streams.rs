//! Answers that come line by line.

use super::*;

#[tokio::test]
async fn lines_come_one_by_one() {
    let place = Place::new("lines");
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                  8\r\n{\"a\":1}\n\r\n1\r\n\n\r\n3\r\n{\"a\r\n9\r\n\":2}\n\n[3]\r\n0\r\n\r\n";
    let server = place.serve(answer);
    let mut lines = Client::new(place.socket())
        .stream::<Value>("/events?follow=1")
        .await
        .unwrap();
    assert_eq!(lines.next().await.unwrap(), Some(json!({"a": 1})));
    assert_eq!(lines.next().await.unwrap(), Some(json!({"a": 2})));
    assert_eq!(lines.next().await.unwrap(), Some(json!([3])));
    assert_eq!(lines.next().await.unwrap(), None);
    assert_eq!(lines.next().await.unwrap(), None);
    server.await.unwrap();
}

#[tokio::test]
async fn stream_outlives_the_answer_limit() {
    let place = Place::new("patient");
    let listener = UnixListener::bind(place.socket()).unwrap();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        read_request(&mut connection).await;
        connection
            .write_all(b"HTTP/1.1 200 OK\r\n\r\n1\n")
            .await
            .unwrap();
        wait.await.unwrap();
        connection.write_all(b"2\n").await.unwrap();
    });
    let limit = Duration::from_secs(1);
    let client = Client::new(place.socket()).answer_within(limit);
    let mut lines = client.stream::<u32>("/events").await.unwrap();
    assert_eq!(lines.next().await.unwrap(), Some(1));
    // Dropping a wait twice as long as the limit neither ends the stream nor loses what comes after.
    assert!(tokio::time::timeout(2 * limit, lines.next()).await.is_err());
    go.send(()).unwrap();
    assert_eq!(lines.next().await.unwrap(), Some(2));
    assert_eq!(lines.next().await.unwrap(), None);
    server.await.unwrap();
}

#[tokio::test]
async fn stream_cut_in_the_middle_is_closed() {
    let place = Place::new("cut");
    let server = place.serve("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n1\n\r\n");
    let mut lines = Client::new(place.socket())
        .stream::<u32>("/events")
        .await
        .unwrap();
    assert_eq!(lines.next().await.unwrap(), Some(1));
    assert!(matches!(
        lines.next().await,
        Err(ClientError::Closed { .. })
    ));
    server.await.unwrap();
}

#[tokio::test]
async fn endless_line_is_refused() {
    let place = Place::new("endless");
    let server = place.serve(format!(
        "HTTP/1.1 200 OK\r\n\r\n{}",
        "x".repeat(2 * LINE_LIMIT)
    ));
    let mut lines = Client::new(place.socket())
        .stream::<Value>("/events")
        .await
        .unwrap();
    let error = lines.next().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a line longer than 1048576 bytes"),
        "{error}"
    );
    drop(lines);
    server.await.unwrap();
}
