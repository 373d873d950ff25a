//! The protocol byte for byte, over an in-memory stream: what a client sends, and exactly what it gets.
#![allow(clippy::disallowed_methods)] // Tests.

mod support;

use assize_wire::{
    Admission, Closing, Config, ConnectionError, Control, Peer, capability as cap, serve_connection,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Echo, Seen};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

const BASE: u32 = cap::LONG_PASSWORD | cap::PROTOCOL_41 | cap::SECURE_CONNECTION | cap::PLUGIN_AUTH;

struct Client {
    stream: DuplexStream,
    seen: Arc<Seen>,
    control: Arc<Control>,
    server: JoinHandle<Result<(), ConnectionError>>,
}

fn config() -> Config {
    Config { version: "8.4.6-assize-test".to_owned(), ..Config::default() }
}

impl Client {
    /// Connects and reads the greeting.
    async fn greeted(config: Config, admission: Admission) -> (Client, Vec<u8>) {
        Client::greeted_with(config, admission, 20 << 20).await
    }

    async fn greeted_with(
        config: Config,
        admission: Admission,
        packet_bytes_max: usize,
    ) -> (Client, Vec<u8>) {
        let (stream, theirs) = tokio::io::duplex(1 << 16);
        let (seen, control) = (Arc::new(Seen::default()), Arc::new(Control::default()));
        let mut echo = Echo::new(seen.clone());
        echo.packet_bytes_max = packet_bytes_max;
        let peer = Peer { host: "10.0.0.9".to_owned(), port: 4711 };
        let held = control.clone();
        let server =
            tokio::spawn(
                async move { serve_connection(theirs, 7, peer, admission, echo, &config, held).await },
            );
        let mut client = Client { stream, seen, control, server };
        let (seq, greeting) = client.packet().await;
        assert_eq!(seq, 0);
        (client, greeting)
    }

    /// Connected as `root`, with these capabilities beyond the basic ones.
    async fn connected(capabilities: u32) -> Client {
        let (client, _) = Client::greeted(config(), Admission::Ordinary).await;
        client.logged_in(capabilities).await
    }

    /// Connected to a server that takes packets of this size at most.
    async fn limited(packet_bytes_max: usize) -> Client {
        let (client, _) = Client::greeted_with(config(), Admission::Ordinary, packet_bytes_max).await;
        client.logged_in(0).await
    }

    async fn logged_in(mut self, capabilities: u32) -> Client {
        self.send(1, &login(BASE | capabilities, "root", b"", "caching_sha2_password")).await;
        let (seq, ok) = self.packet().await;
        assert_eq!((seq, &ok[..]), (2, &b"\0\0\0\x02\0\0\0"[..]));
        self
    }

    async fn send(&mut self, seq: u8, payload: &[u8]) {
        self.stream.write_all(&frame(seq, payload)).await.unwrap();
    }

    async fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await.unwrap();
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.unwrap();
        (header[3], payload)
    }

    /// Sends a command and reads this many packets of its reply.
    async fn ask(&mut self, command: &[u8], packets: usize) -> Vec<Vec<u8>> {
        self.send(0, command).await;
        let mut found = Vec::new();
        for n in 0..packets {
            let (seq, payload) = self.packet().await;
            assert_eq!(usize::from(seq), (n + 1) % 256);
            found.push(payload);
        }
        found
    }

    /// The connection still answers.
    async fn ping(&mut self) {
        let reply = self.ask(b"\x0e", 1).await;
        assert_eq!(reply[0][0], 0, "{reply:?}");
    }

    async fn ends(mut self) -> Result<(), ConnectionError> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "{rest:?}");
        let result = self.server.await.unwrap();
        assert!(self.seen.disconnected.load(Ordering::SeqCst), "the handler hears of the end");
        result
    }
}

fn frame(seq: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32 | u32::from(seq) << 24).to_le_bytes().to_vec();
    out.extend_from_slice(payload);
    out
}

