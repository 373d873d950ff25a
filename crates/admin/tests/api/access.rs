//! Roles, tokens and certificates.

use crate::{Api, refused};
use assize_admin::{Client, ClientError, ClientOptions, Options, Tls, pb};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sha2::{Digest, Sha256};
use std::path::Path;
use tonic::Code;

fn hash(shown: impl AsRef<[u8]>) -> String {
    Sha256::digest(shown).iter().map(|b| format!("{b:02x}")).collect()
}

/// One token for each role, named after it.
async fn start_with_tokens() -> Api {
    Api::start_with(|options, dir| {
        let line = |role: &str| format!("{role}-person {role} {}\n", hash(format!("{role}-token")));
        let path = dir.join("tokens");
        std::fs::write(&path, ["viewer", "operator", "admin"].map(line).concat()).unwrap();
        Options { tokens_file: Some(path), ..options }
    })
    .await
}

#[tokio::test]
async fn without_a_known_token_nothing_is_told() {
    let api = start_with_tokens().await;
    let look = |client: Client| async move { client.cluster().list_members(pb::ListMembersRequest {}).await };
    refused(look(api.client().await).await, Code::Unauthenticated, "UNAUTHENTICATED");
    refused(look(api.client_with("guess").await).await, Code::Unauthenticated, "UNAUTHENTICATED");
    let drain = pb::DrainNodeRequest { node: 1, ..Default::default() };
    let result = api.client().await.cluster().drain_node(drain).await;
    refused(result, Code::Unauthenticated, "UNAUTHENTICATED");
    assert_eq!(api.fake.state().acts, []);
    assert_eq!(api.audited(), [] as [String; 0], "strangers cannot fill the audit log");
    look(api.client_with("viewer-token").await).await.unwrap();
}

#[tokio::test]
async fn roles_decide_what_may_be_done() {
    let api = start_with_tokens().await;
    // A call that each role may do, and one that only higher ones may.
    for (role, may_steer, may_change_members) in
        [("viewer", false, false), ("operator", true, false), ("admin", true, true)]
    {
        let client = api.client_with(&format!("{role}-token")).await;
        client.config().get_effective(pb::GetEffectiveRequest {}).await.unwrap();
        let drain = pb::DrainNodeRequest { node: 1, ..Default::default() };
        let drained = client.cluster().drain_node(drain).await;
        assert_eq!(drained.is_ok(), may_steer, "{role}");
        let split = pb::SplitRequest { shard: 1, validate_only: true, ..Default::default() };
        assert_eq!(
            client.shards().split(split).await.is_ok(),
            may_steer,
            "{role}: validating needs the role too"
        );
        let promote = pb::PromoteMemberRequest { node: 3, ..Default::default() };
        let promoted = client.cluster().promote_member(promote).await;
        assert_eq!(promoted.is_ok(), may_change_members, "{role}");
        if !may_change_members {
            let status = refused(promoted, Code::PermissionDenied, "ROLE_TOO_LOW");
            assert_eq!(assize_admin::explain(&status).unwrap().metadata["role"], "admin");
        }
    }
    let who: Vec<String> = api.fake.state().acts.iter().map(|(_, who)| who.clone()).collect();
    assert_eq!(who, ["operator-person", "admin-person", "admin-person"]);
    let audited = api.audited();
    let refusal = "refused viewer-person Cluster.DrainNode Cluster.DrainNode needs role operator, and viewer-person is viewer";
    assert_eq!(audited[0], refusal);
    assert_eq!(audited.iter().filter(|line| line.starts_with("refused")).count(), 4, "{audited:#?}");
}

/// A certificate authority, the server's certificate and a client's, as files in `dir`.
pub(crate) struct Certificates {
    pub ca: Vec<u8>,
    pub client: (Vec<u8>, Vec<u8>),
    client_hash: String,
}

pub(crate) fn make_certificates(dir: &Path) -> Certificates {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let sign = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &ca).unwrap(), key)
    };
    let (server, server_key) = sign("127.0.0.1");
    std::fs::write(dir.join("server.pem"), server.pem()).unwrap();
    std::fs::write(dir.join("server.key"), server_key.serialize_pem()).unwrap();
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    let (client, client_key) = sign("someone");
    Certificates {
        ca: ca.pem().into_bytes(),
        client_hash: hash(client.der()),
        client: (client.pem().into_bytes(), client_key.serialize_pem().into_bytes()),
    }
}

