//! `.github/workflows/deploy.yml`: check and plan a pull request, build what is merged, deploy it by digest.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::images::Image;
use super::install::Install;
use super::{Pipeline, indented, word, yaml};

/// Where the workflow stands in a repository.
pub(crate) const FILE: &str = ".github/workflows/deploy.yml";

/// GitHub's own machine.
const MACHINE: &str = "ubuntu-24.04";

/// Where `linkflow` is built to.
const TOOLS: &str = "~/.linkflow-tools";

/// The actions that are used, each at one commit: a tag can be moved to other code, a commit cannot. Dependabot keeps
/// both the commit and the version behind it up to date. Source: the tags of each repository, autumn 2026.
const CHECKOUT: &str = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1";
const BUILDX: &str = "docker/setup-buildx-action@37fe631027851001ddb9b187196cc803df7f5f0e # v4.3.0";
const LOGIN: &str = "docker/login-action@4907a6ddec9925e35a0a9e82d7399ccc52663121 # v4.1.0";
const BUILD: &str = "docker/build-push-action@53b7df96c91f9c12dcc8a07bcb9ccacbed38856a # v7.3.0";
const UPLOAD: &str = "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0";
const DOWNLOAD: &str =
    "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1";
const CACHE: &str = "actions/cache@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5";
const RESTORE: &str = "actions/cache/restore@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5";
const SAVE: &str = "actions/cache/save@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5";

/// The workflow, without what marks it as ours.
pub(crate) fn workflow(pipeline: &Pipeline) -> String {
    let mut out = head(pipeline);
    if !pipeline.images.is_empty() {
        out.push_str(&job("check", &check_job(pipeline)));
        out.push_str(&job("build", &build_job(pipeline)));
    }
    out.push_str(&job("plan", &plan_job(pipeline)));
    out.push_str(&job("deploy", &deploy_job(pipeline)));
    out
}

fn head(pipeline: &Pipeline) -> String {
    let branch = yaml(&pipeline.branch);
    format!(
        "name: deploy

on:
  push:
    branches: [{branch}]
  pull_request:
    branches: [{branch}]
  workflow_dispatch:
    inputs:
      dry_run:
        description: Show what would be done, and change nothing
        type: boolean
        default: false

# Nothing may be done unless a job says so.
permissions: {{}}

defaults:
  run:
    shell: bash

jobs:
"
    )
}

fn job(name: &str, text: &str) -> String {
    let gap = if matches!(name, "check") { "" } else { "\n" };
    format!("{gap}  {name}:\n{}", indented(text, 4))
}

/// The images, one row each.
fn matrix(images: &[Image]) -> String {
    let mut out = "strategy:\n  matrix:\n    include:\n".to_owned();
    for image in images {
        let args = serde_json::Value::from(image.args.join("\n")).to_string();
        let rows = [
            ("name", yaml(&image.name)),
            ("image", yaml(&image.image)),
            ("context", yaml(&image.context)),
            ("dockerfile", yaml(&image.dockerfile)),
            ("target", yaml(&image.target)),
            ("args", args),
        ];
        for (n, (key, value)) in rows.iter().enumerate() {
            let sign = if n == 0 { "- " } else { "  " };
            say(&mut out, format_args!("      {sign}{key}: {value}\n"));
        }
    }
    out
}

/// What both builds say of an image.
const WITH: &str = "context: ${{ matrix.context }}
file: ${{ matrix.dockerfile }}
target: ${{ matrix.target }}
build-args: ${{ matrix.args }}
platforms: linux/amd64
cache-from: type=gha,scope=${{ matrix.name }}
";

fn check_job(pipeline: &Pipeline) -> String {
    format!(
        "if: github.event_name == 'pull_request'
name: check (${{{{ matrix.name }}}})
runs-on: {MACHINE}
timeout-minutes: 45
permissions:
  contents: read
{}steps:
  - uses: {CHECKOUT}
    with:
      persist-credentials: false
  - uses: {BUILDX}
  - name: Build, and keep nothing
    uses: {BUILD}
    with:
{}      outputs: type=cacheonly
",
        matrix(&pipeline.images),
        indented(WITH, 6),
    )
}