fn login(capabilities: u32, user: &str, auth: &[u8], plugin: &str) -> Vec<u8> {
    let mut out = capabilities.to_le_bytes().to_vec();
    out.extend_from_slice(&(1u32 << 24).to_le_bytes());
    out.push(255);
    out.extend_from_slice(&[0; 23]);
    out.extend_from_slice(user.as_bytes());
    out.push(0);
    out.push(auth.len() as u8);
    out.extend_from_slice(auth);
    if capabilities & cap::PLUGIN_AUTH != 0 {
        out.extend_from_slice(plugin.as_bytes());
        out.push(0);
    }
    out
}

fn query(text: &str) -> Vec<u8> {
    [b"\x03", text.as_bytes()].concat()
}

fn error(number: u16, state: &str, message: &str) -> Vec<u8> {
    [&[0xff][..], &number.to_le_bytes(), b"#", state.as_bytes(), message.as_bytes()].concat()
}

#[tokio::test]
async fn the_greeting_and_a_login() {
    let (client, greeting) = Client::greeted(config(), Admission::Ordinary).await;
    assert!(greeting.starts_with(b"\x0a8.4.6-assize-test\0\x07\0\0\0"));
    assert!(greeting.ends_with(b"\0caching_sha2_password\0"));
    drop(client);
    Client::connected(0).await.ping().await;
}

#[tokio::test]
async fn a_text_result_in_both_forms_of_the_protocol() {
    let definition = b"\x03def\0\0\0\x01n\0\x0c\x3f\0\x14\0\0\0\x08\x80\0\0\0\0";
    let text = b"\x03def\0\0\0\x01t\0\x0c\xff\0\x50\0\0\0\xfd\0\0\x1f\0\0";
    let mut client = Client::connected(0).await;
    let reply = client.ask(&query("select rows 2"), 7).await;
    let expected: [&[u8]; 7] = [
        b"\x02",
        definition,
        text,
        b"\xfe\0\0\x02\0",
        b"\x010\x05row 0",
        b"\x011\x05row 1",
        b"\xfe\0\0\x02\0",
    ];
    assert_eq!(reply, expected);
    let mut client = Client::connected(cap::DEPRECATE_EOF).await;
    for _ in 0..2 {
        // The second time the definitions come from the cache.
        let reply = client.ask(&query("select rows 2"), 6).await;
        let expected: [&[u8]; 6] =
            [b"\x02", definition, text, b"\x010\x05row 0", b"\x011\x05row 1", b"\xfe\0\0\x02\0\0\0"];
        assert_eq!(reply, expected);
    }
}

#[tokio::test]
async fn affected_rows_are_those_changed_or_those_found() {
    let info = b"\x28Rows matched: 5  Changed: 3  Warnings: 0";
    let mut client = Client::connected(0).await;
    assert_eq!(client.ask(&query("update x"), 1).await, [[b"\0\x03\0\x02\0\0\0", &info[..]].concat()]);
    let mut client = Client::connected(cap::FOUND_ROWS).await;
    assert_eq!(client.ask(&query("update x"), 1).await, [[b"\0\x05\0\x02\0\0\0", &info[..]].concat()]);
}

#[tokio::test]
async fn state_changes_are_told_to_clients_that_track_them() {
    let mut client = Client::connected(cap::SESSION_TRACK).await;
    assert_eq!(client.ask(&query("use shop"), 1).await, [b"\0\0\0\x02\x40\0\0\0\x07\x01\x05\x04shop"]);
    assert_eq!(client.ask(b"\x02shop", 1).await, [b"\0\0\0\x02\x40\0\0\0\x07\x01\x05\x04shop"]);
    let mut client = Client::connected(0).await;
    assert_eq!(client.ask(&query("use shop"), 1).await, [b"\0\0\0\x02\0\0\0"]);
    let unknown = error(1049, "42000", "Unknown database 'nowhere'");
    assert_eq!(client.ask(b"\x02nowhere", 1).await, [unknown]);
}

