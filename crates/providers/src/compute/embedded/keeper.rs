//! Keeps processes as they are wanted: starts, stops, starts again, and never two where one is due.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linkflow_model::{Clock, ServiceName, Timestamp};
use rustix::process::Signal;

use super::Settings;
use super::home::Home;
use super::log::Log;
use super::process::{self, Boot, Process, TOKEN};
use super::state::{Instance, Life, Running, State};

/// Where ports are taken from when the one that is asked for is not free. Linux gives none of these to outgoing
/// connections (`ip_local_port_range`), which might sit on one while its service restarts.
const PORTS: Range<u16> = 20_000..30_000;

/// How patient the keeper is. All in milliseconds, but the log's size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long a process may take to end once asked, before it is killed.
    pub grace: u64,
    /// How long after its first crash a process is started again; twice as long after each further one.
    pub back_off: u64,
    /// The longest of these waits.
    pub back_off_most: u64,
    /// How long a process that listens nowhere must have lived to count as started.
    pub settle: u64,
    /// A process that lived this long begins with the shortest wait again.
    pub stable: u64,
    /// How large a log may grow, in bytes.
    pub log_cap: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            grace: 10_000,
            back_off: 500,
            back_off_most: 60_000,
            settle: 2_000,
            stable: 60_000,
            log_cap: 4 << 20,
        }
    }
}

/// Owns the processes of one provider.
pub(super) struct Keeper {
    pub home: Home,
    pub settings: Settings,
    pub pace: Pace,
    pub clock: Arc<dyn Clock>,
    /// Processes that this LinkFlow itself started, so that it learns how they end.
    children: Mutex<BTreeMap<i32, Child>>,
}

impl Keeper {
    pub(super) fn new(home: Home, settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self { home, settings, pace: Pace::default(), clock, children: Mutex::default() }
    }

    pub(super) fn log(&self, service: &ServiceName) -> Log {
        Log { path: self.home.file(service, "log"), cap: self.pace.log_cap }
    }

    /// Changes what is wanted of `service` by `change`, keeps that, and tends its processes. Gives the answer of `change`
    /// and what became of the service.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another LinkFlow works on it for long.
    pub(super) fn visit<T>(
        &self,
        service: &ServiceName,
        change: impl FnOnce(&mut Option<State>) -> io::Result<T>,
    ) -> io::Result<(T, Option<State>)> {
        let _alone = self.home.lock(service)?;
        let before = self.home.load(service)?;
        let mut state = before.clone();
        let answer = change(&mut state)?;
        let Some(state) = state else { return Ok((answer, None)) };
        if before.as_ref() != Some(&state) {
            self.home.save(service, &state)?;
        }
        Ok((answer, self.tend(service, state)?))
    }

    /// Tends every service; one that cannot be tended does not keep the others from it.
    pub(super) fn visit_all(&self) -> io::Result<()> {
        let ended = self.ended_children();
        let mut all = Ok(());
        for service in self.home.services()? {
            all = all.and(self.visit(&service, |_| Ok(())).map(drop));
        }
        // Nobody here asked how these ended: another LinkFlow saw it first.
        self.children().retain(|pid, _| !ended.contains(pid));
        all
    }

