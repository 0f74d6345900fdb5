//! Peers that are no broker, or a broken one: an error that names the place, in bounded time.

use std::future::Future;
use std::time::Duration;

use flumen_client::{Client, Error, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Connects to a peer that does this with each connection.
async fn against<F: Future<Output = ()> + Send + 'static>(peer: fn(TcpStream) -> F) -> (Error, String) {
    against_within(Duration::from_secs(10), peer).await
}

/// The same, without much patience for an answer.
async fn against_within<F: Future<Output = ()> + Send + 'static>(
    request_timeout: Duration,
    peer: fn(TcpStream) -> F,
) -> (Error, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(peer(stream));
        }
    });
    let options = Options {
        connect_timeout: Duration::from_secs(5),
        request_timeout,
        operation_timeout: Duration::from_millis(500),
        answer_bytes_max: 1 << 20,
        ..Options::new(&address)
    };
    let connected = tokio::time::timeout(Duration::from_secs(60), Client::connect(options)).await;
    accepting.abort();
    let error = connected.expect("an answer in bounded time").expect_err("this is no broker");
    (error, address)
}

/// Reads one request; returns its correlation id.
async fn request(stream: &mut TcpStream) -> [u8; 4] {
    let length = stream.read_i32().await.unwrap();
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await.unwrap();
    frame[4..8].try_into().unwrap()
}

#[tokio::test]
async fn a_peer_that_says_nothing_times_out() {
    let (error, address) = against_within(Duration::from_millis(200), |stream| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.to_string().contains(&address) && error.to_string().contains("ApiVersions"), "{error}");
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_named() {
    let (error, address) = against(|mut stream| async move {
        request(&mut stream).await;
    })
    .await;
    assert!(matches!(error, Error::Closed { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn an_answer_that_claims_too_much_is_not_waited_for() {
    let (error, _) = against(|mut stream| async move {
        request(&mut stream).await;
        stream.write_all(&i32::MAX.to_be_bytes()).await.unwrap();
        std::future::pending().await
    })
    .await;
    let Error::Closed { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("2147483647 bytes"), "{source}");
}

#[tokio::test]
async fn a_web_server_is_no_broker() {
    let (error, _) = against(|mut stream| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    })
    .await;
    let Error::Closed { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("is this a Kafka broker"), "{source}");
}

#[tokio::test]
async fn an_answer_to_another_request_ends_the_connection() {
    let (error, _) = against(|mut stream| async move {
        request(&mut stream).await;
        stream.write_all(&[0, 0, 0, 6, 0, 0, 99, 99, 0, 0]).await.unwrap();
    })
    .await;
    let Error::Closed { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("where 1 was the next"), "{source}");
}

#[tokio::test]
async fn an_answer_with_an_impossible_count_is_malformed() {
    let (error, address) = against(|mut stream| async move {
        loop {
            let correlation = request(&mut stream).await;
            // No error, and an array of 0x7ffffffe entries.
            let body = [&correlation[..], &[0, 0], &[0xff, 0xff, 0xff, 0xff, 0x07]].concat();
            stream.write_all(&(body.len() as i32).to_be_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
    })
    .await;
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}