#[tokio::test]
async fn several_statements_give_several_results() {
    let mut client = Client::connected(cap::MULTI_STATEMENTS | cap::MULTI_RESULTS | cap::DEPRECATE_EOF).await;
    let reply = client.ask(&query("commit; select 1; commit"), 6).await;
    assert_eq!(reply[0], b"\0\0\0\x0a\0\0\0");
    assert_eq!(reply[4], b"\xfe\0\0\x0a\0\0\0");
    assert_eq!(reply[5], b"\0\0\0\x02\0\0\0");
    let reply = client.ask(&query("commit; fail; commit"), 2).await;
    assert_eq!(reply[1], error(1064, "42000", "You have an error in your SQL syntax"));
    client.ping().await;
}

#[tokio::test]
async fn an_error_may_end_a_result_that_has_begun() {
    let mut client = Client::connected(cap::DEPRECATE_EOF).await;
    let reply = client.ask(&query("midway"), 5).await;
    assert_eq!(reply[4], error(1690, "22003", "out of range"));
    client.ping().await;
}

#[tokio::test]
async fn the_small_commands() {
    let mut client = Client::connected(0).await;
    assert_eq!(client.ask(b"\x09", 1).await, [b"Uptime: 1  Threads: 1"]);
    assert_eq!(client.ask(b"\x1b\0\0", 1).await, [b"\xfe\0\0\x02\0"]);
    assert_eq!(client.ask(b"\x1b\x07\0", 1).await, [error(1047, "08S01", "Unknown command")]);
    assert_eq!(client.ask(b"\x1f", 1).await, [b"\0\0\0\x02\0\0\0"]);
    assert_eq!(client.ask(b"\x0c\x09\0\0\0", 1).await, [error(1094, "HY000", "Unknown thread id: 9")]);
    let fields = client.ask(b"\x04table\0%", 2).await;
    assert!(fields[0].ends_with(b"\0\0\x017"));
    assert_eq!(fields[1], b"\xfe\0\0\x02\0");
    for unknown in [b"\0", b"\x07", b"\x0d", b"\x12", b"\x1e", b"\x20", b"\xff"] {
        assert_eq!(client.ask(unknown, 1).await, [error(1047, "08S01", "Unknown command")]);
    }
    let malformed = error(1835, "HY000", "Malformed communication packet.");
    for broken in [&b""[..], b"\x17\x01", b"\x1c\x01\0", b"\x1a", b"\x0c\x01", b"\x11no end"] {
        assert_eq!(client.ask(broken, 1).await, std::slice::from_ref(&malformed), "{broken:?}");
    }
    client.send(0, b"\x01").await;
    assert!(client.ends().await.is_ok());
}

#[tokio::test]
async fn a_prepared_statement_lives_its_life() {
    let mut client = Client::connected(cap::DEPRECATE_EOF).await;
    let reply = client.ask(b"\x16select ?, ?", 5).await;
    assert_eq!(reply[0], b"\0\x01\0\0\0\x02\0\x02\0\0\0\0");
    assert_eq!(reply[1], b"\x03def\0\0\0\x01?\0\x0c\x3f\0\0\0\0\0\xfd\x80\0\0\0\0");
    // Bound: a BIGINT and NULL; then again with the types of before.
    let reply = client.ask(b"\x17\x01\0\0\0\0\x01\0\0\0\x02\x01\x08\0\x08\0\x2a\0\0\0\0\0\0\0", 5).await;
    assert_eq!(reply[3], b"\0\x08\x2a\0\0\0\0\0\0\0");
    let reply = client.ask(b"\x17\x01\0\0\0\0\x01\0\0\0\x02\0\x2b\0\0\0\0\0\0\0", 5).await;
    assert_eq!(reply[3], b"\0\x08\x2b\0\0\0\0\0\0\0");
    // Long data for the second; it has no reply.
    client.send(0, b"\x18\x01\0\0\0\x01\0long ").await;
    client.send(0, b"\x18\x01\0\0\0\x01\0data").await;
    let reply = client.ask(b"\x17\x01\0\0\0\0\x01\0\0\0\0\x01\x01\x80\xfc\0\x07", 5).await;
    assert_eq!(reply[3], b"\0\0\x07\0\0\0\0\0\0\0\x09long data");
    // Long data for a parameter that is not there is told by the next EXECUTE, once.
    client.send(0, b"\x18\x01\0\0\0\x09\0x").await;
    let bound = b"\x17\x01\0\0\0\0\x01\0\0\0\x03\x01\x08\0\x08\0";
    let reply = client.ask(bound, 1).await;
    assert_eq!(reply, [error(1210, "HY000", "Incorrect arguments to mysqld_stmt_send_long_data")]);
    assert_eq!(client.ask(bound, 5).await[3], b"\0\x0c");
    assert_eq!(client.ask(b"\x1a\x01\0\0\0", 1).await, [b"\0\0\0\x02\0\0\0"]);
    client.send(0, b"\x19\x01\0\0\0").await;
    let unknown = error(1243, "HY000", "Unknown prepared statement handler (1) given to mysqld_stmt_execute");
    assert_eq!(client.ask(bound, 1).await, [unknown]);
    assert_eq!(client.ask(b"\x16fail", 1).await[0][..3], [0xff, 0x28, 0x04]);
    client.ping().await;
}

