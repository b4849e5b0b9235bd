//! Dialogues with what servers say, in pieces of every size, and attempts at real sockets.

use super::*;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

fn request(status: std::ops::RangeInclusive<u16>, body: Option<&str>) -> http::Request {
    let (path, host) = ("/health".to_owned(), "app".to_owned());
    http::Request { path, host, status: vec![status], body: body.map(str::to_owned) }
}

#[test]
fn http_answers_are_judged_by_status_and_body() {
    const OK: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall is well\n";
    type Case =
        (&'static [u8], std::ops::RangeInclusive<u16>, Option<&'static str>, Result<(), &'static str>);
    let cases: [Case; 14] = [
        (OK, 200..=399, None, Ok(())),
        (OK, 200..=200, Some("is well"), Ok(())),
        (OK, 204..=204, None, Err("status 200")),
        (OK, 200..=200, Some("is bad"), Err("does not contain \"is bad\"")),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 200..=399, None, Err("status 503")),
        (b"HTTP/1.1 204\r\n\r\n", 200..=399, None, Ok(())),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood", 200..=200, Some("good"), Ok(())),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length:4\r\n\r\nnot good",
            200..=200,
            Some("good"),
            Err("does not contain"),
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Len", 200..=200, None, Err("ends within its header")),
        (b"", 200..=200, None, Err("ends within its header")),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 200..=399, None, Err("not HTTP")),
        (b"HTTP/2 200\r\n\r\n", 200..=399, None, Err("not HTTP")),
        (b"HTTP/1.1 2000 OK\r\n\r\n", 200..=399, None, Err("not HTTP")),
        (b"HTTP/1.1 20", 200..=399, None, Err("ends within its header")),
    ];
    for (answer, status, body, expected) in cases {
        let asked = request(status, body);
        for size in [1, 2, 3, 7, 4096] {
            let outcome = replay(&mut Http::new(&asked), answer, size);
            let text = String::from_utf8_lossy(answer);
            match (&outcome, expected) {
                (Ok(()), Ok(())) => {}
                (Err(reason), Err(part)) if reason.contains(part) => {}
                _ => panic!("{text:?} by {size}: {outcome:?}, not {expected:?}"),
            }
        }
    }
    let endless = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"x".repeat(40_000)].concat();
    let told = replay(&mut Http::new(&request(200..=200, None)), &endless, 1000).expect_err("too long");
    assert!(told.contains("longer than 16384"), "{told}");
    let deep = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &b"x".repeat(http::BODY_MAX), b"good"].concat();
    replay(&mut Http::new(&request(200..=200, Some("good"))), &deep, 5000).expect_err("beyond the bound");
    let asked = String::from_utf8(Http::new(&request(200..=200, None)).begin()).expect("text");
    assert!(asked.starts_with("GET /health HTTP/1.0\r\nHost: app\r\n") && asked.ends_with("\r\n\r\n"));
}

/// A message of the server.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn refusal(code: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0VFATAL\0C{code}\0Mthe database system is starting up\0\0").as_bytes())
}

fn authentication(code: u32) -> Vec<u8> {
    message(b'R', &code.to_be_bytes())
}

/// What PostgreSQL 15 says to a role that it trusts, until it is ready for a query.
fn welcome() -> Vec<u8> {
    let status = message(b'S', b"server_version\x0015.10\0");
    let key = message(b'K', &[0, 0, 1, 2, 3, 4, 5, 6]);
    [authentication(0), status, key, message(b'Z', b"I")].concat()
}

