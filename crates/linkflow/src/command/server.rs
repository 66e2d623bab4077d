//! `linkflow server`: the machine of a provider of the kind `server`, by Hetzner's API.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use linkflow_model::clock::SystemClock;
use linkflow_model::config::{Config, kinds};
use linkflow_model::role::{
    Machine, MachineState, MachineWanted, Machines, MachinesLook, Operation, Power, Progress,
};
use linkflow_model::{Fault, ProviderName, Secret};
use linkflow_providers::kit::{Kit, KitOptions};
use linkflow_providers::machines::first_boot::FirstBoot;
use linkflow_providers::machines::hetzner::{self, Hetzner};
use linkflow_providers::machines::keys::{host_key, public_half};
use serde_json::json;
use tokio::time::sleep;

use crate::say::answer::Answer;
use crate::say::output::err;
use crate::say::table::{Table, Tone};
use crate::swap::edit::{addressed, rewrite};
use crate::wire::secrets::Secrets;
use crate::wire::state::Home;

use super::{Answered, Context};

/// How often an operation is asked about.
const POLL: Duration = Duration::from_secs(2);
/// How long one operation may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Swap of a new machine, in MiB.
const SWAP_MB: u32 = 2_048;

/// Rent, rebuild, size and give up the machine of a server at Hetzner.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Examples:\n  linkflow server sizes hetzner\n  linkflow server create hetzner            and write its address into linkflow.toml\n  linkflow server status hetzner\n  linkflow server resize hetzner cx33\n  linkflow server rebuild hetzner --yes     all that is on it is lost\n  linkflow server delete hetzner --yes"
)]
pub(crate) enum ServerCommand {
    /// Make the machine, with Docker, fail2ban and a host key that is known beforehand.
    Create(Which),
    /// Tell how the machine stands.
    Status(Which),
    /// Tell which types there are at its location, and what they cost.
    Sizes(Which),
    /// Give it another type. It is off meanwhile.
    Resize {
        #[command(flatten)]
        which: Which,
        /// The type: `cx33`.
        size: String,
    },
    /// Begin anew from the operating system. All that is on it is lost.
    Rebuild(Which),
    /// Give it up.
    Delete(Which),
}

/// Which machine.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Which {
    /// The provider in the config: of the kind `server`, with Hetzner's token, `server_type` and `location`.
    #[arg(value_name = "PROVIDER")]
    provider: ProviderName,

    /// The operating system of a new machine.
    #[arg(long, value_name = "IMAGE", default_value = "debian-12")]
    image: String,

    /// You know that what is on the machine is lost.
    #[arg(long)]
    yes: bool,
}

/// What `server` answers.
pub(crate) async fn answer(context: &Context, command: &ServerCommand) -> Answered {
    if context.common.cloud.is_some() {
        return Answer::failed(2, "a rehearsal rents no machines", "leave `--cloud` out");
    }
    let which = match command {
        ServerCommand::Create(which)
        | ServerCommand::Status(which)
        | ServerCommand::Sizes(which)
        | ServerCommand::Rebuild(which)
        | ServerCommand::Delete(which)
        | ServerCommand::Resize { which, .. } => which,
    };
    let rented = Rented::open(context, which)?;
    match command {
        ServerCommand::Create(_) => rented.create(context).await,
        ServerCommand::Status(_) => rented.status(context).await,
        ServerCommand::Sizes(_) => rented.sizes(context).await,
        ServerCommand::Resize { size, .. } => rented.resize(size).await,
        ServerCommand::Rebuild(which) => rented.rebuild(which.yes).await,
        ServerCommand::Delete(which) => rented.delete(which.yes).await,
    }
}

/// A machine that is rented, or will be.
struct Rented {
    machines: Hetzner,
    settings: kinds::Server,
    provider: ProviderName,
    name: String,
    image: String,
    login: Option<Secret>,
    home: Home,
    folder: PathBuf,
    loud: bool,
}