#[tokio::test]
async fn a_cursor_hands_out_rows_as_they_are_asked_for() {
    let mut client = Client::connected(0).await;
    assert_eq!(client.ask(b"\x16select rows 3", 1).await, [b"\0\x01\0\0\0\0\0\0\0\0\0\0"]);
    let no_cursor = error(1421, "HY000", "The statement (1) has no open cursor.");
    assert_eq!(client.ask(b"\x1c\x01\0\0\0\x02\0\0\0", 1).await, std::slice::from_ref(&no_cursor));
    let reply = client.ask(b"\x17\x01\0\0\0\x01\x01\0\0\0", 4).await;
    assert_eq!(reply[3], b"\xfe\0\0\x42\0", "one end, and the cursor exists");
    let reply = client.ask(b"\x1c\x01\0\0\0\x02\0\0\0", 3).await;
    assert_eq!(reply[1], b"\0\0\x01\0\0\0\0\0\0\0\x05row 1");
    assert_eq!(reply[2], b"\xfe\0\0\x42\0");
    let reply = client.ask(b"\x1c\x01\0\0\0\x02\0\0\0", 2).await;
    assert_eq!(reply[1], b"\xfe\0\0\x82\0", "the last row has been sent");
    assert_eq!(client.ask(b"\x1c\x01\0\0\0\x02\0\0\0", 1).await, [no_cursor]);
    // What returns no rows opens no cursor.
    client.ask(b"\x16commit", 1).await;
    assert_eq!(client.ask(b"\x17\x02\0\0\0\x01\x01\0\0\0", 1).await, [b"\0\0\0\x02\0\0\0"]);
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    let mut client = Client::connected(cap::DEPRECATE_EOF).await;
    let mut all = Vec::new();
    for _ in 0..50 {
        all.extend(frame(0, b"\x0e"));
        all.extend(frame(0, &query("commit")));
        all.extend(frame(0, b"\x19\x63\0\0\0"));
    }
    client.stream.write_all(&all).await.unwrap();
    for _ in 0..100 {
        assert_eq!(client.packet().await, (1, b"\0\0\0\x02\0\0\0".to_vec()));
    }
    client.ping().await;
}

#[tokio::test]
async fn packets_beyond_16_mib_travel_both_ways() {
    let mut client = Client::connected(cap::DEPRECATE_EOF).await;
    let text = "y".repeat((16 << 20) + 100);
    let payload = query(&format!("select {text}"));
    let (head, tail) = payload.split_at(0xff_ffff);
    let bytes = [frame(0, head), frame(1, tail)].concat();
    let (mut read, mut write) = tokio::io::split(client.stream);
    let writer = tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write
    });
    let mut header = [0; 4];
    read.read_exact(&mut header).await.unwrap();
    assert_eq!(header, [1, 0, 0, 2], "the reply follows the last frame");
    // The definition and the value each carry the text, split in two frames.
    let expected = 1 + (2 * 4 + 30 + text.len()) + (2 * 4 + 9 + text.len()) + (4 + 7);
    let mut rest = vec![0; expected];
    read.read_exact(&mut rest).await.unwrap();
    assert_eq!(rest[expected - 11..], [7, 0, 0, 7, 0xfe, 0, 0, 2, 0, 0, 0]);
    client.stream = read.unsplit(writer.await.unwrap());
    client.ping().await;
}

