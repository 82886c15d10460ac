//! How a node of either system is started.

use crate::api::System;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::{
    env, fs, io,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// A system's program.
#[derive(Clone, Debug)]
pub struct Program {
    system: System,
    executable: PathBuf,
}

impl Program {
    /// raftkv, at this path or beside this program.
    ///
    /// # Errors
    /// When this program's own path is not to be had.
    pub fn raftkv(path: Option<&Path>) -> io::Result<Program> {
        let beside = env::current_exe()?.with_file_name("raftkv");
        Ok(Program {
            system: System::Raftkv,
            executable: path.map_or(beside, Path::to_owned),
        })
    }

    /// etcd, if it is installed.
    pub fn etcd() -> Option<Program> {
        let path = env::var_os("PATH")?;
        let found = env::split_paths(&path).map(|directory| directory.join("etcd"));
        Some(Program {
            system: System::Etcd,
            executable: found.into_iter().find(|path| fs::metadata(path).is_ok())?,
        })
    }

    /// Whose it is.
    pub fn system(&self) -> System {
        self.system
    }

    pub(super) fn executable(&self) -> &Path {
        &self.executable
    }

    /// The first line of what it says to `--version`.
    pub fn version(&self) -> String {
        let said = Command::new(&self.executable).arg("--version").output();
        let said = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
        let said = said.unwrap_or_default();
        said.lines().next().unwrap_or("unknown").to_owned()
    }

    /// The command that is node `id`.
    pub(super) fn command(
        &self,
        id: usize,
        peers: &[SocketAddr],
        client: SocketAddr,
        data: &Path,
    ) -> Command {
        let mut command = Command::new(&self.executable);
        match self.system {
            System::Raftkv => raftkv(&mut command, id, peers, client, data),
            System::Etcd => etcd(&mut command, id, peers, client, data),
        }
        // SAFETY: the closure makes one system call and takes no lock, which is allowed between
        // fork and exec.
        unsafe { command.pre_exec(end_with_parent) };
        command
    }
}

fn raftkv(command: &mut Command, id: usize, peers: &[SocketAddr], client: SocketAddr, data: &Path) {
    let members = peers.iter().enumerate();
    let members: Vec<String> = members.map(|(id, peer)| format!("{id}@{peer}")).collect();
    command
        .args(["--node-id", &id.to_string()])
        .args(["--peers", &members.join(",")])
        .args(["--raft-listen", &peers[id].to_string()])
        .args(["--kv-listen", &client.to_string()])
        .arg("--data-dir")
        .arg(data);
}

/// With its default settings, but no limit that a million keys would meet.
fn etcd(command: &mut Command, id: usize, peers: &[SocketAddr], client: SocketAddr, data: &Path) {
    let members = peers.iter().enumerate();
    let members: Vec<String> = members
        .map(|(id, peer)| format!("n{id}=http://{peer}"))
        .collect();
    let (peer, client) = (format!("http://{}", peers[id]), format!("http://{client}"));
    command
        .args(["--name", &format!("n{id}")])
        .args(["--initial-cluster", &members.join(",")])
        .args(["--listen-peer-urls", &peer])
        .args(["--initial-advertise-peer-urls", &peer])
        .args(["--listen-client-urls", &client])
        .args(["--advertise-client-urls", &client])
        .args(["--logger", "zap"])
        .arg("--data-dir")
        .arg(data);
}

/// Has this process end when its parent does, also when that has no time to see to it: a node left
/// behind would disturb the next run.
fn end_with_parent() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}