#[tokio::test]
async fn a_client_certificate_is_as_good_as_a_token() {
    let mut certificates = None;
    let api = Api::start_with(|options, dir| {
        let made = make_certificates(dir);
        let tokens = dir.join("tokens");
        let lines = format!("robot operator cert:{}\nalice admin {}\n", made.client_hash, hash("secret"));
        std::fs::write(&tokens, lines).unwrap();
        certificates = Some(made);
        let tls = Tls {
            certificate: dir.join("server.pem"),
            key: dir.join("server.key"),
            client_ca: Some(dir.join("ca.pem")),
        };
        Options { tls: Some(tls), tokens_file: Some(tokens), ..options }
    })
    .await;
    let Certificates { ca, client, .. } = certificates.unwrap();
    let verify = |options: ClientOptions| async move {
        let mut cluster = Client::connect(&options).await?.cluster();
        let done = cluster.verify_replicas(pb::VerifyReplicasRequest::default()).await?;
        Ok::<String, ClientError>(done.into_inner().text)
    };
    let bare = api.client_options();
    let with_ca = ClientOptions { ca: Some(ca), ..bare.clone() };

    let with_certificate = ClientOptions { identity: Some(client), ..with_ca.clone() };
    assert_eq!(verify(with_certificate).await.unwrap(), "12 replicas hold the same");
    let with_token = ClientOptions { token: Some("secret".to_owned()), ..with_ca.clone() };
    assert_eq!(verify(with_token).await.unwrap(), "12 replicas hold the same");
    let who: Vec<String> = api.fake.state().acts.iter().map(|(_, who)| who.clone()).collect();
    assert_eq!(who, ["robot", "alice"]);

    let nobody = verify(with_ca).await;
    assert!(matches!(nobody, Err(ClientError::Refused { code: Code::Unauthenticated, .. })), "{nobody:?}");
    let stranger = make_certificates(tempfile::tempdir().unwrap().path());
    let mistrusting = verify(ClientOptions { ca: Some(stranger.ca), ..bare.clone() }).await;
    assert!(matches!(mistrusting, Err(ClientError::Unreachable(_))), "{mistrusting:?}");
    assert!(verify(bare).await.is_err(), "no clear text where TLS is spoken");
}

/// The names of the databases, as a new connection that trusts only `ca` gets them.
async fn databases(options: &ClientOptions, ca: &[u8]) -> Result<usize, ClientError> {
    let options = ClientOptions { ca: Some(ca.to_owned()), ..options.clone() };
    let mut schema = Client::connect(&options).await?.schema();
    Ok(schema.list_databases(pb::ListDatabasesRequest::default()).await?.into_inner().databases.len())
}

#[tokio::test]
async fn new_connections_see_new_certificates_and_old_ones_go_on() {
    let (mut first, mut directory) = (None, None);
    let api = Api::start_with(|options, dir| {
        first = Some(make_certificates(dir));
        directory = Some(dir.to_owned());
        let tls = Tls {
            certificate: dir.join("server.pem"),
            key: dir.join("server.key"),
            client_ca: Some(dir.join("ca.pem")),
        };
        let tokens = dir.join("tokens");
        std::fs::write(&tokens, format!("alice admin {}\n", hash("secret"))).unwrap();
        Options { tls: Some(tls), tokens_file: Some(tokens), ..options }
    })
    .await;
    let (first, directory) = (first.unwrap(), directory.unwrap());
    let options = ClientOptions { token: Some("secret".to_owned()), ..api.client_options() };
    let trusting = ClientOptions { ca: Some(first.ca.clone()), ..options.clone() };
    let mut old = Client::connect(&trusting).await.unwrap().schema();
    let known = databases(&options, &first.ca).await.unwrap();

    let second = make_certificates(&directory);
    let mut tries = 0;
    while databases(&options, &second.ca).await.is_err() {
        tries += 1;
        assert!(tries < 600, "the new certificate is never shown");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mistrusting = databases(&options, &first.ca).await;
    assert!(matches!(mistrusting, Err(ClientError::Unreachable(_))), "{mistrusting:?}");
    let answer = old.list_databases(pb::ListDatabasesRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.databases.len(), known, "the old connection goes on");

    // Clients' certificates are checked against the new authority, too.
    let lines = format!("alice admin {}\nrobot viewer cert:{}\n", hash("secret"), second.client_hash);
    std::fs::write(directory.join("tokens"), lines).unwrap();
    let by_certificate =
        ClientOptions { token: None, identity: Some(second.client.clone()), ..options.clone() };
    assert_eq!(databases(&by_certificate, &second.ca).await.unwrap(), known);
}

#[tokio::test]
async fn a_client_tries_its_addresses_in_turn() {
    let api = Api::start().await;
    // Bound and let go again: nobody listens there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let addresses = vec![silent, api.address.clone()];
    let client = Client::connect(&ClientOptions { addresses, ..ClientOptions::default() }).await.unwrap();
    assert_eq!(client.address(), api.address);
    let addresses = vec!["nonsense".to_owned()];
    let error =
        Client::connect(&ClientOptions { addresses, ..ClientOptions::default() }).await.err().unwrap();
    assert!(matches!(error, ClientError::Address(_)), "{error}");
}