fn row(value: &[u8]) -> Vec<u8> {
    let columns = message(b'T', b"\0\x01?column?\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0");
    let row = [&[0, 1][..], &(value.len() as u32).to_be_bytes(), value].concat();
    [columns, message(b'D', &row), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat()
}

#[test]
fn postgresql_servers_are_there_or_not() {
    let (anyone, role) = (
        postgresql::Request::default(),
        postgresql::Request { user: Some("probe".to_owned()), database: Some("app".to_owned()) },
    );
    let md5 = message(b'R', &[0, 0, 0, 5, 1, 2, 3, 4]);
    let sasl = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    let cases: Vec<(&postgresql::Request, Vec<u8>, Result<(), &str>)> = vec![
        (&anyone, authentication(0), Ok(())),
        (&anyone, md5.clone(), Ok(())),
        (&anyone, sasl.clone(), Ok(())),
        (&anyone, refusal("28000"), Ok(())),
        (&anyone, refusal("28P01"), Ok(())),
        (&anyone, refusal("3D000"), Ok(())),
        (&anyone, refusal("57P03"), Err("57P03: the database system is starting up")),
        (&anyone, refusal("53300"), Err("53300")),
        (&anyone, message(b'E', b""), Err(": ")),
        (&anyone, b"EFATAL: could not fork new process\n\0".to_vec(), Err("not PostgreSQL's")),
        (&anyone, b"HTTP/1.0 400 Bad Request\r\n\r\n".to_vec(), Err("not PostgreSQL's")),
        (&anyone, vec![], Err("closed the connection")),
        (&anyone, message(b'R', b"\0"), Err("malformed")),
        (&role, [welcome(), row(b"1")].concat(), Ok(())),
        (&role, [welcome(), row(b"2")].concat(), Err("something else than 1")),
        (&role, welcome(), Err("closed the connection")),
        (&role, [welcome(), message(b'C', b"SELECT 0\0")].concat(), Err("unexpected message 'C'")),
        (&role, [welcome(), refusal("57P01")].concat(), Err("57P01")),
        (&role, refusal("28000"), Err("28000")),
        (&role, sasl, Err("wants a password of probe")),
        (&role, md5, Err("by trust")),
        (&role, message(b'Z', b"I"), Err("unexpected message 'Z'")),
    ];
    for (asked, answer, expected) in cases {
        for size in [1, 5, 4096] {
            let outcome = replay(&mut PostgreSql::new(asked), &answer, size);
            match (&outcome, expected) {
                (Ok(()), Ok(())) => {}
                (Err(reason), Err(part)) if reason.contains(part) => {}
                _ => panic!("{answer:?} by {size}: {outcome:?}, not {expected:?}"),
            }
        }
    }
    let begin = PostgreSql::new(&role).begin();
    assert_eq!(begin[..8], [0, 0, 0, begin.len() as u8, 0, 3, 0, 0]);
    assert_eq!(&begin[8..], b"user\0probe\0application_name\0foreshift\0database\0app\0\0");
}

fn plan(address: SocketAddr, kind: Kind) -> CheckPlan {
    let control = CheckConfig {
        name: "app".to_owned(),
        blocks: true,
        interval: dataplane::id::Nanos::from_millis(100),
        timeout: dataplane::id::Nanos::from_millis(2000),
        rise: 1,
        fall: 1,
    };
    CheckPlan { control, address, kind, origin: Origin::default(), group: None }
}

/// A server that says `answer` to each of `many` connections once it has been asked, and closes.
fn server(many: usize, answer: &'static [u8]) -> (SocketAddr, std::thread::JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number");
    let serve = move || {
        let connections = (0..many).map(|_| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut asked = vec![0; 4096];
            let length = stream.read(&mut asked).expect("read");
            asked.truncate(length);
            if length > 0 {
                stream.write_all(answer).expect("written");
            }
            asked
        });
        connections.collect()
    };
    (address, std::thread::spawn(serve))
}

#[tokio::test]
async fn attempts_at_real_sockets() {
    let limit = Duration::from_secs(5);
    let (address, served) = server(3, b"HTTP/1.0 200 OK\r\n\r\nfine");
    let asked = Kind::Http(request(200..=200, Some("fine")));
    assert_eq!(within(limit, &plan(address, asked.clone())).await, Ok(()));
    let mut from = plan(address, asked);
    from.origin.source = Some("127.0.0.2".parse().expect("an address"));
    assert_eq!(within(limit, &from).await, Ok(()));
    assert_eq!(within(limit, &plan(address, Kind::Tcp)).await, Ok(()));
    let heard = served.join().expect("served");
    assert!(heard[0].starts_with(b"GET /health HTTP/1.0") && heard[2].is_empty());
    let refused = within(limit, &plan(address, Kind::Tcp)).await;
    assert_eq!(refused, Err("connection refused".to_owned()), "nobody listens any more");
    from.origin.source = Some("198.51.100.77".parse().expect("an address"));
    assert_eq!(within(limit, &from).await, Err("the source address is not there".to_owned()));
    // Accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mute = plan(silent.local_addr().expect("its number"), Kind::PostgreSql(Default::default()));
    let late = within(Duration::from_millis(50), &mute).await;
    assert_eq!(late, Err("no answer within 50 ms".to_owned()));
}
