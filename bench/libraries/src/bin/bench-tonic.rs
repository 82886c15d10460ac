//! What bench-gateway compares with: raftkv's client API by tonic, on one thread, where each call
//! is answered at once and with the same. Prints where it serves, and ends with its standard input.

use std::{error::Error, io::Read, net::Ipv4Addr, thread};

use tokio::{net::TcpListener, runtime::Builder};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use proto::{
    DeleteRequest, DeleteResponse, GetRequest, GetResponse, PutRequest, PutResponse,
    kv_service_server::{KvService, KvServiceServer},
};

mod proto {
    tonic::include_proto!("raftkv.proto");
}

const VALUE_BYTES: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        let service = KvServiceServer::new(Cached {
            value: "v".repeat(VALUE_BYTES),
        });
        let server = Server::builder().add_service(service);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        server.serve_with_incoming(incoming).await?;
        Ok(())
    })
}

struct Cached {
    value: String,
}

#[tonic::async_trait]
impl KvService for Cached {
    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Ok(Response::new(PutResponse {
            ok: true,
            ..PutResponse::default()
        }))
    }

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Ok(Response::new(GetResponse {
            ok: true,
            found: true,
            value: self.value.clone(),
            ..GetResponse::default()
        }))
    }

    async fn delete(&self, _: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        Err(Status::unimplemented("puts and gets are measured"))
    }
}
