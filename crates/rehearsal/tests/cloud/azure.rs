//! Azure's resource manager and its container apps by raw HTTP.

use bytes::Bytes;
use http::{Method, Request};
use linkflow_rehearsal::cloud::Trouble;
use serde_json::{Value, json};

use super::stage::{Stage, Told, call, env, send, until, visit};

const AZURE: &str = "azure-container-apps";
const APP: &str = "containerApps/linkflow-engine-frontend";

/// A cloud, and who may ask its resource manager.
struct Arm {
    stage: Stage,
    own: Value,
    token: String,
}

/// Asks for a token, as `own` says.
async fn log_in(stage: &Stage, own: &Value, secret: &str) -> Told {
    let text = |name: &str| own[name].as_str().unwrap();
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={secret}&scope=https%3A%2F%2Fmanagement.azure.com%2F.default",
        text("clientId")
    );
    let url = format!("{}/{}/oauth2/v2.0/token", stage.provider(AZURE).api, text("tenantId"));
    let request = Request::post(url).header("content-type", "application/x-www-form-urlencoded");
    send(request.body(Bytes::from(form)).unwrap()).await.unwrap()
}

impl Arm {
    async fn start() -> Self {
        let stage = Stage::start(&[AZURE]).await;
        let own: Value = serde_json::from_str(&stage.provider(AZURE).token).unwrap();
        let granted = log_in(&stage, &own, own["clientSecret"].as_str().unwrap()).await;
        let token = granted.json["access_token"].as_str().unwrap().to_owned();
        Self { stage, own, token }
    }

    fn url(&self, tail: &str) -> String {
        let subscription = self.own["subscriptionId"].as_str().unwrap();
        let api = &self.stage.provider(AZURE).api;
        format!(
            "{api}/subscriptions/{subscription}/resourceGroups/rehearsal/providers/Microsoft.App/{tail}?api-version=2026-07-01"
        )
    }

    async fn ask(&self, method: Method, tail: &str, body: Option<Value>) -> Told {
        call(method, &self.url(tail), Some(&self.token), body.as_ref()).await
    }

    async fn get(&self, tail: &str) -> Value {
        self.ask(Method::GET, tail, None).await.json
    }

    /// Waits until no operation on the app is under way.
    async fn settled(&self) -> Value {
        let look = async || self.get(APP).await;
        until("it is settled", look, |app| app["properties"]["provisioningState"] == "Succeeded")
            .await
    }

    /// Waits until a revision says so.
    async fn revision(&self, suffix: &str, running: &str, health: &str) -> Value {
        let tail = format!("{APP}/revisions/linkflow-engine-frontend--{suffix}");
        let look = async || self.get(&tail).await;
        let fits = |told: &Value| {
            let told = &told["properties"];
            told["runningState"] == running && told["healthState"] == health
        };
        until("the revision is there", look, fits).await
    }

    async fn body(&self, tag: &str, suffix: &str) -> Value {
        let mut all: Vec<Value> = env("engine-frontend", AZURE, 8_080, 1)
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        all.push(json!({ "name": "LINKFLOW_SECRET", "secretRef": "key" }));
        let subscription = self.own["subscriptionId"].as_str().unwrap();
        let environment = format!(
            "/subscriptions/{subscription}/resourceGroups/rehearsal/providers/Microsoft.App/managedEnvironments/rehearsal"
        );
        json!({
            "location": "westeurope",
            "tags": { "team": "ours" },
            "properties": {
                "environmentId": environment,
                "configuration": {
                    "activeRevisionsMode": "Single",
                    "secrets": [{ "name": "key", "value": "the-value" }],
                    "ingress": { "external": true, "targetPort": 8_080, "transport": "http" },
                },
                "template": {
                    "revisionSuffix": suffix,
                    "containers": [{
                        "name": "engine-frontend",
                        "image": self.stage.pinned(&format!("engine-frontend:{tag}")).await,
                        "env": all,
                        "resources": { "cpu": 0.25, "memory": "0.5Gi" },
                        "probes": [{ "type": "Readiness", "httpGet": { "path": "/health", "port": 8_080 } }],
                    }],
                    "scale": { "minReplicas": 1, "maxReplicas": 1 },
                },
            },
        })
    }

