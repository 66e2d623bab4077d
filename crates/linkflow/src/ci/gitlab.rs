//! `.gitlab-ci.yml`: plan a merge request, build what is merged, deploy it by digest.

use std::fmt::Write;

use super::install::Install;
use super::{Pipeline, indented, word, yaml};

/// Where the pipeline stands in a repository.
pub(crate) const FILE: &str = ".gitlab-ci.yml";

/// Where `linkflow` is built to: within the project, for GitLab caches nothing else.
const TOOLS: &str = "\"$CI_PROJECT_DIR/.linkflow-tools\"";

/// The pipeline, without what marks it as ours.
pub(crate) fn pipeline(pipeline: &Pipeline) -> String {
    let built = !pipeline.images.is_empty();
    let stages = if built { "[build, plan, deploy, tags]" } else { "[plan, deploy]" };
    let mut out = format!(
        "stages: {stages}

workflow:
  rules:
    - if: $CI_PIPELINE_SOURCE == \"merge_request_event\"
    - if: $CI_COMMIT_BRANCH == \"{}\"

default:
  interruptible: false
",
        pipeline.branch
    );
    if built {
        out.push_str(&build(pipeline));
    }
    out.push_str(&linkflow(pipeline));
    out.push_str(&plan(pipeline));
    out.push_str(&deploy(pipeline, built));
    out.push_str(&tags(pipeline));
    out
}

