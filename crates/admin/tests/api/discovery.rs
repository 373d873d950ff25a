//! Health and reflection, as generic clients use them.

use crate::Api;
use assize_admin::pb;
use futures_util::{StreamExt, stream};
use prost::Message;
use prost_types::FileDescriptorProto;
use std::collections::BTreeSet;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const SERVICES: [&str; 6] = ["Cluster", "Config", "Schema", "Sessions", "Shards", "Transactions"];

async fn channel(api: &Api) -> Channel {
    Channel::from_shared(format!("http://{}", api.address)).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn every_service_has_health_until_the_node_stops() {
    let api = Api::start().await;
    let mut health = HealthClient::new(channel(&api).await);
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in SERVICES {
        let told = health.check(ask(&format!("assize.admin.v1.{service}"))).await.unwrap().into_inner();
        assert_eq!(told.status, 1, "{service} is serving");
    }
    assert_eq!(health.check(ask("")).await.unwrap().into_inner().status, 1);
    assert!(health.check(ask("no.such.Service")).await.is_err());

    let mut watched = health.watch(ask("")).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status, 1);
    api.stop.send(()).unwrap();
    assert_eq!(watched.message().await.unwrap().unwrap().status, 2, "not serving any more");
    drop((watched, health));
    api.serving.await.unwrap().unwrap();
}

/// Lists services and fetches the file of each, in one version of the reflection protocol.
macro_rules! reflects {
    ($api:expr, $version:ident) => {{
        use tonic_reflection::pb::$version as r;
        let mut client = r::server_reflection_client::ServerReflectionClient::new(channel($api).await);
        let ask = |message_request| r::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        };
        let mut questions =
            vec![ask(r::server_reflection_request::MessageRequest::ListServices(String::new()))];
        for service in SERVICES {
            let symbol = format!("assize.admin.v1.{service}");
            questions.push(ask(r::server_reflection_request::MessageRequest::FileContainingSymbol(symbol)));
        }
        let answers = client.server_reflection_info(stream::iter(questions)).await.unwrap().into_inner();
        let (mut services, mut methods) = (BTreeSet::new(), 0);
        for answer in answers.collect::<Vec<_>>().await {
            match answer.unwrap().message_response.unwrap() {
                r::server_reflection_response::MessageResponse::ListServicesResponse(list) => {
                    services.extend(list.service.into_iter().map(|s| s.name));
                }
                r::server_reflection_response::MessageResponse::FileDescriptorResponse(files) => {
                    for file in files.file_descriptor_proto {
                        let file = FileDescriptorProto::decode(file.as_slice()).unwrap();
                        methods += file.service.iter().map(|s| s.method.len()).sum::<usize>();
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        (services, methods)
    }};
}

#[tokio::test]
async fn reflection_lists_every_service_in_both_versions() {
    let api = Api::start().await;
    let (new, methods) = reflects!(&api, v1);
    let (old, methods_of_old) = reflects!(&api, v1alpha);
    for services in [&new, &old] {
        for service in SERVICES {
            assert!(services.contains(&format!("assize.admin.v1.{service}")), "{service} in {services:?}");
        }
        assert!(services.contains("grpc.health.v1.Health"), "{services:?}");
    }
    assert_eq!(methods, 35, "one of each call");
    assert_eq!(methods, methods_of_old);
}

#[tokio::test]
async fn a_node_that_stops_does_not_wait_for_watchers() {
    let api = Api::start().await;
    let mut watched =
        api.client().await.shards().watch(pb::WatchShardsRequest {}).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().shards.len(), 4);
    api.stop.send(()).unwrap();
    let status = watched.message().await.unwrap_err();
    assert_eq!(assize_admin::explain(&status).unwrap().reason, "SHUTTING_DOWN");
    api.serving.await.unwrap().unwrap();
}
