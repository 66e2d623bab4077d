//! Providers that run containers.

mod graphql;
mod settle;
mod time;

use crate::catalogue::catalogue;

catalogue!(
    Compute: embedded => Embedded,
    azure_container_apps = "azure-container-apps" => AzureContainerApps,
    fly => Fly,
    railway => Railway,
    render => Render,
    zeabur => Zeabur,
);