    /// An app that serves, and its host.
    async fn served(&self) -> String {
        let body = self.body("1.0", "one").await;
        let told = self.ask(Method::PUT, APP, Some(body)).await;
        assert_eq!(told.status, 201, "{}", told.json);
        self.revision("one", "Running", "Healthy").await;
        let app = self.settled().await;
        app["properties"]["configuration"]["ingress"]["fqdn"].as_str().unwrap().to_owned()
    }

    async fn visited(&self, host: &str) -> u16 {
        visit(self.stage.provider(AZURE), host, "/health").await.unwrap().status
    }

    /// Refused, with this code.
    async fn refused(&self, body: Value, status: u16, code: &str) {
        let told = self.ask(Method::PUT, APP, Some(body)).await;
        assert_eq!(
            (told.status, told.json["error"]["code"].as_str()),
            (status, Some(code)),
            "{}",
            told.json
        );
    }
}

#[tokio::test]
async fn a_token_is_had_for_the_credentials_alone_and_the_credentials_are_no_token() {
    let arm = Arm::start().await;
    let told = log_in(&arm.stage, &arm.own, "wrong").await;
    assert_eq!((told.status, &told.json["error"]), (401, &json!("invalid_client")));
    let secret = arm.own["clientSecret"].as_str().unwrap();
    let told = call(Method::GET, &arm.url("containerApps"), Some(secret), None).await;
    assert_eq!(
        (told.status, &told.json["error"]["code"]),
        (401, &json!("InvalidAuthenticationToken"))
    );
    assert_eq!(arm.ask(Method::GET, "containerApps", None).await.status, 200);
    let url = arm.url("containerApps").replace("?api-version=2026-07-01", "");
    assert_eq!(call(Method::GET, &url, Some(&arm.token), None).await.status, 400);
    let url = arm.url("containerApps").replace("resourceGroups/rehearsal", "resourceGroups/other");
    let told = call(Method::GET, &url, Some(&arm.token), None).await;
    assert_eq!((told.status, &told.json["error"]["code"]), (404, &json!("ResourceGroupNotFound")));
    arm.stage.stop().await;
}

#[tokio::test]
async fn an_app_is_made_by_and_by_and_shows_its_secrets_only_when_asked() {
    let arm = Arm::start().await;
    let body = arm.body("1.0", "one").await;
    let told = arm.ask(Method::PUT, APP, Some(body.clone())).await;
    assert_eq!(
        (told.status, &told.json["properties"]["provisioningState"]),
        (201, &json!("InProgress"))
    );
    assert!(told.header("azure-asyncoperation").contains("/operationStatuses/"));
    let busy = arm.ask(Method::PATCH, APP, Some(json!({ "location": "westeurope" }))).await;
    assert_eq!(busy.status, 409, "{}", busy.json);
    let ready = arm.revision("one", "Running", "Healthy").await;
    assert_eq!(
        (&ready["properties"]["replicas"], &ready["properties"]["active"]),
        (&json!(1), &json!(true))
    );
    let app = arm.settled().await;
    assert_eq!(app["properties"]["latestReadyRevisionName"], "linkflow-engine-frontend--one");
    assert_eq!(app["properties"]["configuration"]["secrets"], json!([{ "name": "key" }]));
    let secrets = arm.ask(Method::POST, &format!("{APP}/listSecrets"), None).await.json;
    assert_eq!(secrets["value"], json!([{ "name": "key", "value": "the-value" }]));
    let host = app["properties"]["configuration"]["ingress"]["fqdn"].as_str().unwrap();
    assert!(host.ends_with(&arm.stage.provider(AZURE).host_suffix), "{host}");
    assert_eq!(arm.visited(host).await, 200);
    assert_eq!(arm.visited("nobody.westeurope.azurecontainerapps.io").await, 404);
    arm.stage.stop().await;
}

