//! The HTTP/2 layer on real sockets, under the RFC 9113 conformance suite `httpwg`.
//!
//! Not part of `make test`, since the suite is a program of its own:
//!
//! ```text
//! cargo install --locked httpwg-cli@0.2.5
//! HTTPWG=$(command -v httpwg) cargo test --test h2_conformance -- --ignored --nocapture
//! ```

use bytes::Bytes;
use raftkv::grpc::plain_response;
use raftkv::h2::{Connection, Event, Limits, StreamId};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Answers every request, once it has ended, with 415 and a body.
fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let start = Instant::now();
    let mut connection = Connection::server(Limits::default(), 0);
    let mut buffer = [0; 64 << 10];
    loop {
        loop {
            let taken = socket.write(connection.output())?;
            connection.written(taken);
            if taken == 0 {
                break;
            }
        }
        if connection.is_closed() {
            socket.shutdown(std::net::Shutdown::Write)?;
            while socket.read(&mut buffer)? > 0 {}
            return Ok(());
        }
        let length = socket.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        connection.receive(&buffer[..length], start.elapsed().as_millis() as u64);
        while let Some(event) = connection.poll() {
            let ended = match event {
                Event::Headers {
                    stream,
                    end_stream: true,
                    ..
                }
                | Event::Data {
                    stream,
                    end_stream: true,
                    ..
                }
                | Event::Trailers { stream, .. } => stream,
                _ => continue,
            };
            answer(&mut connection, ended);
        }
    }
}

fn answer(connection: &mut Connection, stream: StreamId) {
    let (headers, body): (_, Bytes) = plain_response(415);
    // A stream that is gone needs no answer.
    let _ = connection.send_headers(stream, &headers, false);
    let _ = connection.send_data(stream, body, true);
}

#[test]
#[ignore = "needs the program httpwg"]
fn httpwg_finds_nothing_but_the_status_of_our_refusals() {
    let program = std::env::var("HTTPWG").expect("HTTPWG is the path of the program httpwg");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let socket = socket.unwrap();
            std::thread::spawn(move || serve(socket));
        }
    });
    let output = Command::new(program)
        .args(["--address", &address])
        .output()
        .unwrap();
    let report = [output.stdout, output.stderr].concat();
    let report = String::from_utf8_lossy(&report);
    println!("{report}");
    // `te: trailers` is accepted, but that case also wants status 200 for a POST that is no gRPC.
    assert!(
        report.contains("106/107"),
        "the suite reports other deviations too"
    );
    assert!(report.contains("with_te_trailers"));
}