    /// Tends `service` and tells of it; only tells when another LinkFlow is at it.
    pub(super) fn peek(&self, service: &ServiceName) -> io::Result<Option<State>> {
        match self.visit(service, |_| Ok(())) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.home.load(service),
            visited => visited.map(|(_, state)| state),
        }
    }

    /// Brings the processes of `service` one step closer to what `state` wants, and keeps on disk what became of it.
    /// The caller holds the lock. `None` once a service that was to go is gone.
    fn tend(&self, service: &ServiceName, mut state: State) -> io::Result<Option<State>> {
        let before = state.clone();
        let mut tended = self.step(service, &mut state);
        if state != before {
            tended = self.home.save(service, &state).and(tended);
        }
        tended?;
        if let Err(error) = self.log(service).rotate() {
            tracing::warn!(%service, %error, "the log cannot be rotated");
        }
        if state.deleting && state.instances.is_empty() {
            self.log(service).remove()?;
            self.home.forget(service)?;
            return Ok(None);
        }
        Ok(Some(state))
    }

    fn step(&self, service: &ServiceName, state: &mut State) -> io::Result<()> {
        let (boot, now) = (Boot::now()?, self.clock.wall());
        let (target, generation) = (state.target(), state.generation);
        for instance in &mut state.instances {
            self.observe(service, instance, &boot, now);
            if let Life::Up(running) = &mut instance.life
                && (instance.number >= target || running.generation != generation)
            {
                self.stop(running, &boot, now);
            }
        }
        state.instances.retain(|instance| instance.number < target || !instance.is_down());
        for number in 0..target {
            if !state.instances.iter().any(|instance| instance.number == number) {
                state.instances.push(Instance::new(number));
            }
        }
        for index in 0..state.instances.len() {
            let instance = &state.instances[index];
            if instance.is_down() && self.may_start(instance, now) {
                self.start(service, state, index, &boot)?;
            }
        }
        Ok(())
    }

    /// Sees what became of an instance's process.
    fn observe(&self, service: &ServiceName, instance: &mut Instance, boot: &Boot, now: Timestamp) {
        match &instance.life {
            Life::Launching { token, generation } => {
                let (token, generation) = (token.clone(), *generation);
                let found = Process::started_with(&token, boot);
                instance.life = found.map_or(Life::Down, |process| {
                    Life::Up(Running { token, generation, process, since: now, stop: None })
                });
            }
            Life::Up(running) if !running.process.is_alive(boot) => {
                let running = running.clone();
                if self.is_over(&running, now) {
                    self.ended(service, instance, &running, now);
                }
            }
            Life::Down | Life::Up(_) => {}
        }
    }

    /// Whether nothing is left of a process that ended. What it started and left behind has the rest of the grace, if
    /// it was asked to stop; otherwise it would only be in its successor's way.
    fn is_over(&self, running: &Running, now: Timestamp) -> bool {
        let over = !process::left_behind(&running.token);
        if !over && running.stop.is_none_or(|since| self.is_overdue(since, now)) {
            process::kill_left_behind(&running.token);
        }
        over
    }

    fn ended(
        &self,
        service: &ServiceName,
        instance: &mut Instance,
        running: &Running,
        now: Timestamp,
    ) {
        let how = process::ending(self.exit_of(running.process.pid));
        self.note(service, instance, &how);
        instance.life = Life::Down;
        if running.stop.is_none() {
            self.crashed(instance, how, now.0.saturating_sub(running.since.0), now);
        }
    }

    fn crashed(&self, instance: &mut Instance, how: String, lived_ms: u64, now: Timestamp) {
        instance.crashes = if lived_ms >= self.pace.stable { 1 } else { instance.crashes + 1 };
        let doublings = (instance.crashes - 1).min(20);
        let wait = (self.pace.back_off << doublings).min(self.pace.back_off_most);
        instance.not_before = Timestamp(now.0 + wait);
        instance.ended = Some(how);
    }

    /// Whether the wait after a crash is over. A wait longer than any is a clock that went back.
    fn may_start(&self, instance: &Instance, now: Timestamp) -> bool {
        let left = instance.not_before.0.saturating_sub(now.0);
        left == 0 || left > self.pace.back_off_most
    }

    fn stop(&self, running: &mut Running, boot: &Boot, now: Timestamp) {
        match running.stop {
            None => {
                running.stop = Some(now);
                running.process.signal(Signal::TERM, boot);
            }
            Some(since) if self.is_overdue(since, now) => {
                running.process.signal(Signal::KILL, boot);
            }
            Some(_) => {}
        }
    }

    fn is_overdue(&self, since: Timestamp, now: Timestamp) -> bool {
        now.0.abs_diff(since.0) >= self.pace.grace
    }

    /// Starts a process for the instance at `index`. At every moment, what is on disk leads to the process.
    fn start(
        &self,
        service: &ServiceName,
        state: &mut State,
        index: usize,
        boot: &Boot,
    ) -> io::Result<()> {
        let (number, generation, now) =
            (state.instances[index].number, state.generation, self.clock.wall());
        let token = boot.new_token(&format!("{service}-{number}"));
        {
            let _only_one_chooses = self.home.lock_ports()?;
            let (held, wanted) = (state.instances[index].port, state.wanted.port);
            let port = wanted.map(|wanted| self.port(service, held, wanted)).transpose()?;
            state.instances[index].port = port;
            state.instances[index].life = Life::Launching { token: token.clone(), generation };
            self.home.save(service, state)?;
        }
        let starts = format!("starts {}", state.wanted.release);
        self.note(service, &state.instances[index], &starts);
        let spawned = self.spawn(service, state, index, &token);
        let instance = &mut state.instances[index];
        match spawned {
            Ok(pid) => {
                // A child that was not waited for has its entry in any case. Without one the token still finds it.
                if let Some(process) = Process::at(pid, boot) {
                    let stop = None;
                    instance.life =
                        Life::Up(Running { token, generation, process, since: now, stop });
                }
            }
            Err(error) => {
                let how = format!("could not be started: {error}");
                self.note(service, instance, &how);
                instance.life = Life::Down;
                self.crashed(instance, how, 0, now);
            }
        }
        Ok(())
    }

    /// Starts the process; an error means that there is none.
    fn spawn(
        &self,
        service: &ServiceName,
        state: &State,
        index: usize,
        token: &str,
    ) -> io::Result<i32> {
        let (wanted, instance) = (&state.wanted, &state.instances[index]);
        let (program, arguments) =
            wanted.line.split_first().ok_or_else(|| io::Error::other("no program is named"))?;
        let log = self.log(service).open()?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.settings.workdir)
            .env_clear()
            .envs(&self.settings.env)
            .envs(&wanted.env)
            .env("LINKFLOW_BIND", self.settings.bind.to_string())
            .env(TOKEN, token)
            // Its own group: a signal to LinkFlow's does not reach it, and it is stopped with all its children.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(port) = instance.port {
            command.env("PORT", port.to_string());
        }
        let child = command.spawn()?;
        let pid = child.id().cast_signed();
        self.adopt(child);
        Ok(pid)
    }

    /// The port it had when that is free, else the one that is wanted, else one of [`PORTS`]; 0 wants any.
    fn port(&self, service: &ServiceName, held: Option<u16>, wanted: u16) -> io::Result<u16> {
        let given = self.home.ports()?;
        if let Some(held) = held.filter(|port| self.is_free(*port)) {
            return Ok(held);
        }
        let is_fit = |port: &u16| *port != 0 && !given.contains(port) && self.is_free(*port);
        // Begins where this service began before, so that it tends to find its old port.
        let place = self.home.file(service, "port");
        let begin = place.as_os_str().as_encoded_bytes().iter();
        let begin =
            begin.fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        let count = PORTS.end - PORTS.start;
        let others = (0..count).map(|step| PORTS.start + (begin % count + step) % count);
        let found = std::iter::once(wanted).chain(others).find(is_fit);
        found.ok_or_else(|| io::Error::other(format!("no port of {PORTS:?} is free")))
    }

    fn is_free(&self, port: u16) -> bool {
        TcpListener::bind(SocketAddr::new(self.settings.bind, port)).is_ok()
    }

    /// Takes note of children that ended, so that Linux can let go of them.
    fn ended_children(&self) -> Vec<i32> {
        let mut children = self.children();
        let ended = children.iter_mut().filter_map(|(pid, child)| {
            let has_ended = matches!(child.try_wait(), Ok(Some(_)));
            has_ended.then_some(*pid)
        });
        ended.collect()
    }

    /// Learns how `child` ends, so that Linux can let go of it.
    pub(super) fn adopt(&self, child: Child) {
        self.children().insert(child.id().cast_signed(), child);
    }

    fn exit_of(&self, pid: i32) -> Option<std::process::ExitStatus> {
        self.children().remove(&pid)?.try_wait().ok()?
    }

    /// Tells of an instance in its log. A log that cannot be written is no reason to leave a service down.
    fn note(&self, service: &ServiceName, instance: &Instance, text: &str) {
        let told = self.log(service).note(&format!("instance {} {text}", instance.number));
        if let Err(error) = told {
            tracing::warn!(%service, %error, "the log cannot be written");
        }
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<i32, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
