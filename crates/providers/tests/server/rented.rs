//! A rented machine, made real: the simulated API of Hetzner boots an sshd and a Docker engine with what cloud-init is
//! given, and the adapter for servers works on it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use linkflow_model::role::{MachineWanted, Machines, MachinesLook, Power, Progress};
use linkflow_model::{FaultKind, Secret};
use linkflow_providers::compute::{Settings, server};
use linkflow_providers::machines::first_boot::FirstBoot;
use linkflow_providers::machines::keys::{host_key, public_half};
use linkflow_rehearsal::cloud::{Boot, Booted};
use serde_json::Value;

use super::super::hetzner::{done, machines};
use super::super::stage::{Stage, deployed, seen};
use super::engine::{Engine, Like};
use super::{definition, found, get, machine, open};

/// The machine that is rented, while it is there.
#[derive(Default)]
struct Metal(Mutex<Option<Arc<Engine>>>);

impl Metal {
    fn engine(&self) -> Arc<Engine> {
        Arc::clone(self.0.lock().unwrap().as_ref().unwrap())
    }
}

#[async_trait]
impl Boot for Metal {
    async fn boot(&self, machine: Booted) -> Result<(), String> {
        if !machine.fresh {
            let engine = self.engine();
            engine.tell("start_docker");
            engine.tell("start_ssh");
            return Ok(());
        }
        drop(self.0.lock().unwrap().take());
        let engine = Engine::start(&Like::default())?;
        // What cloud-init does of it: the machine's own key, and whose key may log in.
        let text = machine.user_data.strip_prefix("#cloud-config\n").ok_or("no cloud-config")?;
        let config: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let key = config["ssh_keys"]["ed25519_private"].as_str().ok_or("no host key")?;
        engine.be_known_by(key, &machine.keys.join("\n"));
        *self.0.lock().unwrap() = Some(Arc::new(engine));
        Ok(())
    }

    async fn halt(&self, _: &str, gone: bool) {
        if gone {
            drop(self.0.lock().unwrap().take());
            return;
        }
        let engine = self.engine();
        engine.tell("stop_docker");
        engine.tell("stop_ssh");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rented_machine_is_deployed_to_over_ssh_and_after_its_rebuild_again() {
    if machine(Like::default()).is_none() {
        return;
    }
    let stage = Stage::start(&["hetzner"]).await;
    let metal = Arc::new(Metal::default());
    assert!(stage.cloud.on_boot(&"hetzner".parse().unwrap(), Arc::clone(&metal) as _));
    let hetzner = machines(&stage, "linkflow");
    let (own, ours) = (host_key(&[3; 32]).unwrap(), host_key(&[4; 32]).unwrap());
    let login_key = public_half(&ours.private).unwrap();
    let first_boot = FirstBoot {
        host_key: own.private.clone(),
        host_key_public: own.public.clone(),
        login_key: login_key.clone(),
        user: "root".to_owned(),
        ssh_port: 22,
        swap_mb: 2_048,
    };
    let wanted = MachineWanted {
        name: "last-resort".to_owned(),
        size: "cx23".to_owned(),
        location: "nbg1".to_owned(),
        image: "debian-12".to_owned(),
        first_boot: first_boot.user_data(),
        login_key,
        open_ports: vec![(22, 22)],
    };
    // Known by the key that it was to have, before anybody ever spoke with it.
    let compute = || {
        let settings = server::Settings {
            key: Secret::new(ours.private.expose()),
            host_key: Some(own.fingerprint.clone()),
            ..metal.engine().settings()
        };
        open(Settings::Server(settings), "linkflow")
    };
    assert_eq!(done(&hetzner, hetzner.create(&wanted).await.unwrap()).await, Progress::Done);
    for again in [false, true] {
        if again {
            let rebuilt = hetzner.rebuild(&wanted).await.unwrap();
            assert_eq!(done(&hetzner, rebuilt).await, Progress::Done);
        }
        let compute = compute();
        assert_eq!(compute.look().await.unwrap(), [], "a new machine has nothing on it");
        let api = definition(metal.engine().push("api", "1.0", 0).await, "api", 1);
        assert_eq!(deployed(&*compute, &api).await, Progress::Done);
        let address = found(&*compute, &api.service).await.address.unwrap();
        assert_eq!(get(&address).await, Ok("r1".to_owned()));
    }
    let after = compute();
    done(&hetzner, hetzner.power("last-resort", Power::Shutdown).await.unwrap()).await;
    assert_eq!(after.look().await.unwrap_err().kind, FaultKind::Unreachable);
    done(&hetzner, hetzner.power("last-resort", Power::On).await.unwrap()).await;
    seen(&*after, &"api".parse().unwrap(), |seen| seen.running == 1).await;
    done(&hetzner, hetzner.delete("last-resort").await.unwrap()).await;
    assert!(hetzner.machines().await.unwrap().is_empty());
    assert_eq!(after.look().await.unwrap_err().kind, FaultKind::Unreachable);
    stage.stop().await;
}