fn build_job(pipeline: &Pipeline) -> String {
    format!(
        "if: github.event_name != 'pull_request'
name: build (${{{{ matrix.name }}}})
runs-on: {MACHINE}
timeout-minutes: 45
permissions:
  contents: read
  packages: write
{}steps:
  - uses: {CHECKOUT}
    with:
      persist-credentials: false
  - uses: {BUILDX}
{}  - name: Build and push
    id: build
    uses: {BUILD}
    with:
{}      cache-to: type=gha,mode=max,scope=${{{{ matrix.name }}}},ignore-error=true
      outputs: type=image,name=${{{{ matrix.image }}}},push-by-digest=true,name-canonical=true,push=true
      provenance: mode=max
      sbom: true
  - name: Keep the digest
    env:
      NAME: ${{{{ matrix.name }}}}
      IMAGE: ${{{{ matrix.image }}}}
      DIGEST: ${{{{ steps.build.outputs.digest }}}}
    run: |
      mkdir -p digests
      jq -n --arg image \"$IMAGE\" --arg digest \"$DIGEST\" '{{image: $image, digest: $digest}}' > \"digests/$NAME.json\"
      cat \"digests/$NAME.json\"
  - uses: {UPLOAD}
    with:
      name: digest-${{{{ matrix.name }}}}
      path: digests/${{{{ matrix.name }}}}.json
      if-no-files-found: error
      retention-days: 7
",
        matrix(&pipeline.images),
        indented(&logins(&pipeline.images), 2),
        indented(WITH, 6),
    )
}

/// A login at each registry that images are pushed to.
fn logins(images: &[Image]) -> String {
    let registries: BTreeSet<&str> = images.iter().map(|image| image.registry.as_str()).collect();
    let mut out = String::new();
    for registry in registries {
        let (user, password) = if registry == "ghcr.io" {
            ("github.actor", "secrets.GITHUB_TOKEN")
        } else {
            ("secrets.REGISTRY_USER", "secrets.REGISTRY_PASSWORD")
        };
        say(
            &mut out,
            format_args!(
                "- uses: {LOGIN}\n  with:\n    registry: {}\n    username: ${{{{ {user} }}}}\n    password: ${{{{ {password} }}}}\n",
                yaml(registry)
            ),
        );
    }
    out
}

/// Where plans and deploys run.
fn machine(pipeline: &Pipeline) -> String {
    match &pipeline.runs_on {
        None => MACHINE.to_owned(),
        Some(labels) => {
            let labels: Vec<String> = labels.split(',').map(|label| yaml(label.trim())).collect();
            format!("[{}]", labels.join(", "))
        }
    }
}