impl Rented {
    fn open(context: &Context, which: &Which) -> Result<Self, Box<Answer>> {
        let config = context.config(false)?;
        let provider = &which.provider;
        let Some(kinds::Settings::Server(settings)) =
            config.provider(provider).map(|provider| provider.settings)
        else {
            let what = format!("`{provider}` is no provider of the kind `server`");
            return Answer::failed(2, &what, "`[providers.NAME]` with `kind = \"server\"`");
        };
        let folder = context.state(&config, false);
        let state = |error: std::io::Error| {
            Box::new(Answer::failure(1, &format!("the state folder: {error}"), "`--state FOLDER`"))
        };
        let home = Home::open(&folder).map_err(state)?;
        let secrets = Secrets::new(context.vars.clone(), home.key(), false);
        let machines = machines(context, &config, provider, &secrets)?;
        let login = settings.key.as_ref().and_then(|reference| secrets.follow(reference));
        let name = format!("{}-{provider}", config.stack.name);
        let (image, loud) = (which.image.clone(), !context.voice.json);
        let provider = provider.clone();
        Ok(Self { machines, settings, provider, name, image, login, home, folder, loud })
    }

    async fn create(&self, context: &Context) -> Answered {
        let wanted = self.wanted()?;
        let operation = self.machines.create(&wanted).await.map_err(refusal)?;
        self.follow(operation).await?;
        let Some(machine) = self.find().await? else {
            return Answer::failed(
                7,
                "the machine was made and is not listed",
                "linkflow server status",
            );
        };
        let Some(address) = machine.address.map(|address| address.to_string()) else {
            return Answer::failed(
                1,
                "the machine has no public address",
                "look at Hetzner's console",
            );
        };
        let key = self.host_key()?;
        self.pin(&address, &key.fingerprint)?;
        let config = &context.which.config;
        rewrite(config, |text| addressed(text, &self.provider, &address)).map_err(|why| {
            let help =
                format!("write `address = \"{address}\"` into `[providers.{}]`", self.provider);
            Box::new(Answer::failure(6, &why, &help))
        })?;
        let out = format!(
            "{} is at {address}, which is in {} now\nits host key is {}\nit installs Docker now, which takes a few minutes; `linkflow status` tells when it answers\n",
            machine.name,
            config.display(),
            key.fingerprint
        );
        let result = json!({ "machine": machine, "host_key": key.fingerprint });
        Ok(Answer { out, result, ..Answer::default() })
    }

    async fn status(&self, context: &Context) -> Answered {
        let Some(machine) = self.find().await? else {
            return Answer::failed(
                1,
                &format!("there is no machine {}", self.name),
                "linkflow server create",
            );
        };
        let mut table =
            Table::new(&["MACHINE", "STATE", "ADDRESS", "TYPE", "AT", "IMAGE", "A MONTH"]);
        let tone = match machine.state {
            MachineState::Running => Tone::Good,
            MachineState::Changing => Tone::Notable,
            MachineState::Off | MachineState::Unknown => Tone::Bad,
        };
        let price =
            machine.month.as_ref().map(|month| format!("{} {}", month.amount, month.currency));
        table.row(vec![
            (machine.name.clone(), Tone::Strong),
            (machine.said.clone(), tone),
            (machine.address.map(|a| a.to_string()).unwrap_or_default(), Tone::Plain),
            (machine.size.clone(), Tone::Plain),
            (machine.location.clone(), Tone::Plain),
            (machine.image.clone().unwrap_or_default(), Tone::Plain),
            (price.unwrap_or_default(), Tone::Plain),
        ]);
        let out = table.render(context.voice.colours);
        Ok(Answer { out, result: json!({ "machine": machine }), ..Answer::default() })
    }