#[tokio::test]
async fn a_packet_over_the_limit_is_refused_and_the_connection_lives() {
    let mut client = Client::limited(1000).await;
    let big = error(1153, "08S01", "Got a packet bigger than 'max_allowed_packet' bytes");
    assert_eq!(client.ask(&query(&"x".repeat(1000)), 1).await, [big]);
    client.ping().await;
}

#[tokio::test]
async fn a_wrong_sequence_number_ends_the_connection() {
    let mut client = Client::connected(0).await;
    client.send(5, b"\x0e").await;
    assert_eq!(client.packet().await, (6, error(1156, "08S01", "Got packets out of order")));
    assert!(matches!(client.ends().await, Err(ConnectionError::OutOfOrder)));
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_look_alike() {
    for (user, auth, using) in
        [("sha", &[1; 32][..], "YES"), ("nobody", &[1; 32], "YES"), ("nobody", b"", "NO")]
    {
        let (mut client, _) = Client::greeted(config(), Admission::Ordinary).await;
        client.send(1, &login(BASE, user, auth, "caching_sha2_password")).await;
        let denied = error(
            1045,
            "28000",
            &format!("Access denied for user '{user}'@'10.0.0.9' (using password: {using})"),
        );
        assert_eq!(client.packet().await, (2, denied));
        assert!(matches!(client.ends().await, Err(ConnectionError::Refused(_))));
    }
}

#[tokio::test]
async fn a_client_of_another_plugin_is_asked_to_switch() {
    let (mut client, _) = Client::greeted(config(), Admission::Ordinary).await;
    client.send(1, &login(BASE, "native", &[1; 32], "caching_sha2_password")).await;
    let (seq, request) = client.packet().await;
    assert_eq!(seq, 2);
    assert!(request.starts_with(b"\xfemysql_native_password\0"));
    assert_eq!(request.len(), 23 + 21);
    client.send(3, &[1; 20]).await;
    let denied = error(1045, "28000", "Access denied for user 'native'@'10.0.0.9' (using password: YES)");
    assert_eq!(client.packet().await, (4, denied));
}

#[tokio::test]
async fn what_is_no_handshake_gets_an_error() {
    let bad = error(1043, "08S01", "Bad handshake");
    for nonsense in [&b"GET / HTTP/1.1\r\n"[..], b"", b"\x01\x02"] {
        let (mut client, _) = Client::greeted(config(), Admission::Ordinary).await;
        client.send(1, nonsense).await;
        let (seq, reply) = client.packet().await;
        assert_eq!(seq, 2);
        assert!(reply == bad || reply == b"\xff\x13\x04Bad handshake", "{reply:?}");
        assert!(matches!(client.ends().await, Err(ConnectionError::BadHandshake)));
    }
}

#[tokio::test]
async fn the_reserved_place_is_for_administrators() {
    let (mut client, _) = Client::greeted(config(), Admission::Reserved).await;
    client.send(1, &login(BASE, "root", b"", "caching_sha2_password")).await;
    assert_eq!(client.packet().await.1[0], 0);
    let (mut client, _) = Client::greeted(config(), Admission::Reserved).await;
    client.send(1, &login(BASE, "locked", b"", "caching_sha2_password")).await;
    assert_eq!(client.packet().await.1[..3], [0xff, 0x2e, 0x0c], "3118 comes first");
    let (mut client, _) = Client::greeted(config(), Admission::Reserved).await;
    client.send(1, &login(BASE, "plain", b"", "caching_sha2_password")).await;
    assert_eq!(client.packet().await, (2, error(1040, "08004", "Too many connections")));
}

#[tokio::test]
async fn another_user_may_take_over() {
    let mut client = Client::connected(0).await;
    client.ask(b"\x16commit", 1).await;
    client.send(0, b"\x11root\0\0shop\0\xff\0caching_sha2_password\0").await;
    let (seq, request) = client.packet().await;
    assert_eq!(seq, 1);
    assert!(request.starts_with(b"\xfecaching_sha2_password\0"));
    client.send(2, b"").await;
    assert_eq!(client.packet().await, (3, b"\0\0\0\x02\0\0\0".to_vec()));
    let reply = client.ask(b"\x17\x01\0\0\0\0\x01\0\0\0", 1).await;
    assert_eq!(reply[0][..3], [0xff, 0xdb, 0x04], "1243: statements of the former session are gone");
    client.send(0, b"\x11native\0\0shop\0\xff\0mysql_native_password\0").await;
    client.packet().await;
    client.send(2, &[3; 20]).await;
    assert_eq!(client.packet().await.1[..3], [0xff, 0x15, 0x04]);
    assert!(matches!(client.ends().await, Err(ConnectionError::Refused(_))));
}

#[tokio::test]
async fn a_file_comes_when_it_is_asked_for() {
    let mut client = Client::connected(cap::LOCAL_FILES).await;
    assert_eq!(client.ask(&query("load file.csv"), 1).await, [b"\xfbfile.csv"]);
    client.send(2, &[b'x'; 1000]).await;
    client.send(3, &[b'x'; 30]).await;
    client.send(4, b"").await;
    let (seq, ok) = client.packet().await;
    assert_eq!((seq, &ok[..5]), (5, &b"\0\xfc\x06\x04\0"[..]));
    // The statement fails at once; the client sends its file all the same.
    assert_eq!(client.ask(&query("loadfail file.csv"), 1).await, [b"\xfbfile.csv"]);
    for seq in 2..40 {
        client.send(seq, &[b'x'; 1000]).await;
    }
    client.send(40, b"").await;
    assert_eq!(client.packet().await, (41, error(1406, "22001", "Data too long")));
    client.ping().await;
    let mut client = Client::connected(0).await;
    assert_eq!(client.ask(&query("load file.csv"), 1).await[0][..3], [0xff, 0x6c, 0x0f]);
}

/// Connected with LOAD DATA LOCAL, and asked for a file.
async fn asked_for_a_file(statement: &str) -> Client {
    let (client, _) = Client::greeted_with(config(), Admission::Ordinary, 2000).await;
    let mut client = client.logged_in(cap::LOCAL_FILES).await;
    assert_eq!(client.ask(&query(statement), 1).await, [b"\xfbfile.csv"]);
    client
}

#[tokio::test]
async fn a_packet_of_a_file_that_is_too_large_fails_the_statement_and_not_the_connection() {
    let mut client = asked_for_a_file("load file.csv").await;
    client.send(2, &[b'x'; 2000]).await;
    client.send(3, &[b'x'; 2001]).await;
    client.send(4, &[b'x'; 5]).await;
    client.send(5, b"").await;
    let said = error(1153, "08S01", "Got a packet bigger than 'max_allowed_packet' bytes");
    assert_eq!(client.packet().await, (6, said));
    client.ping().await;
}

#[tokio::test]
async fn what_follows_a_file_out_of_order_is_no_command() {
    let mut client = asked_for_a_file("load file.csv").await;
    client.send(9, b"x").await;
    // What the file holds from here on must not be run.
    client.send(0, b"\x0e").await;
    let (_, reply) = client.packet().await;
    assert_eq!(reply, error(1156, "08S01", "Got packets out of order"));
    assert!(matches!(client.ends().await, Err(ConnectionError::HungUp)));
}

#[tokio::test]
async fn a_client_that_hangs_up_midway_through_a_file_ends_its_statement() {
    let mut client = asked_for_a_file("load file.csv").await;
    client.send(2, b"some").await;
    let Client { stream, seen, server, .. } = client;
    drop(stream);
    assert!(server.await.unwrap().is_err());
    assert!(seen.disconnected.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_midway_through_a_file_is_dropped() {
    let mut client = asked_for_a_file("load file.csv").await;
    for seq in 2..10 {
        tokio::time::sleep(Duration::from_secs(29)).await;
        client.send(seq, b"slow").await;
    }
    let (_, reply) = client.packet().await;
    assert_eq!(reply, error(1159, "08S01", "Got timeout reading communication packets"));
    assert!(matches!(client.ends().await, Err(ConnectionError::HungUp)));
}

#[tokio::test]
async fn a_killed_connection_does_not_wait_for_the_end_of_a_file() {
    let mut client = asked_for_a_file("loadfail file.csv").await;
    client.send(2, &[b'x'; 100]).await;
    client.control.close(Closing::Killed);
    let (_, reply) = client.packet().await;
    assert_eq!(reply, error(1406, "22001", "Data too long"));
    assert!(matches!(client.ends().await, Err(ConnectionError::Killed)));
}

#[tokio::test]
async fn query_attributes_are_stepped_over() {
    let mut client = Client::connected(cap::QUERY_ATTRIBUTES).await;
    assert_eq!(client.ask(b"\x03\0\x01commit", 1).await, [b"\0\0\0\x02\0\0\0"]);
    assert_eq!(client.ask(b"\x03\x01\x01\0\x01\xfd\0\x01n\x01vcommit", 1).await, [b"\0\0\0\x02\0\0\0"]);
    let malformed = error(1835, "HY000", "Malformed communication packet.");
    assert_eq!(client.ask(b"\x03\x01\x01\0\x01\xfd\0\x01n\x20v", 1).await, [malformed]);
    client.ping().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_stops_its_statement() {
    let mut client = Client::connected(0).await;
    client.send(0, &query("wait")).await;
    let Client { stream, seen, server, .. } = client;
    drop(stream);
    assert!(server.await.unwrap().is_err());
    assert!(seen.gone.load(Ordering::SeqCst));
    assert!(seen.disconnected.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_is_told_and_dropped() {
    let mut client = Client::connected(0).await;
    client.ask(&query("set wait 1500"), 1).await;
    tokio::time::sleep(Duration::from_millis(1000)).await;
    client.ping().await;
    let (seq, reply) = client.packet().await;
    assert_eq!((seq, &reply[..3]), (0, &[0xff, 0xbf, 0x0f][..]));
    assert!(matches!(client.ends().await, Err(ConnectionError::IdleTimeout)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_authenticate_is_dropped() {
    let (client, _) = Client::greeted(config(), Admission::Ordinary).await;
    assert!(matches!(client.ends().await, Err(ConnectionError::ConnectTimeout)));
}

#[tokio::test(start_paused = true)]
async fn a_stopping_server_lets_transactions_end() {
    let mut idle = Client::connected(0).await;
    idle.control.close(Closing::Draining);
    assert_eq!(idle.packet().await, (0, error(1053, "08S01", "Server shutdown in progress")));
    assert!(matches!(idle.ends().await, Err(ConnectionError::Draining)));

    let mut busy = Client::connected(0).await;
    busy.ask(&query("begin"), 1).await;
    busy.control.close(Closing::Draining);
    busy.ping().await;
    assert_eq!(busy.ask(&query("commit"), 1).await, [b"\0\0\0\x02\0\0\0"]);
    assert_eq!(busy.packet().await, (0, error(1053, "08S01", "Server shutdown in progress")));

    let mut stuck = Client::connected(0).await;
    stuck.ask(&query("begin"), 1).await;
    stuck.control.close(Closing::Draining);
    assert_eq!(stuck.packet().await, (0, error(1053, "08S01", "Server shutdown in progress")));
}

#[tokio::test]
async fn a_killed_connection_ends() {
    let mut client = Client::connected(0).await;
    client.control.close(Closing::Killed);
    assert_eq!(client.packet().await, (0, error(1927, "70100", "Connection was killed")));
    assert!(matches!(client.ends().await, Err(ConnectionError::Killed)));
}