fn plan_job(pipeline: &Pipeline) -> String {
    let marker = format!("<!-- linkflow plan {} -->", pipeline.stack);
    let steps = format!("{}{}", install(&pipeline.install), restore(pipeline));
    format!(
        "# A pull request from elsewhere gets no secrets, and so no plan.
if: >-
  github.event_name == 'pull_request'
  && github.event.pull_request.head.repo.full_name == github.repository
  && github.actor != 'dependabot[bot]'
runs-on: {}
timeout-minutes: 20
concurrency:
  group: linkflow-plan-{}-${{{{ github.ref }}}}
  cancel-in-progress: true
permissions:
  contents: read
  packages: read
  pull-requests: write
steps:
  - uses: {CHECKOUT}
    with:
      persist-credentials: false
{}  - name: Plan
    id: plan
{}    run: |
      if linkflow{} plan --markdown > plan.md 2> problems.txt; then
        echo 'failed=false' >> \"$GITHUB_OUTPUT\"
      else
        echo 'failed=true' >> \"$GITHUB_OUTPUT\"
        {{ echo '### There is no plan'; echo '```'; cat problems.txt; echo '```'; }} > plan.md
      fi
      cat problems.txt >&2
      cat plan.md >> \"$GITHUB_STEP_SUMMARY\"
  - name: Comment
    env:
      GH_TOKEN: ${{{{ github.token }}}}
      NUMBER: ${{{{ github.event.pull_request.number }}}}
      MARKER: \"{marker}\"
    run: |
      {{ echo \"$MARKER\"; cat plan.md; }} > comment.md
      comments=\"repos/$GITHUB_REPOSITORY/issues\"
      id=$(gh api --paginate \"$comments/$NUMBER/comments\" --jq '.[] | select(.user.login == \"github-actions[bot]\") | select(.body | startswith(env.MARKER)) | .id' | head -n 1)
      if [ -n \"$id\" ]; then
        gh api --silent --method PATCH \"$comments/comments/$id\" --field body=@comment.md
      else
        gh api --silent --method POST \"$comments/$NUMBER/comments\" --field body=@comment.md
      fi
  - name: Fail when there is no plan
    if: steps.plan.outputs.failed == 'true'
    run: exit 1
",
        machine(pipeline),
        pipeline.stack,
        indented(&steps, 2),
        indented(&environment(pipeline), 4),
        pipeline.which(),
    )
}

fn deploy_job(pipeline: &Pipeline) -> String {
    let built = !pipeline.images.is_empty();
    let (needs, packages) = if built { ("needs: build\n", "write") } else { ("", "read") };
    let digests = if built {
        format!(
            "- uses: {DOWNLOAD}\n  with:\n    pattern: digest-*\n    path: digests\n    merge-multiple: true\n"
        )
    } else {
        String::new()
    };
    let steps = [install(&pipeline.install), restore(pipeline), digests].concat();
    let command = if built { "deploy --digests digests" } else { "apply" };
    let mut out = format!(
        "if: github.event_name != 'pull_request' && github.ref == 'refs/heads/{}'
{needs}runs-on: {}
timeout-minutes: 90
# One deploy at a time. One that waits is not ended by the next, only replaced while it waits.
concurrency:
  group: linkflow-{}
  cancel-in-progress: false
environment: {}
permissions:
  contents: read
  packages: {packages}
steps:
  - uses: {CHECKOUT}
    with:
      persist-credentials: false
{}  - name: Deploy
    env:
      DRY_RUN: ${{{{ inputs.dry_run || false }}}}
{}    run: |
      options=(--wait 900)
      if [ \"$DRY_RUN\" = true ]; then
        options+=(--dry-run)
      fi
      linkflow{} {command} \"${{options[@]}}\"
",
        pipeline.branch,
        machine(pipeline),
        pipeline.stack,
        yaml(pipeline.environment()),
        indented(&steps, 2),
        indented(&variables(pipeline), 6),
        pipeline.which(),
    );
    out.push_str(&indented(&save(pipeline), 2));
    out.push_str(&indented(&tags(pipeline), 2));
    out
}

/// The secrets and variables that the config names, and where the state is.
fn variables(pipeline: &Pipeline) -> String {
    let mut out = String::new();
    if pipeline.keeps_state() {
        // Outside the checkout, which each job begins with anew.
        say(
            &mut out,
            format_args!("LINKFLOW_STATE: ${{{{ vars.LINKFLOW_STATE || '/var/lib/linkflow' }}}}\n"),
        );
    }
    for name in &pipeline.secrets {
        say(&mut out, format_args!("{name}: ${{{{ secrets.{name} }}}}\n"));
    }
    for name in pipeline.variables.iter().filter(|name| !pipeline.secrets.contains(name)) {
        say(&mut out, format_args!("{name}: ${{{{ secrets.{name} || vars.{name} }}}}\n"));
    }
    out
}

fn environment(pipeline: &Pipeline) -> String {
    let variables = variables(pipeline);
    if variables.is_empty() { String::new() } else { format!("env:\n{}", indented(&variables, 2)) }
}

fn install(install: &Install) -> String {
    let revision = match install {
        Install::Present => return String::new(),
        Install::Release { repository, tag } => return release(repository, tag),
        Install::Git { revision, .. } => revision.clone(),
        Install::Path(folder) => {
            format!("${{{{ hashFiles('Cargo.lock', '{}/**/*.rs') }}}}", top(folder))
        }
    };
    let build = install.build(TOOLS).unwrap_or_default();
    format!(
        "- name: Keep the build of LinkFlow
  id: linkflow
  uses: {CACHE}
  with:
    path: {TOOLS}
    key: linkflow-${{{{ runner.os }}}}-${{{{ runner.arch }}}}-{revision}
- name: Build LinkFlow
  if: steps.linkflow.outputs.cache-hit != 'true'
  run: |
{}- name: Put LinkFlow on the path
  run: echo \"$HOME/.linkflow-tools/bin\" >> \"$GITHUB_PATH\"
",
        indented(&build, 4)
    )
}

/// The first folder of a path: all that its crate may use is near it.
fn top(folder: &str) -> &str {
    folder.split('/').next().unwrap_or(folder)
}

fn release(repository: &str, tag: &str) -> String {
    let (repository, tag) = (word(repository), word(tag));
    format!(
        "- name: Get LinkFlow
  env:
    GH_TOKEN: ${{{{ github.token }}}}
  run: |
    file=linkflow-x86_64-unknown-linux-gnu.tar.gz
    gh release download {tag} --repo {repository} --pattern \"$file\" --pattern \"$file.sha256\"
    sha256sum --check \"$file.sha256\"
    mkdir -p \"$HOME/.linkflow-tools/bin\"
    tar -xzf \"$file\" -C \"$HOME/.linkflow-tools/bin\" linkflow
    rm \"$file\" \"$file.sha256\"
    echo \"$HOME/.linkflow-tools/bin\" >> \"$GITHUB_PATH\"
"
    )
}

/// What LinkFlow keeps between two runs, when the machine is a new one each time.
fn restore(pipeline: &Pipeline) -> String {
    if pipeline.keeps_state() {
        return String::new();
    }
    let Pipeline { stack, state, .. } = pipeline;
    format!(
        "- name: Take up the state
  uses: {RESTORE}
  with:
    path: {}
    key: linkflow-state-{stack}-${{{{ github.run_id }}}}-${{{{ github.run_attempt }}}}
    restore-keys: linkflow-state-{stack}-
",
        yaml(state)
    )
}

fn save(pipeline: &Pipeline) -> String {
    if pipeline.keeps_state() {
        return String::new();
    }
    let Pipeline { stack, state, .. } = pipeline;
    format!(
        "- name: Keep the state
  if: always()
  uses: {SAVE}
  with:
    path: {}
    key: linkflow-state-{stack}-${{{{ github.run_id }}}}-${{{{ github.run_attempt }}}}
",
        yaml(state)
    )
}

/// Moves the tags of the config to what is live now: not before, so that a tag never names what did not pass.
fn tags(pipeline: &Pipeline) -> String {
    let mut lines = String::new();
    for image in &pipeline.images {
        let Some(tag) = &image.tag else { continue };
        let (name, to) = (word(&image.name), word(&format!("{}:{tag}", image.image)));
        say(&mut lines, format_args!("move {name} {to}\n"));
    }
    if lines.is_empty() {
        return String::new();
    }
    let condition = "inputs.dry_run != true";
    let logins =
        logins(&pipeline.images).replace("  with:\n", &format!("  if: {condition}\n  with:\n"));
    format!(
        "{logins}- name: Move the tags to what is live
  if: {condition}
  run: |
    move() {{
      docker buildx imagetools create --tag \"$2\" \"${{2%:*}}@$(jq -r .digest \"digests/$1.json\")\"
    }}
{}",
        indented(&lines, 4)
    )
}

/// Writing to a string cannot fail.
fn say(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}