    async fn sizes(&self, context: &Context) -> Answered {
        let location = self.location()?;
        let sizes = self.machines.sizes(location).await.map_err(refusal)?;
        let mut table = Table::new(&["TYPE", "PLATFORM", "CORES", "MEMORY", "DISK", "A MONTH"]);
        for size in &sizes {
            let price = size.month.as_ref().map(|m| format!("{} {}", m.amount, m.currency));
            table.row(vec![
                (size.name.clone(), Tone::Strong),
                (size.platform.clone(), Tone::Plain),
                (size.cores.to_string(), Tone::Plain),
                (format!("{} MB", size.memory_mb), Tone::Plain),
                (format!("{} GB", size.disk_gb), Tone::Plain),
                (price.unwrap_or_default(), Tone::Plain),
            ]);
        }
        let out = table.render(context.voice.colours);
        Ok(Answer {
            out,
            result: json!({ "location": location, "sizes": sizes }),
            ..Answer::default()
        })
    }

    async fn resize(&self, size: &str) -> Answered {
        let Some(machine) = self.find().await? else {
            return Answer::failed(
                2,
                &format!("there is no machine {}", self.name),
                "linkflow server create",
            );
        };
        if machine.size == size {
            return Ok(self.done(&format!("{} is a {size} already\n", self.name)));
        }
        // What it runs may end in peace; a machine that does not listen is cut off.
        let asked = self.machines.power(&self.name, Power::Shutdown).await.map_err(refusal)?;
        self.follow(asked).await?;
        if self.find().await?.is_some_and(|machine| machine.state != MachineState::Off) {
            let cut = self.machines.power(&self.name, Power::Cut).await.map_err(refusal)?;
            self.follow(cut).await?;
        }
        let resized = match self.machines.resize(&self.name, size).await {
            Ok(operation) => self.follow(operation).await,
            Err(fault) => Err(refusal(fault)),
        };
        // Whatever came of it, it is switched on again.
        let on = self.machines.power(&self.name, Power::On).await.map_err(refusal)?;
        self.follow(on).await?;
        resized?;
        Ok(self.done(&format!("{} is a {size} now\n", self.name)))
    }

    async fn rebuild(&self, yes: bool) -> Answered {
        self.agreed(yes, "rebuild")?;
        let operation = self.machines.rebuild(&self.wanted()?).await.map_err(refusal)?;
        self.follow(operation).await?;
        Ok(self.done(&format!("{} begins anew from {}\n", self.name, self.image)))
    }

    async fn delete(&self, yes: bool) -> Answered {
        self.agreed(yes, "delete")?;
        let operation = self.machines.delete(&self.name).await.map_err(refusal)?;
        self.follow(operation).await?;
        // What was made around the last machine can go only after it.
        self.machines.delete(&self.name).await.map_err(refusal)?;
        Ok(self.done(&format!("{} is gone\n", self.name)))
    }

    fn agreed(&self, yes: bool, verb: &str) -> Result<(), Box<Answer>> {
        if yes {
            return Ok(());
        }
        let help = format!("linkflow server {verb} {} --yes", self.provider);
        Answer::failed(5, &format!("all that is on {} would be lost", self.name), &help)
    }

    fn done(&self, out: &str) -> Answer {
        let result = json!({ "changed": true, "machine": self.name });
        Answer { out: out.to_owned(), result, ..Answer::default() }
    }

    fn wanted(&self) -> Result<MachineWanted, Box<Answer>> {
        let missing = |key: &str, example: &str| {
            let what = format!("`[providers.{}]` has no `{key}`", self.provider);
            Box::new(Answer::failure(2, &what, &format!("{key} = \"{example}\"")))
        };
        let size = self.settings.server_type.clone();
        let size = size.ok_or_else(|| missing("server_type", "cx23"))?;
        let login = self.login.as_ref().ok_or_else(|| missing("key", "${secret.SSH_KEY}"))?;
        let login_key = public_half(login).map_err(|why| {
            let what = format!("`providers.{}.key`: {why}", self.provider);
            Box::new(Answer::failure(2, &what, "ssh-keygen -t ed25519 -N '' -f linkflow-key"))
        })?;
        let key = self.host_key()?;
        let first_boot = FirstBoot {
            host_key: key.private,
            host_key_public: key.public,
            login_key: login_key.clone(),
            user: self.settings.user.clone(),
            ssh_port: self.settings.port,
            swap_mb: SWAP_MB,
        };
        let mut open_ports = vec![(self.settings.port, self.settings.port)];
        if self.settings.publish.is_unspecified() {
            open_ports.push((self.settings.first_port, self.settings.last_port));
        }
        Ok(MachineWanted {
            name: self.name.clone(),
            size,
            location: self.location()?.to_owned(),
            image: self.image.clone(),
            first_boot: first_boot.user_data(),
            login_key,
            open_ports,
        })
    }

