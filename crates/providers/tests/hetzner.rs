//! Machines at Hetzner, against the simulated API.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use linkflow_model::role::{
    MachineState, MachineWanted, Machines, MachinesLook, Operation, Power, Progress,
};
use linkflow_model::{FaultKind, Secret};
use linkflow_providers::machines::first_boot::FirstBoot;
use linkflow_providers::machines::hetzner::{self, Hetzner, Settings};
use linkflow_rehearsal::cloud::{Boot, Booted, Trouble};
use tokio::time::sleep;

use super::stage::{Stage, kit};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFake";

pub(crate) fn machines(stage: &Stage, stack: &str) -> Hetzner {
    let endpoint = stage.provider("hetzner");
    let settings =
        Settings { token: Secret::new(&endpoint.token), api: Some(endpoint.api.clone()) };
    hetzner::open(settings, &stage.kit, &stack.parse().unwrap(), &"hetzner".parse().unwrap())
}

fn wanted(name: &str) -> MachineWanted {
    let first_boot = FirstBoot {
        host_key: Secret::new("-----BEGIN OPENSSH PRIVATE KEY-----\nof the machine\n"),
        host_key_public: KEY.to_owned(),
        login_key: KEY.to_owned(),
        user: "root".to_owned(),
        ssh_port: 22,
        swap_mb: 2_048,
    };
    MachineWanted {
        name: name.to_owned(),
        size: "cx23".to_owned(),
        location: "nbg1".to_owned(),
        image: "debian-12".to_owned(),
        first_boot: first_boot.user_data(),
        login_key: format!("{KEY} somebody@somewhere"),
        open_ports: vec![(22, 22), (21_000, 21_999)],
    }
}

pub(crate) async fn done(machines: &Hetzner, operation: Operation) -> Progress {
    for _ in 0..200 {
        match machines.operation(&operation).await.unwrap() {
            Progress::Under { .. } => sleep(Duration::from_millis(150)).await,
            other => return other,
        }
    }
    panic!("{operation:?} does not end");
}

/// Notes what is booted.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

#[async_trait]
impl Boot for Notes {
    async fn boot(&self, machine: Booted) -> Result<(), String> {
        let text =
            format!("boot {} keys {} fresh {}", machine.name, machine.keys.len(), machine.fresh);
        self.0.lock().unwrap().push(text);
        if machine.user_data.contains("does not boot") { Err("no disk".to_owned()) } else { Ok(()) }
    }

    async fn halt(&self, name: &str, gone: bool) {
        self.0.lock().unwrap().push(format!("halt {name} gone {gone}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_made_once_changed_and_given_up() {
    let stage = Stage::start(&["hetzner"]).await;
    let notes = Arc::new(Notes::default());
    assert!(stage.cloud.on_boot(&"hetzner".parse().unwrap(), Arc::clone(&notes) as _));
    let ours = machines(&stage, "linkflow");
    let due = wanted("last-resort");

    assert_eq!(done(&ours, ours.create(&due).await.unwrap()).await, Progress::Done);
    let held = ours.machines().await.unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].state, held[0].size.as_str()), (MachineState::Running, "cx23"));
    assert_eq!(held[0].address, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(held[0].month.as_ref().unwrap().currency, "EUR");
    let writes = stage.writes();
    assert_eq!(ours.create(&due).await.unwrap().id, "", "it is there");
    assert_eq!(stage.writes(), writes, "a repeat writes nothing");

    let refused = ours.resize("last-resort", "cx33").await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Conflict, "{refused}");
    done(&ours, ours.power("last-resort", Power::Shutdown).await.unwrap()).await;
    assert_eq!(ours.machines().await.unwrap()[0].state, MachineState::Off);
    done(&ours, ours.resize("last-resort", "cx33").await.unwrap()).await;
    done(&ours, ours.power("last-resort", Power::On).await.unwrap()).await;
    assert_eq!(ours.machines().await.unwrap()[0].size, "cx33");

    let rebuilt =
        MachineWanted { image: "debian-13".to_owned(), open_ports: vec![(22, 22)], ..due };
    assert_eq!(done(&ours, ours.rebuild(&rebuilt).await.unwrap()).await, Progress::Done);
    assert_eq!(ours.machines().await.unwrap()[0].image.as_deref(), Some("debian-13"));

    done(&ours, ours.delete("last-resort").await.unwrap()).await;
    assert!(ours.machines().await.unwrap().is_empty());
    ours.delete("last-resort").await.unwrap();
    assert_eq!(
        *notes.0.lock().unwrap(),
        [
            "boot last-resort keys 1 fresh true",
            "halt last-resort gone false",
            "boot last-resort keys 1 fresh false",
            "halt last-resort gone false",
            "boot last-resort keys 1 fresh true",
            "halt last-resort gone true",
        ]
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_of_others_are_neither_seen_nor_touched() {
    let stage = Stage::start(&["hetzner"]).await;
    let (ours, theirs) = (machines(&stage, "linkflow"), machines(&stage, "neighbour"));
    done(&theirs, theirs.create(&wanted("shared-name")).await.unwrap()).await;
    assert!(ours.machines().await.unwrap().is_empty());
    assert_eq!(ours.rebuild(&wanted("shared-name")).await.unwrap_err().kind, FaultKind::Missing);
    ours.delete("shared-name").await.unwrap();
    let taken = ours.create(&wanted("shared-name")).await.unwrap_err();
    assert_eq!(taken.kind, FaultKind::Conflict, "{taken}");
    assert_eq!(theirs.machines().await.unwrap().len(), 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_does_not_boot_is_told_of_with_its_reason() {
    let stage = Stage::start(&["hetzner"]).await;
    assert!(stage.cloud.on_boot(&"hetzner".parse().unwrap(), Arc::new(Notes::default())));
    let ours = machines(&stage, "linkflow");
    let due = MachineWanted { first_boot: Secret::new("does not boot"), ..wanted("one") };
    let ended = done(&ours, ours.create(&due).await.unwrap()).await;
    let Progress::Failed { why } = ended else { panic!("{ended:?}") };
    assert_eq!(why, "start_server: no disk (action_failed)");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_is_full_is_exhausted_and_no_secret_is_recorded() {
    let stage = Stage::start(&["hetzner"]).await;
    let ours = machines(&stage, "linkflow");
    stage.fault("hetzner", Trouble::OutOfQuota);
    let full = ours.create(&wanted("one")).await.unwrap_err();
    assert_eq!(full.kind, FaultKind::Exhausted, "{full}");
    stage.fault("hetzner", None);
    done(&ours, ours.create(&wanted("one")).await.unwrap()).await;
    let text = serde_json::to_string(&stage.recording()).unwrap();
    assert!(!text.contains("OPENSSH PRIVATE KEY"), "the host key is in the recording");
    let cheapest = ours.sizes("nbg1").await.unwrap();
    assert_eq!((cheapest[0].name.as_str(), cheapest[0].memory_mb), ("cx23", 4_096));
    assert!(ours.sizes("mars").await.unwrap().is_empty());
    stage.stop().await;
}

#[test]
fn cloud_init_itself_accepts_the_first_boot() {
    if std::process::Command::new("cloud-init").arg("--version").output().is_err() {
        println!("skipped: cloud-init is not installed");
        return;
    }
    drop(kit(None));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("user-data");
    std::fs::write(&file, wanted("one").first_boot.expose()).unwrap();
    let check = std::process::Command::new("cloud-init")
        .args(["schema", "--config-file"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stdout) + String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{said}");
    assert!(!said.contains("deprecated") && !said.contains("Invalid"), "{said}");
}
