//! The services beside our own, as their stock clients see them.

use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{
    client::{block_on, channel},
    support::{Cluster, turn},
};

const SERVICE: &str = "raftkv.proto.KvService";

#[test]
fn health_and_reflection_answer_their_stock_clients() {
    let _turn = turn();
    let cluster = Cluster::started();
    block_on(async {
        let channel = channel(cluster.addresses(cluster.leader()).1);
        let mut health = HealthClient::new(channel.clone());
        for service in ["", SERVICE] {
            let service = service.to_owned();
            let answer = health.check(HealthCheckRequest { service }).await;
            let state = answer.expect("a state").into_inner().status();
            assert_eq!(state, ServingStatus::Serving);
        }
        let service = "nothing".to_owned();
        let unknown = health.check(HealthCheckRequest { service }).await;
        assert_eq!(unknown.expect_err("unknown").code(), Code::NotFound);

        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut reflection = ServerReflectionClient::new(channel);
        let answers = reflection.server_reflection_info(tokio_stream::iter([request]));
        let mut answers = answers.await.expect("a stream").into_inner();
        let answer = answers.message().await.expect("open").expect("an answer");
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("{answer:?}");
        };
        let names: Vec<&str> = list.service.iter().map(|s| s.name.as_str()).collect();
        assert!(names.contains(&SERVICE), "{names:?}");
        let cluster_service = "raftkv.proto.ClusterService";
        assert!(names.contains(&cluster_service), "{names:?}");
        assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
        let end = answers.message().await.expect("a stream that ends well");
        assert!(end.is_none(), "{end:?}");
    });
}