    fn location(&self) -> Result<&str, Box<Answer>> {
        self.settings.location.as_deref().ok_or_else(|| {
            let what = format!("`[providers.{}]` has no `location`", self.provider);
            Box::new(Answer::failure(2, &what, "location = \"nbg1\""))
        })
    }

    /// The machine's own key. It follows from the key of the state folder, so that a rebuilt machine shows the same.
    fn host_key(&self) -> Result<linkflow_providers::machines::keys::HostKey, Box<Answer>> {
        let seed = self.home.key().derive(&format!("host key of {}", self.name));
        host_key(&seed).map_err(|why| Box::new(Answer::failure(1, &why, "")))
    }

    /// Remembers the key where the adapter looks for it.
    fn pin(&self, address: &str, fingerprint: &str) -> Result<(), Box<Answer>> {
        let name = format!("{}_{}", address.replace([':', '/'], "-"), self.settings.port);
        let file = self.folder.join("host-keys").join(name);
        let write = || {
            std::fs::create_dir_all(self.folder.join("host-keys"))?;
            std::fs::write(&file, format!("{fingerprint}\n"))
        };
        write().map_err(|error| {
            Box::new(Answer::failure(1, &format!("{}: {error}", file.display()), ""))
        })
    }

    async fn find(&self) -> Result<Option<Machine>, Box<Answer>> {
        let machines = self.machines.machines().await.map_err(refusal)?;
        Ok(machines.into_iter().find(|machine| machine.name == self.name))
    }

    /// Waits until `operation` has ended.
    async fn follow(&self, operation: Operation) -> Result<(), Box<Answer>> {
        let mut said = String::new();
        let waits = async {
            loop {
                match self.machines.operation(&operation).await.map_err(refusal)? {
                    Progress::Done => return Ok(()),
                    Progress::Failed { why } => {
                        return Answer::failed(1, &why, "linkflow server status");
                    }
                    Progress::Under { said: now } => {
                        if self.loud && now != said {
                            err(&format!("  {now}\n"));
                            said = now;
                        }
                        sleep(POLL).await;
                    }
                }
            }
        };
        match tokio::time::timeout(PATIENCE, waits).await {
            Ok(ended) => ended,
            Err(_) => Answer::failed(
                7,
                "Hetzner has not ended it within 10 min",
                "linkflow server status",
            ),
        }
    }
}

fn machines(
    context: &Context,
    config: &Config,
    name: &ProviderName,
    secrets: &Secrets,
) -> Result<Hetzner, Box<Answer>> {
    let provider = config.provider(name);
    let secret = provider.as_ref().and_then(|provider| secrets.follow(provider.secret()?));
    let Some(token) = secret else {
        let what = format!("Hetzner's token of `{name}` is not there");
        let help = format!(
            "write `token = \"${{secret.HETZNER_TOKEN}}\"` into `[providers.{name}]`, and the secret into the environment"
        );
        return Answer::failed(2, &what, &help);
    };
    let user_agent = concat!("linkflow/", env!("CARGO_PKG_VERSION")).to_owned();
    let (record, clock) = (context.record(), Arc::new(SystemClock::start()));
    let kit = Kit::new(KitOptions { record, clock, user_agent, limits: None })
        .map_err(|error| Box::new(Answer::failure(1, &error.to_string(), "")))?;
    let api = provider.as_ref().and_then(|provider| provider.api()).map(str::to_owned);
    let settings = hetzner::Settings { token, api };
    Ok(hetzner::open(settings, &kit, &config.stack.name, name))
}

fn refusal(fault: Fault) -> Box<Answer> {
    linkflow_engine::EngineError::Fault(fault).into()
}