/// One job for each image. GitLab puts every variable of a matrix into the job's name, which may not be long: so only the
/// name is one, and the rest is chosen by it.
fn build(pipeline: &Pipeline) -> String {
    let names: Vec<String> = pipeline.images.iter().map(|image| yaml(&image.name)).collect();
    let mut choices = String::new();
    for image in &pipeline.images {
        let mut options = vec!["--file".to_owned(), word(&image.dockerfile)];
        if !image.target.is_empty() {
            options.extend(["--target".to_owned(), word(&image.target)]);
        }
        for arg in &image.args {
            options.extend(["--build-arg".to_owned(), word(arg)]);
        }
        say(
            &mut choices,
            format_args!(
                "{})\n  image={} registry={} context={}\n  set -- {}\n  ;;\n",
                word(&image.name),
                word(&image.image),
                word(&image.registry),
                word(&image.context),
                options.join(" ")
            ),
        );
    }
    format!(
        "
build:
  stage: build
  image: docker:29
  services: [docker:29-dind]
  timeout: 45m
  variables:
    DOCKER_TLS_CERTDIR: /certs
  parallel:
    matrix:
      - NAME: [{}]
  before_script:
    - apk add --no-cache jq
    - docker context create builds
    - docker buildx create --use builds
  script:
    - |
      case \"$NAME\" in
{}      esac
      set -- --platform linux/amd64 \"$@\"
      # A merge request is built and kept nowhere.
      if [ \"$CI_PIPELINE_SOURCE\" = merge_request_event ]; then
        docker buildx build \"$@\" --output type=cacheonly \"$context\"
        exit 0
      fi
      if [ \"$registry\" = \"$CI_REGISTRY\" ]; then
        REGISTRY_USER=$CI_REGISTRY_USER REGISTRY_PASSWORD=$CI_REGISTRY_PASSWORD
      fi
      printf %s \"$REGISTRY_PASSWORD\" | docker login --username \"$REGISTRY_USER\" --password-stdin \"$registry\"
      docker buildx build \"$@\" \\
        --provenance mode=max --sbom true \\
        --cache-from \"type=registry,ref=$image:buildcache\" \\
        --cache-to \"type=registry,ref=$image:buildcache,mode=max,ignore-error=true\" \\
        --output \"type=image,name=$image,push-by-digest=true,name-canonical=true,push=true\" \\
        --metadata-file built.json \"$context\"
      mkdir -p digests
      jq --arg image \"$image\" '{{image: $image, digest: .\"containerimage.digest\"}}' built.json > \"digests/$NAME.json\"
      cat \"digests/$NAME.json\"
  artifacts:
    paths: [digests/]
    expire_in: 1 week
",
        names.join(", "),
        indented(&choices, 8)
    )
}

/// What planning and deploying have in common: the machine, and how it gets `linkflow`.
fn linkflow(pipeline: &Pipeline) -> String {
    let mut out = "\n.linkflow:\n".to_owned();
    match &pipeline.runs_on {
        Some(tags) => {
            let tags: Vec<String> = tags.split(',').map(|tag| yaml(tag.trim())).collect();
            say(&mut out, format_args!("  tags: [{}]\n", tags.join(", ")));
            // Outside the project, which each job begins with anew.
            out.push_str("  variables:\n    LINKFLOW_STATE: /var/lib/linkflow\n");
        }
        None if matches!(pipeline.install, Install::Release { .. }) => {
            out.push_str("  image: buildpack-deps:bookworm-curl\n");
        }
        None => out.push_str("  image: rust:1-bookworm\n"),
    }
    let mut caches = String::new();
    let mut before = String::new();
    if let Some(build) = pipeline.install.build(TOOLS) {
        let key = match &pipeline.install {
            Install::Git { revision, .. } => {
                format!("key: {}\n", yaml(&format!("linkflow-{revision}")))
            }
            _ => "key:\n  files: [Cargo.lock]\n  prefix: linkflow\n".to_owned(),
        };
        let rows = format!("{key}paths: [.linkflow-tools/]\n");
        caches.push_str(&listed(&rows));
        say(
            &mut before,
            format_args!(
                "- |\n  if ! [ -x .linkflow-tools/bin/linkflow ]; then\n{}  fi\n",
                indented(&build, 4)
            ),
        );
    }
    if let Install::Release { repository, tag } = &pipeline.install {
        let from = word(&format!("https://github.com/{repository}/releases/download/{tag}"));
        say(
            &mut before,
            format_args!(
                "- |\n  file=linkflow-x86_64-unknown-linux-gnu.tar.gz\n  curl -fsSLO {from}/\"$file\" -O {from}/\"$file.sha256\"\n  sha256sum --check \"$file.sha256\"\n  mkdir -p .linkflow-tools/bin\n  tar -xzf \"$file\" -C .linkflow-tools/bin linkflow\n"
            ),
        );
    }
    if !pipeline.keeps_state() {
        let rows = format!(
            "key: {}\npaths: [{}]\nwhen: always\n",
            yaml(&format!("linkflow-state-{}", pipeline.stack)),
            yaml(&pipeline.state)
        );
        caches.push_str(&listed(&rows));
    }
    if !caches.is_empty() {
        say(&mut out, format_args!("  cache:\n{}", indented(&caches, 4)));
    }
    before.push_str("- export PATH=\"$CI_PROJECT_DIR/.linkflow-tools/bin:$PATH\"\n");
    say(&mut out, format_args!("  before_script:\n{}", indented(&before, 4)));
    out
}

/// `rows` of one table, as an entry of a list.
fn listed(rows: &str) -> String {
    let text = indented(rows, 2);
    format!("- {}", text.trim_start())
}

fn plan(pipeline: &Pipeline) -> String {
    format!(
        "
plan:
  extends: .linkflow
  stage: plan
  needs: []
  timeout: 20m
  interruptible: true
  rules:
    - if: $CI_PIPELINE_SOURCE == \"merge_request_event\"
  script:
    - linkflow{} plan --markdown | tee plan.md
    - |
      # Notes need a token of their own: a project access token with the scope `api`, as the variable LINKFLOW_GITLAB_TOKEN.
      if [ -n \"${{LINKFLOW_GITLAB_TOKEN:-}}\" ]; then
        notes=\"$CI_API_V4_URL/projects/$CI_PROJECT_ID/merge_requests/$CI_MERGE_REQUEST_IID/notes\"
        marker='<!-- linkflow plan {} -->'
        {{ echo \"$marker\"; cat plan.md; }} > note.md
        header=\"PRIVATE-TOKEN: $LINKFLOW_GITLAB_TOKEN\"
        # The marks of the comment come back escaped, so only the words between them are looked for.
        id=$(curl -fsS --header \"$header\" \"$notes?per_page=100&sort=asc\" | tr '{{' '\\n' | grep -F -m 1 'linkflow plan {} --' | grep -o '^\"id\":[0-9]*' | cut -d : -f 2 || true)
        if [ -n \"$id\" ]; then
          curl -fsS --output /dev/null --request PUT --header \"$header\" --data-urlencode body@note.md \"$notes/$id\"
        else
          curl -fsS --output /dev/null --request POST --header \"$header\" --data-urlencode body@note.md \"$notes\"
        fi
      fi
  artifacts:
    paths: [plan.md]
    expire_in: 1 week
",
        pipeline.which(),
        pipeline.stack,
        pipeline.stack
    )
}

fn deploy(pipeline: &Pipeline, built: bool) -> String {
    let (needs, command) = if built {
        ("  needs: [build]\n", "deploy --digests digests")
    } else {
        ("  needs: []\n", "apply")
    };
    format!(
        "
deploy:
  extends: .linkflow
  stage: deploy
{needs}  timeout: 90m
  # One deploy at a time.
  resource_group: linkflow-{}
  environment:
    name: {}
  rules:
    - if: $CI_COMMIT_BRANCH == \"{}\"
  script:
    - linkflow{} {command} --wait 900
",
        pipeline.stack,
        yaml(pipeline.environment()),
        pipeline.branch,
        pipeline.which(),
    )
}

/// Moves the tags of the config to what is live now: not before, so that a tag never names what did not pass.
fn tags(pipeline: &Pipeline) -> String {
    let mut lines = String::new();
    for image in &pipeline.images {
        let Some(tag) = &image.tag else { continue };
        let to = word(&format!("{}:{tag}", image.image));
        say(
            &mut lines,
            format_args!("move {} {} {to}\n", word(&image.name), word(&image.registry)),
        );
    }
    if lines.is_empty() {
        return String::new();
    }
    format!(
        "
tags:
  stage: tags
  image: docker:29
  services: [docker:29-dind]
  needs: [build, deploy]
  timeout: 10m
  variables:
    DOCKER_TLS_CERTDIR: /certs
  rules:
    - if: $CI_COMMIT_BRANCH == \"{}\"
  before_script:
    - apk add --no-cache jq
  script:
    - |
      move() {{
        if [ \"$2\" = \"$CI_REGISTRY\" ]; then
          printf %s \"$CI_REGISTRY_PASSWORD\" | docker login --username \"$CI_REGISTRY_USER\" --password-stdin \"$2\"
        else
          printf %s \"$REGISTRY_PASSWORD\" | docker login --username \"$REGISTRY_USER\" --password-stdin \"$2\"
        fi
        docker buildx imagetools create --tag \"$3\" \"${{3%:*}}@$(jq -r .digest \"digests/$1.json\")\"
      }}
{}",
        pipeline.branch,
        indented(&lines, 6)
    )
}

/// Writing to a string cannot fail.
fn say(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}
