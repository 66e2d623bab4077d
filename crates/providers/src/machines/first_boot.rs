//! What a rented machine does at its first boot: Docker, a guard for SSH, and the host key that we know beforehand.
//!
//! Written for cloud-init (<https://docs.cloud-init.io/en/latest/reference/modules.html>). The text is JSON, which is
//! YAML, so that nothing in it has to be quoted by hand.

use linkflow_model::Secret;
use serde_json::{Value, json};

/// What the first boot has to know.
#[derive(Clone, Debug)]
pub struct FirstBoot {
    /// The machine's own host key, private half, in OpenSSH's form. It is ours, so that the first login already knows
    /// whom it talks to.
    pub host_key: Secret,
    /// Its public half: `ssh-ed25519 AAAA…`.
    pub host_key_public: String,
    /// The public key that may log in.
    pub login_key: String,
    /// The user that logs in.
    pub user: String,
    /// The port of SSH.
    pub ssh_port: u16,
    /// Swap in MiB; small machines need some when two releases run side by side.
    pub swap_mb: u32,
}

impl FirstBoot {
    /// The text for cloud-init.
    pub fn user_data(&self) -> Secret {
        let config = json!({
            "ssh_deletekeys": true,
            "ssh_keys": {
                "ed25519_private": self.host_key.expose(),
                "ed25519_public": self.host_key_public,
            },
            "ssh_pwauth": false,
            "disable_root": self.user != "root",
            "users": self.users(),
            "swap": { "filename": "/swapfile", "size": format!("{}M", self.swap_mb) },
            "package_update": true,
            "package_upgrade": true,
            "packages": ["docker.io", "docker-compose", "fail2ban", "python3-systemd", "unattended-upgrades"],
            "write_files": self.files(),
            "runcmd": [
                // From Debian 13 on the command is a package of its own.
                ["sh", "-c", "command -v docker >/dev/null || apt-get install -y docker-cli"],
                ["systemctl", "enable", "--now", "docker", "fail2ban"],
                ["systemctl", "restart", "docker", "fail2ban"],
                ["sh", "-c", "systemctl restart ssh || systemctl restart sshd"],
            ],
        });
        Secret::new(format!("#cloud-config\n{config:#}\n"))
    }

    fn users(&self) -> Value {
        if self.user == "root" {
            return json!([{ "name": "root", "ssh_authorized_keys": [self.login_key] }]);
        }
        json!([{
            "name": self.user,
            "shell": "/bin/bash",
            "groups": ["docker"],
            "lock_passwd": true,
            "ssh_authorized_keys": [self.login_key],
        }])
    }

    fn files(&self) -> Value {
        let sshd = format!(
            "Port {}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxAuthTries 3\n",
            self.ssh_port
        );
        let jail = format!(
            "[sshd]\nenabled = true\nbackend = systemd\nport = {}\nmaxretry = 5\nfindtime = 10m\nbantime = 1h\n",
            self.ssh_port
        );
        let docker = json!({
            "log-driver": "json-file",
            "log-opts": { "max-size": "10m", "max-file": "3" },
            "live-restore": true,
        });
        json!([
            { "path": "/etc/ssh/sshd_config.d/10-linkflow.conf", "content": sshd, "permissions": "0600" },
            { "path": "/etc/fail2ban/jail.d/linkflow.local", "content": jail, "permissions": "0644" },
            { "path": "/etc/docker/daemon.json", "content": format!("{docker:#}\n"), "permissions": "0644" },
        ])
    }
}