#[tokio::test]
async fn a_patch_replaces_arrays_whole_and_a_template_that_stays_makes_no_revision() {
    let arm = Arm::start().await;
    arm.served().await;
    let patch = |properties: Value| json!({ "location": "westeurope", "properties": properties });
    let secrets = json!([{ "name": "key", "value": "x" }, { "name": "more", "value": "y" }]);
    let body = patch(json!({ "configuration": { "secrets": secrets } }));
    assert_eq!(arm.ask(Method::PATCH, APP, Some(body)).await.status, 202);
    arm.settled().await;
    let rows = arm.get(&format!("{APP}/revisions")).await;
    assert_eq!(rows["value"].as_array().unwrap().len(), 1, "secrets make no revision");
    let body = patch(json!({ "configuration": { "secrets": [{ "name": "more", "value": "y" }] } }));
    let told = arm.ask(Method::PATCH, APP, Some(body)).await;
    assert_eq!(
        told.json["error"]["code"], "ContainerAppSecretRefNotFound",
        "`key` is gone, and still referred to"
    );

    let scale = json!({ "minReplicas": 2, "maxReplicas": 2 });
    let told =
        arm.ask(Method::PATCH, APP, Some(patch(json!({ "template": { "scale": scale } })))).await;
    assert_eq!(
        told.json["error"]["code"], "ContainerAppInvalidRevisionSuffix",
        "that suffix has a revision"
    );
    let body = patch(json!({ "template": { "scale": scale, "revisionSuffix": "two" } }));
    assert_eq!(arm.ask(Method::PATCH, APP, Some(body)).await.status, 202);
    let two = arm.revision("two", "Running", "Healthy").await;
    assert_eq!(two["properties"]["replicas"], 2);
    assert!(two["properties"]["template"]["containers"][0]["env"].as_array().unwrap().len() > 4);
    let one = arm.revision("one", "Stopped", "None").await;
    assert_eq!(
        (&one["properties"]["active"], &one["properties"]["replicas"]),
        (&json!(false), &json!(0))
    );
    arm.stage.stop().await;
}

#[tokio::test]
async fn what_ran_before_serves_until_the_new_revision_is_ready() {
    let arm = Arm::start().await;
    let host = arm.served().await;
    let body = arm.body("broken", "two").await;
    assert_eq!(arm.ask(Method::PUT, APP, Some(body)).await.status, 200);
    let broken = arm.revision("two", "Failed", "Unhealthy").await;
    assert_eq!(broken["properties"]["provisioningError"], "Container crashing");
    assert_eq!(arm.visited(&host).await, 200);
    let app = arm.settled().await;
    assert_eq!(app["properties"]["latestReadyRevisionName"], "linkflow-engine-frontend--one");

    let replicas =
        arm.get(&format!("{APP}/revisions/linkflow-engine-frontend--two/replicas")).await;
    let container = &replicas["value"][0]["properties"]["containers"][0];
    assert!(container["restartCount"].as_u64().unwrap() >= 4, "{container}");
    let stream = container["logStreamEndpoint"].as_str().unwrap();
    let token = arm.ask(Method::POST, &format!("{APP}/getAuthtoken"), None).await.json;
    let token = token["properties"]["token"].as_str().unwrap();
    let told = call(Method::GET, &format!("{stream}?tailLines=50"), Some(token), None).await;
    let text = String::from_utf8_lossy(&told.body).into_owned();
    assert!(text.contains("broken on purpose"), "{text}");
    assert_eq!(call(Method::GET, stream, Some(&arm.token), None).await.status, 401);
    arm.stage.stop().await;
}

