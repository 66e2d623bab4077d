//! Providers that run containers.

mod copies;
mod settle;
pub(crate) mod time;

use crate::catalogue::catalogue;

catalogue!(
    Compute: embedded => Embedded,
    azure_container_apps = "azure-container-apps" => AzureContainerApps,
    docker => Docker,
    fly => Fly,
    koyeb => Koyeb,
    railway => Railway,
    render => Render,
    server => Server,
    zeabur => Zeabur,
);