#[tokio::test]
async fn a_stopped_app_stays_stopped_when_it_is_changed() {
    let arm = Arm::start().await;
    let host = arm.served().await;
    assert_eq!(arm.ask(Method::POST, &format!("{APP}/stop"), None).await.status, 202);
    let app = arm.settled().await;
    assert_eq!(app["properties"]["runningStatus"], "Stopped");
    assert_eq!(arm.visited(&host).await, 503);
    let body = arm.body("1.1", "two").await;
    assert_eq!(arm.ask(Method::PUT, APP, Some(body)).await.status, 200);
    let app = arm.settled().await;
    assert_eq!(app["properties"]["runningStatus"], "Stopped");
    assert_eq!(app["properties"]["latestRevisionName"], "linkflow-engine-frontend--two");
    assert_eq!(arm.visited(&host).await, 503);
    assert_eq!(arm.ask(Method::POST, &format!("{APP}/start"), None).await.status, 202);
    arm.revision("two", "Running", "Healthy").await;
    assert_eq!(arm.visited(&host).await, 200);
    arm.stage.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_the_vendors_words() {
    let arm = Arm::start().await;
    let good = arm.body("1.0", "one").await;
    let changed = |place: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(place).unwrap() = value;
        body
    };
    let container = "/properties/template/containers/0";
    let image = json!(format!("ghcr.io/acme/linkflow/engine-frontend@sha256:{}", "e".repeat(64)));
    let nowhere = changed(&format!("{container}/image"), image);
    arm.refused(nowhere, 400, "InvalidParameterValueInContainerTemplate").await;
    let uneven =
        changed(&format!("{container}/resources"), json!({ "cpu": 0.25, "memory": "1Gi" }));
    arm.refused(uneven, 400, "ContainerAppInvalidResourceTotal").await;
    let no_secret = changed("/properties/configuration/secrets", json!([]));
    arm.refused(no_secret, 400, "ContainerAppSecretRefNotFound").await;
    let nowhere =
        good["properties"]["environmentId"].as_str().unwrap().replace("/rehearsal", "/other");
    arm.refused(changed("/properties/environmentId", json!(nowhere)), 404, "ResourceNotFound")
        .await;
    arm.stage.fault(AZURE, Trouble::OutOfQuota);
    arm.refused(good.clone(), 409, "ReadOnlyDisabledSubscription").await;
    arm.stage.fault(AZURE, Trouble::RateLimited);
    let told = arm.ask(Method::GET, APP, None).await;
    assert_eq!((told.status, told.header("retry-after").as_str()), (429, "5"));
    arm.stage.fault(AZURE, None);
    arm.served().await;
    let told = arm.ask(Method::DELETE, "managedEnvironments/rehearsal", None).await;
    assert_eq!(told.status, 409, "an environment with apps in it stays");
    arm.stage.stop().await;
}

#[tokio::test]
async fn a_killed_app_is_told_of_and_a_hung_one_is_not() {
    let arm = Arm::start().await;
    arm.served().await;
    arm.stage.fault(AZURE, Trouble::Hung);
    arm.revision("one", "Running", "Healthy").await;
    arm.stage.fault(AZURE, Trouble::Killed);
    let told = arm.revision("one", "Failed", "Unhealthy").await;
    assert_eq!(told["properties"]["replicas"], 0);
    arm.stage.fault(AZURE, None);
    arm.revision("one", "Running", "Healthy").await;
    arm.stage.stop().await;
}

#[tokio::test]
async fn more_writes_than_the_subscription_may_make_are_throttled() {
    let arm = Arm::start().await;
    let mut throttled = 0;
    for _ in 0..260 {
        let told = arm.ask(Method::POST, &format!("{APP}/listSecrets"), None).await;
        throttled += usize::from(told.status == 429);
        if throttled > 0 {
            break;
        }
    }
    assert_eq!(throttled, 1);
    assert_eq!(
        arm.ask(Method::GET, "containerApps", None).await.status,
        200,
        "reads are counted apart"
    );
    arm.stage.stop().await;
}
